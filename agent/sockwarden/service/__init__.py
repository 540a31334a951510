"""The daemon: the composition root, reload, the control socket."""
