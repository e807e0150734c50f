"""What the wallet stores, and how: its records over the database that it is handed.

    table         key                          value (MessagePack arrays, see `wallet.records`)
    meta          name                         see `WalletStore`
    addresses     branch 1 | index 4           AddressRecord
    transactions  txid                         TxRecord
    sequence      number 8                     txid: the order in which they were first seen
    pending       txid                         empty: those of `transactions` that are in no block
    coins         txid | index 4               CoinRecord: every output that was ever ours
    journal       height 8                     JournalRecord: what a block of the chain had for us
    conflicts     txid | index 4               ConflictRecord: coins that a pending transaction lost
    requests      SHA-256 of a request's name  RequestRecord
    replaced      txid                         txid: of the payment that was made in its place, with a higher fee
    replacing     txid                         txid: the other way round
    notes         txid                         [comment, to]: what its maker wrote down about a payment
    aside         txid | index 4               empty: coins that their owner set aside for good
    contacts      lock                         the label of somebody else's address, UTF-8
    policies      lock                         PolicyRecord
    assets        asset id                     1 or 0: whether it is shown; 2: nobody said, but its authority is known
    waiting       txid                         WaitingRecord: ours, signed, and without an approval of others
    frozen        asset id | lock              what its controller wrote down about a lock that he freezes, UTF-8

Integers in keys are big-endian, so that records lie in the order of their numbers. The journal
and the raw transactions say exactly what a block changed; so it is taken back without the block.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

import msgspec

from consensus.slices import Slices, whole
from consensus.types import AssetId, BlockHash, LockId, OutPoint, TxId
from wallet.errors import WalletDataError
from wallet.ports import Change, Database
from wallet.records import (
    AddressRecord,
    CoinRecord,
    ConflictRecord,
    JournalRecord,
    PolicyRecord,
    Record,
    RequestRecord,
    RescanRecord,
    TxRecord,
    WaitingRecord,
    decode_record,
    encode_record,
)
from wallet.results import Cursor, Note

TABLES = (
    "meta",
    "addresses",
    "transactions",
    "sequence",
    "pending",
    "coins",
    "journal",
    "conflicts",
    "requests",
    "replaced",
    "replacing",
    "notes",
    "aside",
    "contacts",
    "policies",
    "assets",
    "waiting",
    "frozen",
)
"""The tables that the database must have."""
STORE_VERSION = 1


_R = TypeVar("_R", bound=Record)
RECORDS_AT_ONCE = 5_000
"""Records of a step that are gathered in a slice."""
_encode = msgspec.msgpack.Encoder().encode
_cursor_decoder = msgspec.msgpack.Decoder(tuple[int, BlockHash])
_note_decoder = msgspec.msgpack.Decoder(tuple[str, str])
_counters_decoder = msgspec.msgpack.Decoder(tuple[int, ...])


def outpoint_key(outpoint: OutPoint) -> bytes:
    """Return the key of a coin."""
    return outpoint.txid + outpoint.index.to_bytes(4, "big")


def _outpoint(key: bytes) -> OutPoint:
    return OutPoint(TxId(key[:32]), int.from_bytes(key[32:], "big"))


def _address_key(branch: int, index: int) -> bytes:
    return bytes([branch]) + index.to_bytes(4, "big")


def _number(value: int) -> bytes:
    return value.to_bytes(8, "big")


class WalletStore:
    """Typed records, and a step of changes that is written whole by `commit`.

    What was put is seen by every later read, committed or not. `meta` holds: version, genesis (the
    network's), account (the keystore's public key), cursor [height, hash], next [receive, change,
    policy],
    gap, counters [last number, transactions], rescan.
    """

    def __init__(
        self, database: Database, genesis: BlockHash, account_key: bytes, birthday: Cursor | None = None
    ) -> None:
        """Hold the database; if it is empty, make it that of `account_key` on the network of `genesis`.

        Raises:
            WalletDataError: it belongs to others, or is of another version.
        """
        self._database = database
        self._step: dict[tuple[str, bytes], bytes | None] = {}
        version = database.get("meta", b"version")
        if version is None:
            start = birthday or Cursor(0, genesis)
            for name, value in (
                (b"version", _number(STORE_VERSION)),
                (b"genesis", bytes(genesis)),
                (b"account", account_key),
                (b"cursor", _encode(tuple(start))),
            ):
                self._put("meta", name, value)
            self.commit()
        elif version != _number(STORE_VERSION):
            raise WalletDataError("the wallet's database is of a version that this program does not know")
        elif database.get("meta", b"genesis") != genesis:
            raise WalletDataError("the wallet's database belongs to another network")
        elif database.get("meta", b"account") != account_key:
            raise WalletDataError("the wallet's database belongs to another keystore")
        self._sequence, self._count = self._counters()

    def commit(self) -> None:
        """Write all that was put since the last commit: all or nothing, durable when this returns."""
        whole(self.commit_in_slices())

    def commit_in_slices(self) -> Slices[None]:
        """Do `commit`, in slices; nothing may be put between two of them."""
        if not self._step:
            return
        changes: list[Change] = []
        # Sorted, so that a simulation writes the same whatever order a caller worked in.
        for place, (table, key) in enumerate(sorted(self._step), 1):
            changes.append(Change(table, key, self._step[table, key]))
            if place % RECORDS_AT_ONCE == 0:
                yield
        self._database.write(changes)
        self._step = {}

    # Raw access

    def _get(self, table: str, key: bytes) -> bytes | None:
        if (table, key) in self._step:
            return self._step[table, key]
        return self._database.get(table, key)

    def _put(self, table: str, key: bytes, value: bytes | None) -> None:
        self._step[table, key] = value

    def _read(self, table: str, key: bytes, kind: type[_R]) -> _R | None:
        raw = self._get(table, key)
        return None if raw is None else decode_record(raw, kind)

    def _scan(self, table: str, *, start: bytes = b"", reverse: bool = False) -> Iterator[tuple[bytes, bytes]]:
        """Yield the committed records: nobody scans in the middle of a step."""
        return self._database.scan(table, start, reverse=reverse)

    # Meta

    def cursor(self) -> Cursor:
        """The newest block that is applied durably."""
        height, block_hash = _cursor_decoder.decode(self._get("meta", b"cursor") or b"")
        return Cursor(height, block_hash)

    def put_cursor(self, cursor: Cursor) -> None:
        """Move the cursor."""
        self._put("meta", b"cursor", _encode(tuple(cursor)))

    def next_indices(self) -> tuple[int, int, int]:
        """For receive, change and policy keys: the first index that is not handed out."""
        raw = self._get("meta", b"next")
        receive, change, policy = (*(_counters_decoder.decode(raw) if raw else ()), 0, 0, 0)[:3]
        return receive, change, policy

    def put_next_indices(self, receive: int, change: int, policy: int) -> None:
        """Hand out what lies below."""
        self._put("meta", b"next", _encode((receive, change, policy)))

    def gap(self) -> int | None:
        """The gap limit, if it was ever widened."""
        raw = self._get("meta", b"gap")
        return int.from_bytes(raw, "big") if raw else None

    def put_gap(self, gap: int) -> None:
        """Widen the gap limit."""
        self._put("meta", b"gap", _number(gap))

    def rescan(self) -> RescanRecord | None:
        """The rescan that is under way."""
        return self._read("meta", b"rescan", RescanRecord)

    def put_rescan(self, rescan: RescanRecord | None) -> None:
        """Begin a rescan, or end it."""
        self._put("meta", b"rescan", None if rescan is None else encode_record(rescan))

    def _counters(self) -> tuple[int, int]:
        raw = self._get("meta", b"counters")
        sequence, count = _counters_decoder.decode(raw) if raw else (0, 0)
        return sequence, count

    def _put_counters(self) -> None:
        self._put("meta", b"counters", _encode((self._sequence, self._count)))

    # Addresses

    def addresses(self) -> Iterator[tuple[int, int, AddressRecord]]:
        """Yield branch, index and record of all that are watched."""
        for key, raw in self._scan("addresses"):
            yield key[0], int.from_bytes(key[1:], "big"), decode_record(raw, AddressRecord)

    def put_address(self, branch: int, index: int, record: AddressRecord) -> None:
        """Watch an address, or change its record."""
        self._put("addresses", _address_key(branch, index), encode_record(record))

    def contacts(self) -> Iterator[tuple[LockId, str]]:
        """Yield the labels of other people's addresses."""
        return ((LockId(key), raw.decode("utf-8")) for key, raw in self._scan("contacts"))

    def put_contact(self, lock: LockId, label: str) -> None:
        """Label somebody else's address; an empty label forgets it."""
        self._put("contacts", lock, label.encode("utf-8") if label else None)

    # Transactions

    def transaction(self, txid: TxId) -> TxRecord | None:
        """Return the record of a transaction."""
        return self._read("transactions", txid, TxRecord)

    def next_number(self) -> int:
        """Return a number above all earlier ones, for `TxRecord.sequence` or `arrival`."""
        self._sequence += 1
        self._put_counters()
        return self._sequence

    def put_transaction(self, txid: TxId, record: TxRecord) -> None:
        """Write a record, and its places in the sequence and among those that are pending."""
        if self.transaction(txid) is None:
            self._put("sequence", _number(record.sequence), txid)
            self._count += 1
            self._put_counters()
        self._put("transactions", txid, encode_record(record))
        self._put("pending", txid, b"" if record.height is None else None)

    def count_transactions(self) -> int:
        """How many there are."""
        return self._count

    def newest_transactions(self) -> Iterator[tuple[TxId, TxRecord]]:
        """Yield all, the one that was seen last first."""
        for _, txid in self._scan("sequence", reverse=True):
            record = self.transaction(TxId(txid))
            if record is None:
                raise WalletDataError("the wallet's database is damaged: a transaction is missing")
            yield TxId(txid), record

    def pending_transactions(self) -> Iterator[tuple[TxId, TxRecord]]:
        """Yield those that are in no block."""
        for txid, _ in self._scan("pending"):
            record = self.transaction(TxId(txid))
            if record is None:
                raise WalletDataError("the wallet's database is damaged: a pending transaction is missing")
            yield TxId(txid), record

    # Coins

    def coin(self, outpoint: OutPoint) -> CoinRecord | None:
        """Return an output of ours, spent or not."""
        return self._read("coins", outpoint_key(outpoint), CoinRecord)

    def put_coin(self, outpoint: OutPoint, record: CoinRecord) -> None:
        """Write a coin."""
        self._put("coins", outpoint_key(outpoint), encode_record(record))

    def coins(self) -> Iterator[tuple[OutPoint, CoinRecord]]:
        """Yield every output that was ever ours."""
        for key, raw in self._scan("coins"):
            yield _outpoint(key), decode_record(raw, CoinRecord)

    def aside(self) -> Iterator[OutPoint]:
        """Yield the coins that are set aside for good."""
        return (_outpoint(key) for key, _ in self._scan("aside"))

    def put_aside(self, outpoint: OutPoint, *, aside: bool) -> None:
        """Set a coin aside for good, or take it back."""
        self._put("aside", outpoint_key(outpoint), b"" if aside else None)

    # Journal

    def journal(self, height: int) -> JournalRecord | None:
        """Return what the block of a height had for us."""
        return self._read("journal", _number(height), JournalRecord)

    def put_journal(self, height: int, record: JournalRecord | None) -> None:
        """Write or delete the record of a height."""
        self._put("journal", _number(height), None if record is None else encode_record(record))

    def journal_heights(self, from_height: int) -> list[int]:
        """Return the heights at or above one that have a record, the highest first."""
        heights = [int.from_bytes(key, "big") for key, _ in self._scan("journal", start=_number(from_height))]
        return heights[::-1]

    # Policies

    def policies(self) -> Iterator[PolicyRecord]:
        """Yield all that are remembered, in no order that means anything."""
        return (decode_record(raw, PolicyRecord) for _, raw in self._scan("policies"))

    def policy(self, lock: LockId) -> PolicyRecord | None:
        """Return the policy of a lock."""
        return self._read("policies", lock, PolicyRecord)

    def put_policy(self, lock: LockId, record: PolicyRecord) -> None:
        """Remember a policy, or change its record."""
        self._put("policies", lock, encode_record(record))

    # Assets

    def assets(self) -> Iterator[tuple[AssetId, bool | None]]:
        """Yield the assets that the wallet knows by their ids, and whether they are shown; None: nobody decided."""
        return ((AssetId(key), None if raw == b"\x02" else raw == b"\x01") for key, raw in self._scan("assets"))

    def put_asset(self, asset: AssetId, *, shown: bool | None) -> None:
        """Show an asset from now on, or hide it; None to know it, and thereby its authority."""
        self._put("assets", asset, b"\x02" if shown is None else b"\x01" if shown else b"\x00")

    def waiting(self) -> Iterator[WaitingRecord]:
        """Yield the transactions that wait for approval, in no order that means anything."""
        return (decode_record(raw, WaitingRecord) for _, raw in self._scan("waiting"))

    def put_waiting(self, txid: TxId, record: WaitingRecord | None) -> None:
        """Write or delete one."""
        self._put("waiting", txid, None if record is None else encode_record(record))

    def frozen(self) -> Iterator[tuple[AssetId, LockId, str]]:
        """Yield the locks that are frozen, each with the asset and what was written down about it."""
        return ((AssetId(key[:32]), LockId(key[32:]), raw.decode("utf-8")) for key, raw in self._scan("frozen"))

    def put_frozen(self, asset: AssetId, lock: LockId, why: str | None) -> None:
        """Freeze a lock, or None: no more."""
        self._put("frozen", asset + lock, None if why is None else why.encode("utf-8"))

    # Conflicts and requests

    def conflicts(self) -> Iterator[tuple[OutPoint, ConflictRecord]]:
        """Yield all."""
        for key, raw in self._scan("conflicts"):
            yield _outpoint(key), decode_record(raw, ConflictRecord)

    def put_conflict(self, outpoint: OutPoint, record: ConflictRecord | None) -> None:
        """Write or delete one."""
        self._put("conflicts", outpoint_key(outpoint), None if record is None else encode_record(record))

    def request(self, name_hash: bytes) -> RequestRecord | None:
        """Return the payment that was made under a name."""
        return self._read("requests", name_hash, RequestRecord)

    def requests(self) -> Iterator[tuple[bytes, RequestRecord]]:
        """Yield all payments that were asked for under a name, by the hash of that."""
        return ((key, decode_record(raw, RequestRecord)) for key, raw in self._scan("requests"))

    def put_request(self, name_hash: bytes, record: RequestRecord | None) -> None:
        """Remember a payment under its name, or forget the name."""
        self._put("requests", name_hash, None if record is None else encode_record(record))

    # Notes

    def notes(self) -> Iterator[tuple[TxId, Note]]:
        """Yield all, by the payment that each is about."""
        return ((TxId(key), Note(*_note_decoder.decode(raw))) for key, raw in self._scan("notes"))

    def note(self, txid: TxId) -> Note:
        """Return what was written down about a payment; an empty one if nothing was."""
        raw = self._get("notes", txid)
        return Note() if raw is None else Note(*_note_decoder.decode(raw))

    def put_note(self, txid: TxId, note: Note) -> None:
        """Write something down about a payment."""
        self._put("notes", txid, _encode(tuple(note)) if any(note) else None)

    # Replacements

    def replacement_of(self, txid: TxId) -> TxId | None:
        """Return what was made last in place of a payment."""
        raw = self._get("replaced", txid)
        return None if raw is None else TxId(raw)

    def replaced_by(self, txid: TxId) -> TxId | None:
        """Return the payment in whose place one was made."""
        raw = self._get("replacing", txid)
        return None if raw is None else TxId(raw)

    def put_replacement(self, old: TxId, new: TxId) -> None:
        """Remember that a payment was made in place of another."""
        self._put("replaced", old, new)
        self._put("replacing", new, old)
