"""HTTP/1.1 as pure functions and small machines: heads, framing, responses. No socket."""
