"""What a network is: its parameters and its genesis block, frozen, handed to every rule."""

from __future__ import annotations

import msgspec

from consensus.subsidy import LAST_HALVING, supply_at
from consensus.types import (
    GRAIN_PER_DURE,
    NULL_TXID,
    Amount,
    Block,
    BlockHash,
    Core,
    Header,
    OutPoint,
    Transaction,
)

GENESIS_TIME = 1767225600
"""2026-01-01 00:00:00 UTC, on every network."""
TAG_SIZE = 16
"""Bytes that tell one local network from another."""
DAY = 86_400


class Params(msgspec.Struct, frozen=True, kw_only=True):
    """One network. No setting, message or flag changes any of it."""

    name: str
    genesis: Block
    """Exempt from the work check; its transaction creates nothing."""
    spacing: int
    """Ideal seconds between blocks."""
    half_life: int
    """Seconds of delay after which the target doubles."""
    start_bits: int
    """Of block 1; where `retarget` is false, of every block."""
    limit_bits: int
    """The easiest target, in compact form."""
    retarget: bool
    """False only where blocks are mined on demand."""
    initial_subsidy: Amount
    """In grain."""
    subsidy_interval: int
    """Blocks between halvings."""
    total_supply: Amount
    """The sum of all subsidies for ever, in grain: no value or sum may be above it."""
    coinbase_maturity: int
    """A coinbase output may be spent in a block this many above its own, or later."""
    max_future_seconds: int | None
    """How far ahead of this node's clock a header is taken at once. Not a rule: later it is taken."""
    address_prefix: str
    p2p_port: int
    """TCP for peers, and UDP for discovery."""
    rpc_port: int

    @property
    def genesis_hash(self) -> BlockHash:
        """The id of the genesis block, which every signature commits to."""
        return self.genesis.hash

    @property
    def magic(self) -> bytes:
        """Four bytes that tell this network's datagrams from another's."""
        return self.genesis.hash[:4]


def _genesis(name: str, start_bits: int, tag: bytes = b"") -> Block:
    memo = b"dure/" + name.encode("ascii") + tag
    coinbase = Transaction(Core(1, (OutPoint(NULL_TXID, 0),), (), (), (), memo), ())
    # The root of a single transaction is its wtxid.
    return Block(Header(1, BlockHash(bytes(32)), coinbase.wtxid, GENESIS_TIME, start_bits, 0), (coinbase,))


def _public(name: str, prefix: str, p2p_port: int) -> Params:
    return Params(
        name=name,
        genesis=_genesis(name, 0x1D00FFFF),
        spacing=60,
        half_life=2 * DAY,
        start_bits=0x1D00FFFF,
        limit_bits=0x1D00FFFF,
        retarget=True,
        initial_subsidy=Amount(5 * GRAIN_PER_DURE),
        subsidy_interval=2_100_000,
        total_supply=supply_at(5 * GRAIN_PER_DURE, 2_100_000, LAST_HALVING * 2_100_000),
        coinbase_maturity=100,
        max_future_seconds=120,
        address_prefix=prefix,
        p2p_port=p2p_port,
        rpc_port=p2p_port + 1,
    )


def _young(
    name: str, tag: bytes, *, spacing: int, start_bits: int, limit_bits: int, prefix: str, p2p_port: int
) -> Params:
    """Return a network of a few machines, or of none: the rules of `local`."""
    return Params(
        name=name,
        genesis=_genesis(name, start_bits, tag),
        spacing=spacing,
        half_life=24 * spacing,
        start_bits=start_bits,
        limit_bits=limit_bits,
        retarget=True,
        initial_subsidy=Amount(50 * GRAIN_PER_DURE),
        subsidy_interval=210_000,
        total_supply=supply_at(50 * GRAIN_PER_DURE, 210_000, LAST_HALVING * 210_000),
        coinbase_maturity=10,
        max_future_seconds=120,
        address_prefix=prefix,
        p2p_port=p2p_port,
        rpc_port=p2p_port + 1,
    )


def local_params(tag: bytes) -> Params:
    """Return the parameters of one local network: real work, at the pace of cool laptops.

    Args:
        tag: 16 bytes, drawn by whoever founds the network: another tag, another genesis block,
            so that two local networks never merge.

    Raises:
        ValueError: if `tag` has another length.
    """
    if len(tag) != TAG_SIZE:
        raise ValueError(f"a network's tag has {TAG_SIZE} bytes, not {len(tag)}")
    return _young("local", tag, spacing=5, start_bits=0x1E53E2D6, limit_bits=0x1F014F8B, prefix="ldure", p2p_port=27340)


def sim_params(spacing: int, start_bits: int, limit_bits: int) -> Params:
    """Return the parameters of a simulated network: `local` at another pace and difficulty."""
    return _young(
        "sim", b"", spacing=spacing, start_bits=start_bits, limit_bits=limit_bits, prefix="sdure", p2p_port=47340
    )


MAIN = _public("main", "dure", 7340)
TEST = _public("test", "tdure", 17340)
LOCAL = local_params(bytes(TAG_SIZE))
REGTEST = Params(
    name="regtest",
    genesis=_genesis("regtest", 0x207FFFFF),
    spacing=60,
    half_life=2 * DAY,
    start_bits=0x207FFFFF,
    limit_bits=0x207FFFFF,
    retarget=False,
    initial_subsidy=Amount(50 * GRAIN_PER_DURE),
    subsidy_interval=150,
    total_supply=supply_at(50 * GRAIN_PER_DURE, 150, LAST_HALVING * 150),
    coinbase_maturity=100,
    max_future_seconds=None,
    address_prefix="rdure",
    p2p_port=37340,
    rpc_port=37341,
)
NETWORKS = {params.name: params for params in (MAIN, TEST, LOCAL, REGTEST)}
"""By the name that `--network` takes; `local` is the one without a tag."""
