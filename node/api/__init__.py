"""How others use a node: JSON-RPC over HTTP, in Bitcoin Core's shape."""
