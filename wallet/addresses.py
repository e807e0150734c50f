"""Which locks are ours: the addresses that were handed out, and those ahead of them that may be paid.

Every branch is watched up to `GAP_LIMIT` addresses beyond the last that was handed out or used, so a
wallet that is restored from its words finds what was paid, as long as no more than that many in a
row stay unused (BIP 44, "Address gap limit"). More may be handed out: this wallet sees them all;
one restored from words must look with a larger gap.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Sequence
from enum import IntEnum

import msgspec

from consensus.signatures import public_key
from consensus.spend_policy import policy_id
from consensus.types import Key, LockId
from wallet.errors import WalletError
from wallet.keys import HARDENED, InvalidChildError, PublicNode
from wallet.keystore import IMPORTED_BRANCH
from wallet.records import AddressRecord
from wallet.store import WalletStore

GAP_LIMIT = 20
MAX_GAP = 10_000
"""Bounds what one rescan derives: about a second."""
MAX_LABEL = 255
"""Characters."""
POLICY_SEARCH = 200
"""Keys beyond those watched that are looked at for the ones in a policy: some 20 ms."""
MAX_CONTACTS = 10_000
"""Labels of other people's addresses: they are held in memory and in every backup."""


class Branch(IntEnum):
    """The lists of keys."""

    RECEIVE = 0
    CHANGE = 1
    IMPORTED = IMPORTED_BRANCH
    POLICY = 3
    """Keys that stand in spend policies. They have a list of their own, since nobody pays to them alone: among the
    receiving addresses they would be a gap of unused ones."""


_DERIVED = (Branch.RECEIVE, Branch.CHANGE, Branch.POLICY)


class KnownAddress(msgspec.Struct, frozen=True):
    """A lock that we can open."""

    lock: LockId
    branch: Branch
    index: int
    label: str


def key_lock(key: bytes) -> LockId:
    """Return the lock that one public key opens."""
    return policy_id(Key(key))


