"""The miner: takes a template from a daemon, finds a nonce, submits the block. A process of its own."""
