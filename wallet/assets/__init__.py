"""Assets in the wallet: what it holds of them, and their transactions."""
