"""The policies that a wallet remembers: their coins are watched and shown apart, and no ordinary payment picks them.

A policy is part of nobody's words: who restores a wallet from its words imports its policies again.
Once remembered it is never forgotten, for its coins may be in the wallet's history.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from consensus.codec import decode_policy, encode
from consensus.errors import ConsensusError
from consensus.spend_policy import policy_id
from consensus.types import LockId, Policy
from wallet.addresses import AddressBook, key_lock
from wallet.errors import WalletDataError, WalletError
from wallet.records import PolicyRecord
from wallet.spend_policies.branches import keys_of, pays_of
from wallet.spend_policies.traps import find_traps
from wallet.store import WalletStore

MAX_POLICIES = 10_000
"""That one wallet remembers: they are held in memory and in every backup."""
MAX_NAME = 64
"""Characters of a policy's name, and of a role's."""


class KnownPolicy(msgspec.Struct, frozen=True):
    """A policy that the wallet remembers."""

    lock: LockId
    name: str
    policy: Policy
    roles: dict[bytes, str]
    """What to call the owners of some of its keys."""


class PolicyBook:
    """The remembered policies. `add` is part of the caller's step."""

    def __init__(self, store: WalletStore, addresses: AddressBook) -> None:
        """Read what the store holds."""
        self._store = store
        self._addresses = addresses
        self._known: dict[LockId, KnownPolicy] = {}
        self._by_name: dict[str, LockId] = {}
        self._led_to: dict[LockId, LockId] = {}
        """For each lock that a policy lets its coins go to: which policy that is."""
        for record in sorted(store.policies(), key=lambda record: record.number):
            self._learn(_read(record))

    def __contains__(self, lock: object) -> bool:
        return lock in self._known

    def __len__(self) -> int:
        return len(self._known)

    def __iter__(self) -> Iterator[KnownPolicy]:
        """Yield all, in the order in which they were added."""
        return iter(self._known.values())

    def find(self, lock: LockId) -> KnownPolicy | None:
        """Return what is remembered of a lock."""
        return self._known.get(lock)

    def named(self, name: str) -> KnownPolicy | None:
        """Return the policy of a name."""
        lock = self._by_name.get(name)
        return None if lock is None else self._known[lock]

    def led_to(self, lock: LockId) -> KnownPolicy | None:
        """Return the vault that lets its coins go to a lock: whatever arrives there may be a withdrawal."""
        vault = self._led_to.get(lock)
        return None if vault is None else self._known[vault]

    def own_keys(self, policy: Policy) -> tuple[bytes, ...]:
        """Return the keys of a policy that are this wallet's."""
        return tuple([key for key in keys_of(policy) if key_lock(key) in self._addresses])

    def is_own_key(self, lock: LockId) -> bool:
        """Tell whether a policy is one key of this wallet's."""
        return lock in self._addresses

    def approves(self, lock: LockId) -> bool:
        """Tell whether this wallet has a key, alone or among others, that approves by the policy of a lock."""
        known = self._known.get(lock)
        return self.is_own_key(lock) or (known is not None and bool(self.own_keys(known.policy)))

    def add(self, name: str, policy: Policy, roles: Mapping[bytes, str] | None = None) -> KnownPolicy:
        """Remember a policy that `check_policy` passed; again under its name is no change, but for new roles.

        Raises:
            WalletError: a fatal trap, named; a name that is taken or cannot be shown; an ordinary address of
                this wallet; the same policy under another name; too many.
        """
        lock = policy_id(policy)
        known = KnownPolicy(lock, name, policy, dict(roles or {}))
        self._check(known)
        self._addresses.seek_policy_keys(keys_of(policy))
        earlier = self._known.get(lock)
        record = PolicyRecord(
            number=self._store.next_number() if earlier is None else self._number_of(lock),
            name=name,
            policy=encode(policy),
            roles=tuple(sorted(known.roles.items())),
        )
        self._learn(known)
        self._store.put_policy(lock, record)
        return known

    def _number_of(self, lock: LockId) -> int:
        record = self._store.policy(lock)
        if record is None:
            raise WalletDataError("the wallet's database is damaged: a policy is missing")
        return record.number

    def _check(self, known: KnownPolicy) -> None:
        check_name(known.name)
        keys = keys_of(known.policy)
        for key, role in known.roles.items():
            check_name(role)
            if key not in keys:
                raise WalletError(f"{role} is the role of a key that is not in the policy")
        fatal = [finding.sentence for finding in find_traps(known.policy) if finding.fatal]
        if fatal:
            raise WalletError(f"such a policy must not be paid: {' '.join(fatal)}")
        if known.lock in self._addresses:
            raise WalletError("this is the policy of an ordinary address of this wallet, which watches it already")
        earlier = self._known.get(known.lock)
        if earlier is not None and earlier.name != known.name:
            raise WalletError(f"the wallet remembers this policy already, as {earlier.name}")
        if earlier is None and known.name in self._by_name:
            raise WalletError(f"the wallet remembers another policy as {known.name}: choose another name")
        if earlier is None and len(self._known) >= MAX_POLICIES:
            raise WalletError(f"a wallet remembers at most {MAX_POLICIES} policies")

    def _learn(self, known: KnownPolicy) -> None:
        self._known[known.lock] = known
        self._by_name[known.name] = known.lock
        for lock in pays_of(known.policy):
            self._led_to[lock] = known.lock


def check_name(name: str) -> None:
    """Check that a name can be stored, shown, and typed.

    Raises:
        WalletError: it cannot.
    """
    if not 1 <= len(name) <= MAX_NAME or not name.isprintable() or name != name.strip():
        raise WalletError(f"a name has 1 to {MAX_NAME} printable characters, no blank before or after them")


def _read(record: PolicyRecord) -> KnownPolicy:
    try:
        policy = decode_policy(record.policy)
    except ConsensusError as error:
        raise WalletDataError(f"the wallet's database is damaged: {error}") from None
    return KnownPolicy(policy_id(policy), record.name, policy, dict(record.roles))
