"""The contract between processes: what can be asked of a node, and a client that asks. There is no server in it."""
