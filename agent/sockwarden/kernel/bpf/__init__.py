"""BPF as such: libbpf's binding, objects, maps, rings, pins. Nothing here knows what is guarded."""
