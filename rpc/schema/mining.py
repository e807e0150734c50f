"""What nodes answer to miners."""

from __future__ import annotations

from rpc.schema.base import Result


class TemplateTransaction(Result, frozen=True, kw_only=True):
    """One transaction of a template, parents before children."""

    data: str
    """Its encoding."""
    txid: str
    hash: str
    """The wtxid: the Merkle leaf."""
    depends: list[int]
    """Places in this list, from 1, of those that must come before it."""
    fee: int
    """Grain, as Bitcoin Core gives satoshi here."""
    sigops: int


class CoinbaseTransaction(Result, frozen=True, kw_only=True):
    """The template's coinbase, complete; its memo ends in room for an extranonce."""

    data: str
    txid: str
    hash: str
    extranonce_size: int
    """Bytes at the end of the memo that are the miner's; after them comes one byte more."""


class BlockTemplate(Result, frozen=True, kw_only=True):
    """getblocktemplate: a block that lacks only its work (BIP 22, BIP 23)."""

    capabilities: list[str]
    version: int
    rules: list[str]
    previousblockhash: str
    transactions: list[TemplateTransaction]
    coinbasetxn: CoinbaseTransaction
    coinbasevalue: int
    """Grain: subsidy and fees."""
    longpollid: str
    target: str
    mintime: int
    mutable: list[str]
    noncerange: str
    sigoplimit: int
    sizelimit: int
    curtime: int
    bits: str
    height: int


class GeneratedBlock(Result, frozen=True, kw_only=True):
    """generateblock."""

    hash: str
    height: int
    connected: bool
    """Whether it is the tip now; else it is stored on a branch with no more work."""


class NextBlock(Result, frozen=True, kw_only=True):
    """What the next block must be."""

    height: int
    bits: str
    difficulty: float
    target: str


class MiningInfo(Result, frozen=True, kw_only=True):
    """getmininginfo."""

    blocks: int
    bits: str
    difficulty: float
    target: str
    networkhashps: float
    """Hashes per second that the last blocks took, by their times."""
    pooledtx: int
    chain: str
    mining: bool
    """Whether this node keeps a miner running."""
    hashrate: int
    """Its bound in hashes per second; 0 is none."""
    next: NextBlock
    warnings: list[str]
