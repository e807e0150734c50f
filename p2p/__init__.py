"""Peers: the wire as a state machine without I/O, then the sockets that carry it."""
