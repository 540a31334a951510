"""The demonstration on a throw-away engine and registry."""