class AddressBook:
    """The watched addresses. Changes are put into the store; making one, `hand_out`, `set_label` and `add_imported`
    commit them, nothing else does.
    """

    def __init__(self, store: WalletStore, account: PublicNode, imported: tuple[bytes, ...] = ()) -> None:
        """Read the book, and watch what it lacks.

        Args:
            imported: the public keys of all imported keys. A crash may have come between a key's
                import and its record here.
        """
        self._store = store
        self._branches = {branch: account.child(branch) for branch in _DERIVED}
        self._known: dict[LockId, KnownAddress] = {}
        self._next = dict(zip(_DERIVED, store.next_indices(), strict=True))
        self._watched = dict.fromkeys(Branch, 0)
        """The first index of each branch that is not watched."""
        self._used = dict.fromkeys(Branch, -1)
        """The highest index of each branch that was paid."""
        self._contacts: dict[LockId, str] = dict(store.contacts())
        self._imported = imported
        self.gap = store.gap() or GAP_LIMIT
        for branch, index, record in store.addresses():
            self._learn(Branch(branch), index, record)
        for index in range(self._watched[Branch.IMPORTED], len(imported)):
            self._watch(Branch.IMPORTED, index, key_lock(imported[index]), "")
        for branch in _DERIVED:
            self._extend(branch)
        store.commit()

    # Look-ups

    def find(self, lock: LockId) -> KnownAddress | None:
        """Return what is known of a lock, if it is ours."""
        return self._known.get(lock)

    def is_change(self, lock: LockId) -> bool:
        """Tell whether a lock is ours, and for change."""
        known = self._known.get(lock)
        return known is not None and known.branch is Branch.CHANGE

    def __contains__(self, lock: LockId) -> bool:
        return lock in self._known

    def count(self) -> int:
        """How many were handed out or imported; keys for policies not."""
        return self._next[Branch.RECEIVE] + self._next[Branch.CHANGE] + self._watched[Branch.IMPORTED]

    def next_index(self, branch: Branch) -> int:
        """Return the first index of a branch that is not handed out."""
        return self._next[branch]

    def labels(self) -> Iterator[KnownAddress]:
        """Yield those with a label."""
        return (known for known in self._known.values() if known.label)

    def contacts(self) -> Iterator[tuple[LockId, str]]:
        """Yield the labels of other people's addresses."""
        return iter(self._contacts.items())

    def label_of(self, lock: LockId) -> str:
        """Return what a lock is called, ours or not; empty if it has no name."""
        known = self._known.get(lock)
        return self._contacts.get(lock, "") if known is None else known.label

    def handed_out(self) -> Iterator[KnownAddress]:
        """Yield those that were handed out or imported: receive, change, imported, each in the order of its index.

        A key that was given to a policy is no address of anybody's.
        """
        known = [known for known in self._known.values() if known.branch is not Branch.POLICY]
        known.sort(key=lambda known: (known.branch, known.index))
        return (each for each in known if each.branch is Branch.IMPORTED or each.index < self._next[each.branch])

    def public_key(self, known: KnownAddress) -> bytes:
        """Return the public key of an address of ours."""
        if known.branch is Branch.IMPORTED:
            return self._imported[known.index]
        return self._branches[known.branch].child(known.index).public_key

    @staticmethod
    def lock_of_private_key(private_key: bytes) -> LockId:
        """Return the lock that a private key opens."""
        return key_lock(public_key(private_key))

    # Handing out

    def hand_out(self, branch: Branch, label: str = "") -> KnownAddress:
        """Hand out the next address: that it is, is durable before this returns (A143).

        Raises:
            WalletError: the label is too long.
        """
        check_label(label)
        known = msgspec.structs.replace(self.peek(branch), label=label)
        self.take(known)
        self._store.commit()
        return known

    def peek(self, branch: Branch) -> KnownAddress:
        """Return the address that would be handed out next; nothing changes."""
        index = self._next[branch]
        while True:
            lock = self._derive(branch, index)
            if lock is not None:
                return KnownAddress(lock, branch, index, "")
            index += 1

    def take(self, known: KnownAddress) -> None:
        """Hand out what `peek` returned, as part of the caller's step."""
        self._next[known.branch] = max(self._next[known.branch], known.index + 1)
        self._watch(known.branch, known.index, known.lock, known.label)
        self._extend(known.branch)
        self._put_next()

    def seek_policy_keys(self, keys: Iterable[bytes]) -> None:
        """Look for keys that stand in a policy, and hand out those that are ours; as part of the caller's step.

        A wallet that was restored from its words does not know how many it gave to policies.
        """
        wanted = {key_lock(key) for key in keys}
        end = self._watched[Branch.POLICY] + POLICY_SEARCH
        found = max((known.index for known in self._known.values() if self._is_policy_key(known, wanted)), default=-1)
        if not wanted <= self._known.keys():
            for index in range(self._watched[Branch.POLICY], min(end, HARDENED)):
                if self._derive(Branch.POLICY, index) in wanted:
                    found = index
        if found >= self._next[Branch.POLICY]:
            self._next[Branch.POLICY] = found + 1
            self._extend(Branch.POLICY)
            self._put_next()

    @staticmethod
    def _is_policy_key(known: KnownAddress, wanted: Container[LockId]) -> bool:
        return known.branch is Branch.POLICY and known.lock in wanted

    def set_label(self, lock: LockId, label: str) -> None:
        """Give a lock a name, ours or somebody else's, in place of an earlier one; durable when this returns.

        Raises:
            WalletError: the label is too long, or there are too many of other people's.
        """
        check_label(label)
        known = self._known.get(lock)
        if known is not None:
            self._watch(known.branch, known.index, lock, label)
        else:
            self._put_contact(lock, label)
        self._store.commit()

    def _put_contact(self, lock: LockId, label: str) -> None:
        if label and lock not in self._contacts and len(self._contacts) >= MAX_CONTACTS:
            raise WalletError(f"a wallet keeps the labels of at most {MAX_CONTACTS} addresses of others")
        self._contacts[lock] = label
        if not label:
            del self._contacts[lock]
        self._store.put_contact(lock, label)

    def add_imported(self, index: int, key: bytes, label: str = "") -> None:
        """Watch an imported key; durable when this returns."""
        check_label(label)
        self._imported = (*self._imported[:index], key)
        self._watch(Branch.IMPORTED, index, key_lock(key), label)
        self._store.commit()

    # Being paid

    def mark_used(self, lock: LockId) -> bool:
        """Take note that somebody paid to a lock of ours; tell whether more addresses are watched now."""
        known = self._known[lock]
        if known.index <= self._used[known.branch]:
            return False
        self._used[known.branch] = known.index
        self._store.put_address(known.branch, known.index, AddressRecord(lock, known.label, used=True))
        if known.branch is Branch.IMPORTED:
            return False
        if known.index >= self._next[known.branch]:
            # Another copy of this wallet handed it out, or this one before it was restored (A159).
            self._next[known.branch] = known.index + 1
            self._put_next()
        return self._extend(known.branch)

    def widen(self, gap: int) -> None:
        """Watch further ahead, from now on; as part of the caller's step.

        Raises:
            WalletError: the gap is below 1 or above `MAX_GAP`.
        """
        if not 1 <= gap <= MAX_GAP:
            raise WalletError(f"a gap is 1 to {MAX_GAP} addresses")
        if gap > self.gap:
            self.gap = gap
            self._store.put_gap(gap)
            for branch in _DERIVED:
                self._extend(branch)

    def restore(
        self,
        receive: int,
        change: int,
        policy: int,
        gap: int,
        labels: Sequence[tuple[int, int, str]],
        contacts: Sequence[tuple[LockId, str]],
    ) -> None:
        """Hand out again what a backup says was handed out; as part of the caller's step."""
        self.widen(gap)
        self._next[Branch.RECEIVE] = max(self._next[Branch.RECEIVE], receive)
        self._next[Branch.CHANGE] = max(self._next[Branch.CHANGE], change)
        self._next[Branch.POLICY] = max(self._next[Branch.POLICY], policy)
        self._put_next()
        for branch in _DERIVED:
            self._extend(branch)
        places = {(known.branch, known.index): known for known in self._known.values()}
        for branch_number, index, label in labels:
            found = places.get((Branch(branch_number), index))
            if found is not None:
                self._watch(found.branch, found.index, found.lock, label)
        for lock, label in contacts:
            self._put_contact(lock, label)

    # Inside

    def _put_next(self) -> None:
        self._store.put_next_indices(*(self._next[branch] for branch in _DERIVED))

    def _derive(self, branch: Branch, index: int) -> LockId | None:
        if index >= HARDENED:
            raise WalletError("all addresses of this wallet are used up")
        try:
            return key_lock(self._branches[branch].child(index).public_key)
        except InvalidChildError:
            return None

    def _extend(self, branch: Branch) -> bool:
        """Watch up to the gap limit; tell whether that added any."""
        end = max(self._next[branch], self._used[branch] + 1) + self.gap
        first = self._watched[branch]
        for index in range(first, min(end, HARDENED)):
            lock = self._derive(branch, index)
            if lock is not None:
                self._watch(branch, index, lock, "")
        self._watched[branch] = max(first, end)
        return end > first

    def _watch(self, branch: Branch, index: int, lock: LockId, label: str) -> None:
        record = AddressRecord(lock, label, used=index <= self._used[branch])
        self._learn(branch, index, record)
        self._store.put_address(branch, index, record)

    def _learn(self, branch: Branch, index: int, record: AddressRecord) -> None:
        self._known[record.lock] = KnownAddress(record.lock, branch, index, record.label)
        self._watched[branch] = max(self._watched[branch], index + 1)
        if record.used:
            self._used[branch] = max(self._used[branch], index)


def check_label(label: str) -> None:
    """Check that a label can be stored and shown.

    Raises:
        WalletError: it is too long, or holds characters that cannot be written.
    """
    if len(label) > MAX_LABEL or not label.isprintable():
        raise WalletError(f"a label is at most {MAX_LABEL} printable characters")
