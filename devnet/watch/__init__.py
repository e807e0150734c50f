"""Following a network: what it looks like, what happens in it, and a recording of both."""
