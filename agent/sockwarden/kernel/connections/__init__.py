"""In whose hands a connection to a guarded socket is, and what is done about it."""
