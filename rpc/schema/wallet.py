"""What nodes answer about their wallets."""
# ruff: noqa: N815 (mixedCase where Bitcoin Core has it)

from __future__ import annotations

from typing import Literal

from msgspec import UNSET, UnsetType

from rpc.encoding import Dure
from rpc.schema.base import Result
from rpc.schema.chain import TransactionDetail


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
    locked: Dure = Dure(0)
    """Set aside by lockunspent."""


class Balances(Result, frozen=True, kw_only=True):
    """getbalances."""

    mine: MineBalances
    watchonly: MineBalances | UnsetType = UNSET
    """What lies at policies that the wallet remembers, if it does any: others can spend it too, by some branch."""
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
    unlocked_until: int | UnsetType = UNSET
    """UNIX seconds at which it locks itself, 0 if it is locked; absent if it has no passphrase."""
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
    walletconflicts: list[str]
    """Other transactions that spend one of its coins."""
    replaced_by_txid: str | UnsetType = UNSET
    """The wallet's own payment that was made in its place, with a higher fee."""
    comment: str | UnsetType = UNSET
    """What its maker wrote down for himself."""
    to: str | UnsetType = UNSET
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
    replaced_by_txid: str | UnsetType = UNSET
    """The wallet's own payment that was made in its place, with a higher fee."""
    replaces_txid: str | UnsetType = UNSET
    comment: str | UnsetType = UNSET
    """What its maker wrote down for himself."""
    to: str | UnsetType = UNSET
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


class BumpedFee(Result, frozen=True, kw_only=True):
    """bumpfee."""

    txid: str
    """Of the replacement."""
    origfee: Dure
    fee: Dure
    errors: list[str]


class AddressValidity(Result, frozen=True, kw_only=True):
    """validateaddress."""

    isvalid: bool
    address: str | UnsetType = UNSET
    scriptPubKey: str | UnsetType = UNSET
    """The lock, hex."""
    error: str | UnsetType = UNSET


class MadeWallet(Result, frozen=True, kw_only=True):
    """createwallet, restorewallet."""

    name: str
    warnings: list[str]
    replaced: str | UnsetType = UNSET
    """The folder in the data directory in which the wallet is kept that gave way."""


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
    solvable: bool
    """Whether the wallet knows how to spend what lies there."""
    iswatchonly: bool
    ischange: bool
    labels: list[str]
    """One or none."""
    pubkey: str | UnsetType = UNSET
    """Hex; of the wallet's own."""
    policy: str | UnsetType = UNSET
    """Who can spend what lies there, as `dure policy` writes it."""
    hdkeypath: str | UnsetType = UNSET
    """The key's path from the master key; absent if the key was imported."""


class AddressPurpose(Result, frozen=True, kw_only=True):
    """What an address is for (getaddressesbylabel)."""

    purpose: Literal["receive", "send"]


class ReceivedByAddress(Result, frozen=True, kw_only=True):
    """What one address was paid (listreceivedbyaddress)."""

    address: str
    amount: Dure
    payments: int
    """How many outputs that were."""
    label: str
    ischange: bool
    hdkeypath: str | UnsetType = UNSET


class CoinName(Result, frozen=True, kw_only=True):
    """A coin that is set aside (listlockunspent)."""

    txid: str
    vout: int


class UnspentCoin(Result, frozen=True, kw_only=True):
    """One coin (listunspent)."""

    txid: str
    vout: int
    address: str
    label: str
    scriptPubKey: str
    """The lock, hex."""
    amount: Dure
    confirmations: int
    generated: bool | UnsetType = UNSET
    """Present for a miner's reward."""
    spendable: bool
    """Whether a payment may use it now."""
    solvable: bool
    safe: bool
    """Whether nobody else can take it back: it is in a block, or change of our own."""


class SentAll(Result, frozen=True, kw_only=True):
    """sendall."""

    txid: str
    complete: bool
    """Whether nothing that can be spent is left."""
