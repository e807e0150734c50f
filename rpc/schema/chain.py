"""What nodes answer about blocks, transactions and coins."""
# ruff: noqa: N815 (mixedCase where Bitcoin Core has it)

from __future__ import annotations

from typing import Literal

from msgspec import UNSET, UnsetType

from rpc.encoding import Dure
from rpc.schema.assets import BurnDetail, IssuanceDetail
from rpc.schema.base import Result


class BlockchainInfo(Result, frozen=True, kw_only=True):
    """getblockchaininfo."""

    chain: str
    """The network's name: main, test, local or regtest."""
    blocks: int
    """The height of the best chain whose blocks are all here and checked."""
    headers: int
    """The height of the best chain of headers; above `blocks` while blocks are being fetched."""
    bestblockhash: str
    bits: str
    target: str
    difficulty: float
    """How many times harder than Bitcoin's easiest target; far below 1 on networks of laptops."""
    time: int
    mediantime: int
    verificationprogress: float
    """0 to 1: blocks of headers."""
    initialblockdownload: bool
    chainwork: str
    """Expected hashes from genesis to the tip, 64 hex digits."""
    genesis: str
    """The id of the genesis block: networks with the same name may have others."""
    size_on_disk: int
    pruned: bool
    warnings: list[str]


class BlockHeader(Result, frozen=True, kw_only=True):
    """getblockheader."""

    hash: str
    confirmations: int
    """1 for the tip; -1 for a block that is not on the best chain."""
    height: int
    version: int
    versionHex: str
    merkleroot: str
    time: int
    mediantime: int
    nonce: int
    bits: str
    target: str
    difficulty: float
    chainwork: str
    nTx: int
    """How many transactions; 0 if the block itself is not here."""
    previousblockhash: str | UnsetType = UNSET
    nextblockhash: str | UnsetType = UNSET


class Block(BlockHeader, frozen=True, kw_only=True):
    """getblock with verbosity 1 or 2."""

    size: int
    """Encoded bytes."""
    tx: list[str | TransactionDetail]
    """The txids; with verbosity 2 the transactions."""


class ScriptPubKey(Result, frozen=True, kw_only=True):
    """Who may spend an output. Dure has locks and no scripts; the name is the one that clients know."""

    hex: str
    """The lock: the id of a spend policy."""
    address: str
    type: str = "lock"


class TransactionInput(Result, frozen=True, kw_only=True):
    """One input: of a coinbase, or a coin that is spent."""

    coinbase: str | UnsetType = UNSET
    """The coinbase's memo, hex."""
    height: int | UnsetType = UNSET
    """What a coinbase names instead of a coin: the height of its block."""
    txid: str | UnsetType = UNSET
    vout: int | UnsetType = UNSET


class TransactionOutput(Result, frozen=True, kw_only=True):
    """One output."""

    value: Dure
    """0 where it carries an asset: an output holds either."""
    n: int
    """Its place, from 0."""
    scriptPubKey: ScriptPubKey
    asset: str | UnsetType = UNSET
    """The id of the asset, or of the authority, that it carries, hex in byte order."""
    amount: int | UnsetType = UNSET
    """Of the asset, in its smallest unit."""


class WitnessDetail(Result, frozen=True, kw_only=True):
    """What opens one of the locks that a transaction spends."""

    policy: str
    """The revealed spend policy, as people write it."""
    satisfactions: list[str]


class TransactionDetail(Result, frozen=True, kw_only=True):
    """getrawtransaction with verbosity, and what getblock shows with verbosity 2."""

    txid: str
    hash: str
    """The wtxid: witnesses included."""
    version: int
    size: int
    vsize: int
    """What fee rates are reckoned by."""
    vin: list[TransactionInput]
    vout: list[TransactionOutput]
    issuances: list[IssuanceDetail]
    burns: list[BurnDetail]
    memo: str
    witnesses: list[WitnessDetail]
    hex: str
    fee: Dure | UnsetType = UNSET
    """Where the coins that it spends are known."""
    in_active_chain: bool | UnsetType = UNSET
    """Where a block was named: whether it is on the best chain."""
    blockhash: str | UnsetType = UNSET
    confirmations: int | UnsetType = UNSET
    time: int | UnsetType = UNSET
    blocktime: int | UnsetType = UNSET


class ChainTip(Result, frozen=True, kw_only=True):
    """One end of the tree of headers (getchaintips)."""

    height: int
    hash: str
    branchlen: int
    """Blocks between it and the best chain; 0 for the tip itself."""
    status: Literal["active", "valid-fork", "valid-headers", "headers-only", "invalid"]
    """`valid-fork`: it was the best chain once. `valid-headers`: its blocks are here, and were never connected."""


class TxOutSetInfo(Result, frozen=True, kw_only=True):
    """gettxoutsetinfo."""

    height: int
    bestblock: str
    transactions: int
    """How many transactions still have an output that nobody has spent."""
    txouts: int
    """Coins: outputs that nobody has spent."""
    total_amount: Dure
    """Of all of them, assets apart."""
    assets: int
    """How many assets there are."""
    supply: Dure
    """What the coinbases up to this height could have created: `total_amount` never exceeds it."""
    state_hash: str | UnsetType = UNSET
    """H of all entries, sorted and joined, hex in byte order: equal on nodes that agree (docs/protocol.md)."""


class TxOut(Result, frozen=True, kw_only=True):
    """gettxout."""

    bestblock: str
    confirmations: int
    value: Dure
    """0 where it carries an asset."""
    scriptPubKey: ScriptPubKey
    coinbase: bool
    asset: str | UnsetType = UNSET
    amount: int | UnsetType = UNSET


class NewBlock(Result, frozen=True, kw_only=True):
    """waitfornewblock and waitforblockheight: the tip."""

    hash: str
    height: int
