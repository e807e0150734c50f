"""Exchanges of one asset for another that happen whole or not at all (docs/swap.md)."""
