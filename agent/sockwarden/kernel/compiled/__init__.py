"""The rung for kernels without BTF: the guard compiled on the host by BCC."""
