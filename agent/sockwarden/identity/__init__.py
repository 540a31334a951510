"""Who is at the other end of a socket: peer, cgroup, container."""
