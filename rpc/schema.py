"""What nodes answer: one struct for each result, with Bitcoin Core's field names.

Hashes are hex as people see them: block ids, txids, wtxids and Merkle roots reversed, all else in byte order. Times
are UNIX seconds. Amounts are `Dure`: numbers with eight decimals. A field that may be absent is `UNSET` by default.
"""
# ruff: noqa: N815 (mixedCase where Bitcoin Core has it)

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

from rpc.encoding import Dure


class Result(msgspec.Struct, frozen=True):
    """Any result that is an object."""


# The chain


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
    n: int
    """Its place, from 0."""
    scriptPubKey: ScriptPubKey


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
    """Of all of them."""
    supply: Dure
    """What the coinbases up to this height could have created: `total_amount` never exceeds it."""
    state_hash: str | UnsetType = UNSET
    """H of all entries, sorted and joined, hex in byte order: equal on nodes that agree (docs/protocol.md)."""


class TxOut(Result, frozen=True, kw_only=True):
    """gettxout."""

    bestblock: str
    confirmations: int
    value: Dure
    scriptPubKey: ScriptPubKey
    coinbase: bool


class NewBlock(Result, frozen=True, kw_only=True):
    """waitfornewblock and waitforblockheight: the tip."""

    hash: str
    height: int


# The mempool


class MempoolInfo(Result, frozen=True, kw_only=True):
    """getmempoolinfo."""

    loaded: bool
    size: int
    """Transactions."""
    bytes: int
    """Their encoded bytes."""
    usage: int
    """Bytes of memory."""
    total_fee: Dure
    maxmempool: int
    """The bound on `usage`."""
    mempoolminfee: Dure
    """DURE per 1,000 virtual bytes that it takes to get in now."""
    minrelaytxfee: Dure
    """The least that it ever takes."""


class MempoolFees(Result, frozen=True, kw_only=True):
    """What a transaction in the mempool pays."""

    base: Dure
    ancestor: Dure
    """With its unconfirmed ancestors."""
    descendant: Dure
    """With its unconfirmed descendants."""


class MempoolEntry(Result, frozen=True, kw_only=True):
    """getmempoolentry, and getrawmempool with verbosity."""

    vsize: int
    time: int
    """When it came."""
    wtxid: str
    descendantcount: int
    """With itself, as in Bitcoin Core; so are the three that follow."""
    descendantsize: int
    ancestorcount: int
    ancestorsize: int
    fees: MempoolFees
    depends: list[str]
    """Unconfirmed parents."""
    spentby: list[str]
    """Unconfirmed children."""


# Peers


class PeerInfo(Result, frozen=True, kw_only=True):
    """One peer (getpeerinfo)."""

    id: int
    """The `peer=` of the log."""
    addr: str
    """The other end of the connection."""
    listening: str | UnsetType = UNSET
    """Where it can be dialled, if it told us."""
    services: str = "0000000000000000"
    lastsend: int
    lastrecv: int
    bytessent: int
    bytesrecv: int
    conntime: int
    pingtime: float | UnsetType = UNSET
    """Seconds."""
    version: int
    subver: str
    """What it calls its program: its own words."""
    inbound: bool
    startingheight: int
    synced_headers: int
    synced_blocks: int
    inflight: int
    """How many blocks it was asked for that have not come."""
    misbehaviour: int
    """Its score; it is disconnected at 100."""
    connection_type: str


class AddedNode(Result, frozen=True, kw_only=True):
    """One node that was added (getaddednodeinfo)."""

    addednode: str
    connected: bool


class LocalAddress(Result, frozen=True, kw_only=True):
    """Where others reach this node."""

    address: str
    port: int
    score: int = 1


class NetworkInfo(Result, frozen=True, kw_only=True):
    """getnetworkinfo."""

    version: int
    """10,000 for each major, 100 for each minor version, 1 for each patch."""
    subversion: str
    protocolversion: int
    localrelay: bool
    timeoffset: int
    networkactive: bool
    connections: int
    connections_in: int
    connections_out: int
    relayfee: Dure
    incrementalfee: Dure
    localaddresses: list[LocalAddress]
    known_addresses: int
    """How many addresses of other nodes are remembered."""
    warnings: list[str]


# Mining


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
    warnings: list[str]


# The wallet


