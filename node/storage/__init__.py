"""What a node keeps on disk: an interface, an LMDB and an in-memory form of it, and the records."""
