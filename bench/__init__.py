"""The benchmark of sockwarden: what it costs, next to a direct connection and to HAProxy.

It never judges by its exit code; a figure that misses its target is a line in a table. Read README.md first.
"""