class LastProcessedBlock(Result, frozen=True, kw_only=True):
    """The block up to which the wallet has followed the chain."""

    hash: str
    height: int


class MineBalances(Result, frozen=True, kw_only=True):
    """What the wallet owns, each coin in one field."""

    trusted: Dure
    """Can be spent now: confirmed coins, and change of our own payments."""
    untrusted_pending: Dure
    """Paid to us by others, in no block yet."""
    immature: Dure
    """Mined by us, too young to be spent."""


class Balances(Result, frozen=True, kw_only=True):
    """getbalances."""

    mine: MineBalances
    lastprocessedblock: LastProcessedBlock


class WalletInfo(Result, frozen=True, kw_only=True):
    """getwalletinfo."""

    walletname: str
    walletversion: int
    format: str
    txcount: int
    keypoolsize: int
    """Addresses handed out."""
    coins: int
    """Unspent ones."""
    private_keys_enabled: bool
    encrypted: bool
    locked: bool
    """Whether it needs its passphrase before it can pay."""
    scanning: RescanProgress | Literal[False]
    lastprocessedblock: LastProcessedBlock


class RescanProgress(Result, frozen=True, kw_only=True):
    """A rescan that is under way."""

    duration: int = 0
    progress: float


class WalletEntry(Result, frozen=True, kw_only=True):
    """One line of the wallet's history (listtransactions)."""

    address: str
    category: Literal["send", "receive", "generate", "immature", "orphan"]
    amount: Dure
    """Negative for `send`."""
    label: str
    vout: int
    fee: Dure | UnsetType = UNSET
    """Negative; only with `send`."""
    confirmations: int
    """0 in no block; negative: so deep is the block that holds a transaction in conflict with this one."""
    generated: bool | UnsetType = UNSET
    trusted: bool | UnsetType = UNSET
    blockhash: str | UnsetType = UNSET
    blockheight: int | UnsetType = UNSET
    blocktime: int | UnsetType = UNSET
    txid: str
    time: int
    timereceived: int
    abandoned: bool
    state: str
    """confirmed, pending, conflicted, abandoned, dropped or orphaned."""


class WalletEntryDetail(Result, frozen=True, kw_only=True):
    """One output of gettransaction, as the wallet sees it."""

    address: str
    category: Literal["send", "receive", "generate", "immature", "orphan"]
    amount: Dure
    label: str
    vout: int
    fee: Dure | UnsetType = UNSET
    abandoned: bool


class WalletTransaction(Result, frozen=True, kw_only=True):
    """gettransaction."""

    amount: Dure
    """What it brought or took, its fee left out."""
    fee: Dure | UnsetType = UNSET
    confirmations: int
    generated: bool | UnsetType = UNSET
    trusted: bool | UnsetType = UNSET
    blockhash: str | UnsetType = UNSET
    blockheight: int | UnsetType = UNSET
    blocktime: int | UnsetType = UNSET
    txid: str
    wtxid: str
    walletconflicts: list[str]
    time: int
    timereceived: int
    state: str
    details: list[WalletEntryDetail]
    hex: str
    decoded: TransactionDetail | UnsetType = UNSET
    lastprocessedblock: LastProcessedBlock


class SentPayment(Result, frozen=True, kw_only=True):
    """sendtoaddress with `verbose`."""

    txid: str
    fee: Dure
    fee_reason: str


class AddressValidity(Result, frozen=True, kw_only=True):
    """validateaddress."""

    isvalid: bool
    address: str | UnsetType = UNSET
    scriptPubKey: str | UnsetType = UNSET
    """The lock, hex."""
    error: str | UnsetType = UNSET


class RescanResult(Result, frozen=True, kw_only=True):
    """rescanblockchain."""

    start_height: int
    stop_height: int


class AddressInfo(Result, frozen=True, kw_only=True):
    """getaddressinfo."""

    address: str
    scriptPubKey: str
    """The lock, hex."""
    ismine: bool


class SentAll(Result, frozen=True, kw_only=True):
    """sendall."""

    txid: str
    complete: bool
    """Whether nothing that can be spent is left."""


# Control


class ActiveCommand(Result, frozen=True, kw_only=True):
    """A call that is being answered."""

    method: str
    duration: int
    """Microseconds."""


class RpcInfo(Result, frozen=True, kw_only=True):
    """getrpcinfo."""

    active_commands: list[ActiveCommand]
