"""What a node may hold, whatever its peers do."""

from __future__ import annotations

from node import chain_limits, gossip_limits, mempool, orphans
from p2p import limits
from simnet.errors import InvariantBroken
from simnet.sim_node import SimNode

MUST_END = ("transactions asked for", "bodies asked for", "bytes half received")
"""Of what is held, that of which nothing is left once a network is calm."""


def held(node: SimNode) -> dict[str, int]:
    """Return how much a running node holds of everything that peers can make it hold."""
    running = node.node
    return {
        "peers": len(running.peers),
        "transactions asked for": running.relay.requested,
        "orphans": running.relay.orphans,
        "headers without bodies": node.chain.index.unbacked,
        "headers too early": node.chain.early_headers,
        "bodies asked for": running.sync.blocks_on_their_way,
        "bytes half received": running.peer_manager.half_received,
        "bytes unsent": sum(peer.link.unsent for peer in running.peers),
        "addresses": len(running.addresses.table),
        "bytes of the mempool": node.mempool.memory,
    }


def bounds(peers: int) -> dict[str, int]:
    """Return what each of them is bounded by, with so many peers."""
    return {
        "peers": gossip_limits.MAX_INBOUND + gossip_limits.MAX_OUTBOUND + gossip_limits.MAX_ADDED,
        "transactions asked for": peers * gossip_limits.MAX_TX_ANNOUNCED_PER_PEER,
        "orphans": orphans.MAX_ORPHANS,
        "headers without bodies": chain_limits.MAX_UNBACKED_HEADERS,
        "headers too early": chain_limits.MAX_EARLY,
        "bodies asked for": 2 * peers * gossip_limits.BLOCKS_PER_PEER,
        "bytes half received": limits.RECEIVE_BUDGET,
        # One message may go past the mark: a block.
        "bytes unsent": peers * (limits.MAX_WRITE_BUFFER + limits.MAX_BLOCK_BODY),
        "addresses": (limits.NEW_BUCKETS + limits.TRIED_BUCKETS) * limits.BUCKET_SIZE,
        "bytes of the mempool": mempool.DEFAULT_MAX_BYTES,
    }


def check_bounds(node: SimNode) -> None:
    """Check that a running node holds no more than it may.

    Raises:
        InvariantBroken: it does.
    """
    holds = held(node)
    for what, most in bounds(holds["peers"]).items():
        if holds[what] > most:
            raise InvariantBroken(f"{node.name} holds {holds[what]} {what}; the bound is {most}")
