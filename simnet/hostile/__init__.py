"""Peers that are out to harm: a library of behaviours, and the machines and hash power to act them out."""
