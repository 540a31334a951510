"""BPF: the library, the objects, the events, the guard."""
