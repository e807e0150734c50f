"""Where other nodes may be found: heard of (new), or reached by us (tried).

Both tables are cut into buckets, and a keyed hash decides the bucket from the groups of the address and of who told
it. So an attacker with many addresses in few networks, or telling us many, fills few buckets, and since we dial by
drawing a bucket first, gets few of our connections (Heilman et al., "Eclipse Attacks on Bitcoin's Peer-to-Peer
Network", 2015; Bitcoin Core `addrman.h`). Every address has one fixed place; who wants a taken place waits.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Container, Iterable
from dataclasses import dataclass
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from p2p import limits
from p2p.address_rules import address_group, may_learn, pack_host, unpack_host
from p2p.transport import Address, normal_host

_FILE_VERSION: Final = 1
_CAPACITY: Final = (limits.NEW_BUCKETS + limits.TRIED_BUCKETS) * limits.BUCKET_SIZE
_MAX_OWN: Final = 64
"""Own addresses that are remembered: a machine has a few."""
_DRAWS: Final = 64
"""Draws in one `select`, so that a table of unsuitable addresses costs no more than this."""

_Bucket = dict[int, Address]
_Seconds = Annotated[int, Meta(ge=0, le=2**63 - 1)]


class AddressFileError(ValueError):
    """A saved address table is damaged, or of a later version: start with an empty one."""


class _Entry(msgspec.Struct, array_like=True, forbid_unknown_fields=True, gc=False):
    """What is known of one address. Times are UNIX seconds; 0 is never."""

    host: Annotated[bytes, Meta(min_length=16, max_length=16)]
    port: Annotated[int, Meta(ge=1, le=65535)]
    source_group: Annotated[bytes, Meta(max_length=80)]
    seen: _Seconds
    success: _Seconds
    attempt: _Seconds
    failures: Annotated[int, Meta(ge=0, le=1 << 16)]
    tried: bool


class _File(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    version: int
    key: Annotated[bytes, Meta(min_length=32, max_length=32)]
    entries: Annotated[tuple[_Entry, ...], Meta(max_length=_CAPACITY)]


@dataclass(frozen=True, slots=True)
class KnownAddress:
    """An address and when it was last seen by anybody, in UNIX seconds."""

    address: Address
    seen: int


class AddressManager:
    """All addresses a node knows; bounded, and the same for the same seed and the same history.

    Times are UNIX seconds. Only IP addresses that `address_rules.may_learn` are kept, never our own.
    """

    def __init__(self, key: bytes, rng: random.Random, *, private_allowed: bool) -> None:
        """
        Args:
            key: 32 secret random bytes; kept with the table, or places would change at each start.
            rng: draws whom to dial and what to tell.
            private_allowed: see `address_rules.may_learn`.
        """
        self._key = key
        self._rng = rng
        self._private_allowed = private_allowed
        self._known: dict[Address, _Entry] = {}
        self._new: dict[int, _Bucket] = {}
        self._tried: dict[int, _Bucket] = {}
        self._per_host: dict[str, int] = {}
        self._own: dict[Address, None] = {}

    def __len__(self) -> int:
        return len(self._known)

    def __contains__(self, address: Address) -> bool:
        return address in self._known

    @property
    def tried_count(self) -> int:
        """How many of the addresses were reached by us."""
        return sum(map(len, self._tried.values()))

    # --- learning ---------------------------------------------------------------------------------------------

    def add(self, told: Iterable[KnownAddress], source: Address, now: int) -> int:
        """Take addresses that `source` told; return how many were not known and have a place now.

        What may not be learned, claims to be seen in our future, or finds its place taken is dropped in silence; what
        is known already only gets younger.
        """
        source_group = address_group(source)
        return sum(self._add_one(one, source_group, now) for one in told)

    def add_own(self, address: Address) -> None:
        """Remember that this is ourselves: forget it, and never learn it again."""
        address = Address(normal_host(address.host), address.port)
        self.forget(address)
        if len(self._own) < _MAX_OWN:
            self._own[address] = None

    def forget(self, address: Address) -> None:
        """Drop an address; it may be learned again."""
        entry = self._known.get(address)
        if entry is None:
            return
        self._take_out(address, entry)
        self._drop(address)

    def mark_attempt(self, address: Address, now: int) -> None:
        """We dial it. It counts as failed until `mark_good` says otherwise."""
        entry = self._known.get(address)
        if entry is not None:
            entry.attempt = now
            entry.failures = min(entry.failures + 1, 1 << 16)

    def mark_good(self, address: Address, now: int) -> None:
        """We dialled it and it completed the handshake: it belongs to the tried ones."""
        entry = self._known.get(address)
        if entry is None:
            if not self._has_room(address):
                return
            entry = _new_entry(address, address_group(address), now)
            self._remember(address, entry)
        entry.failures = 0
        entry.success = entry.seen = now
        if entry.tried or self._promote(address, entry, now) or self._is_placed(address, entry):
            return
        if not self._place_new(address, entry, now):
            self._drop(address)

    # --- telling and dialling ---------------------------------------------------------------------------------

    def select(self, now: int, exclude: Container[Address] = ()) -> Address | None:
        """Draw an address to dial: tried or new with equal chance, then a bucket, then one in it.

        Args:
            exclude: those connected, being dialled, or refused for another reason.

        Returns:
            None if no suitable one was drawn: there is none, or hardly any.
        """
        tables = [table for table in (self._tried, self._new) if table]
        refused: set[Address] = set()
        for _ in range(_DRAWS if tables else 0):
            table = self._rng.choice(tables)
            bucket = table[self._rng.choice(list(table))]
            address = self._rng.choice(list(bucket.values()))
            if address in refused:
                continue
            if address not in exclude and self._is_due(self._known[address], now):
                return address
            refused.add(address)
            if len(refused) == len(self._known):
                # On a small network all that are known are peers already, most of the time.
                return None
        return None

    def sample(self, count: int, now: int) -> list[KnownAddress]:
        """Draw addresses to tell a peer: at most `count`, and of a large table at most a quarter.

        One that was not seen for a month, or that we dialled in vain three times and never reached, is not told on.
        """
        fit = [address for address, entry in self._known.items() if not _is_stale(entry, now)]
        fair = max(limits.DISCOVERY_ADDRESSES, len(fit) // 4)
        chosen = self._rng.sample(fit, min(count, fair, len(fit)))
        return [KnownAddress(address, self._known[address].seen) for address in chosen]

    # --- keeping ----------------------------------------------------------------------------------------------

    def dump(self) -> bytes:
        """Return everything worth keeping over a restart, with a checksum in front."""
        body = msgspec.msgpack.encode(_File(_FILE_VERSION, self._key, tuple(self._known.values())))
        return hashlib.sha256(body).digest() + body

    @classmethod
    def restore(cls, raw: bytes, rng: random.Random, *, private_allowed: bool) -> AddressManager:
        """Rebuild the table from `dump`.

        Raises:
            AddressFileError: the bytes are not a whole dump of this version.
        """
        if hashlib.sha256(raw[32:]).digest() != raw[:32]:
            raise AddressFileError("the saved addresses are damaged")
        try:
            saved = msgspec.msgpack.decode(raw[32:], type=_File)
        except msgspec.MsgspecError as error:
            raise AddressFileError(f"the saved addresses cannot be read: {error}") from None
        if saved.version != _FILE_VERSION:
            raise AddressFileError(f"the saved addresses have version {saved.version}, this program {_FILE_VERSION}")
        manager = cls(saved.key, rng, private_allowed=private_allowed)
        for entry in saved.entries:
            manager._put_back(entry)
        return manager

    # --- inside -----------------------------------------------------------------------------------------------

    def _add_one(self, told: KnownAddress, source_group: bytes, now: int) -> bool:
        address = told.address
        entry = self._known.get(address)
        if told.seen > now + limits.SEEN_AHEAD_SECONDS:
            return False
        if entry is not None:
            entry.seen = max(entry.seen, told.seen)
            return False
        if not self._has_room(address):
            return False
        entry = _new_entry(address, source_group, told.seen)
        if not self._place_new(address, entry, now):
            return False
        self._remember(address, entry)
        return True

    def _has_room(self, address: Address) -> bool:
        if address in self._own or not may_learn(address, private_allowed=self._private_allowed):
            return False
        # Where private addresses are usual, a hundred nodes on one machine are too.
        return self._private_allowed or self._per_host.get(address.host, 0) < limits.MAX_PORTS_PER_HOST

    def _remember(self, address: Address, entry: _Entry) -> None:
        self._known[address] = entry
        self._per_host[address.host] = self._per_host.get(address.host, 0) + 1

    def _drop(self, address: Address) -> None:
        del self._known[address]
        left = self._per_host[address.host] - 1
        if left:
            self._per_host[address.host] = left
        else:
            del self._per_host[address.host]

    def _put_back(self, entry: _Entry) -> None:
        address = Address(unpack_host(entry.host), entry.port)
        if address in self._known or not self._has_room(address):
            return
        table, bucket, slot = self._place(address, entry)
        if slot not in table.get(bucket, {}):
            table.setdefault(bucket, {})[slot] = address
            self._remember(address, entry)

    def _place_new(self, address: Address, entry: _Entry, now: int) -> bool:
        table, bucket, slot = self._place(address, entry)
        resident = table.get(bucket, {}).get(slot)
        if resident is not None:
            if not _is_stale(self._known[resident], now):
                return False
            self.forget(resident)
        table.setdefault(bucket, {})[slot] = address
        return True

    def _is_placed(self, address: Address, entry: _Entry) -> bool:
        table, bucket, slot = self._place(address, entry)
        return table.get(bucket, {}).get(slot) == address

    def _promote(self, address: Address, entry: _Entry, now: int) -> bool:
        """Move to the tried ones and say True, unless whoever has the place proved itself lately."""
        entry.tried = True
        table, bucket, slot = self._place(address, entry)
        resident = table.get(bucket, {}).get(slot)
        entry.tried = False
        if resident is not None and self._known[resident].success > now - limits.STAY_TRIED_SECONDS:
            return False
        self._take_out(address, entry)
        if resident is not None:
            self._demote(resident, now)
        entry.tried = True
        table.setdefault(bucket, {})[slot] = address
        return True

    def _demote(self, address: Address, now: int) -> None:
        entry = self._known[address]
        self._take_out(address, entry)
        entry.tried = False
        if not self._place_new(address, entry, now):
            self._drop(address)

    def _take_out(self, address: Address, entry: _Entry) -> None:
        table, bucket, slot = self._place(address, entry)
        if table.get(bucket, {}).get(slot) == address:
            del table[bucket][slot]
            if not table[bucket]:
                del table[bucket]

    def _place(self, address: Address, entry: _Entry) -> tuple[dict[int, _Bucket], int, int]:
        """Return the table, bucket and slot that the key gives to an address."""
        where = pack_host(address.host) + address.port.to_bytes(2, "big")
        group = address_group(address)
        if entry.tried:
            spread = self._hash(b"tried", where) % limits.TRIED_BUCKETS_PER_GROUP
            bucket = self._hash(b"tried-bucket", group, bytes((spread,))) % limits.TRIED_BUCKETS
            return self._tried, bucket, self._hash(b"tried-slot", where) % limits.BUCKET_SIZE
        spread = self._hash(b"new", group, entry.source_group) % limits.NEW_BUCKETS_PER_SOURCE_GROUP
        bucket = self._hash(b"new-bucket", entry.source_group, bytes((spread,))) % limits.NEW_BUCKETS
        return self._new, bucket, self._hash(b"new-slot", where) % limits.BUCKET_SIZE

    def _hash(self, *parts: bytes) -> int:
        digest = hashlib.blake2b(key=self._key, digest_size=8)
        for part in parts:
            digest.update(len(part).to_bytes(2, "big") + part)
        return int.from_bytes(digest.digest(), "big")

    def _is_due(self, entry: _Entry, now: int) -> bool:
        wait = min(limits.RETRY_CAP_SECONDS, limits.RETRY_SECONDS * 2 ** min(entry.failures, 16))
        # An attempt in the future means that the clock was set back: it proves nothing.
        return entry.failures == 0 or entry.attempt > now or now >= entry.attempt + wait


def _new_entry(address: Address, source_group: bytes, seen: int) -> _Entry:
    return _Entry(pack_host(address.host), address.port, source_group, max(0, seen), 0, 0, 0, tried=False)


def _is_stale(entry: _Entry, now: int) -> bool:
    """Say whether an address gives its place to any other."""
    if entry.seen + limits.FORGET_SECONDS < now:
        return True
    return entry.success == 0 and entry.failures >= limits.MAX_FAILED_ATTEMPTS
