"""The daemon: chain, mempool, peers, RPC, and what holds them together."""
