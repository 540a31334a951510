"""The socket in front of the engine: takeover, connections, relays."""
