"""Signatures for what the wallet spends: one for each lock, however many coins lie at it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from consensus.assets import Approval
from consensus.codec import approval_digest, lock_digest, spend_message
from consensus.params import Params
from consensus.signatures import public_key, sign
from consensus.spend_policy import policy_id, satisfy
from consensus.state import SpendContext
from consensus.types import Core, Key, LockId, Output, Policy, Transaction, Witness
from wallet.addresses import AddressBook, key_lock
from wallet.errors import WalletError
from wallet.keystore import Keystore


class Opening(NamedTuple):
    """How the coins of one policy are opened, beside those of our own locks; its keys are this wallet's."""

    shown: Policy
    """As a spender reveals it."""
    preimages: Mapping[bytes, bytes]
    """By their SHA-256."""
    context: SpendContext
    """Of the next block: what its heights and times are held against."""


class Signer:
    """Holds no key: it asks the keystore for one at a time, and forgets it."""

    def __init__(self, params: Params, keystore: Keystore, addresses: AddressBook) -> None:
        self._genesis = params.genesis_hash
        self._keystore = keystore
        self._addresses = addresses

    def check_unlocked(self) -> None:
        """Check that signing is possible now.

        Raises:
            WalletLockedError: it is not.
        """
        self._keystore.secret()

    def sign(
        self,
        core: Core,
        spent: Sequence[Output],
        approvals: Sequence[Approval] = (),
        opening: Opening | None = None,
    ) -> Transaction:
        """Return the transaction of a core, signed.

        The signatures commit to `spent`: if the caller was lied to about an amount or a lock, they
        are worth nothing (A161). Nonces are those of RFC 6979, and each signature was verified
        before it got here (`consensus.signatures.sign`).

        Args:
            spent: the outputs that `core.inputs` name, in that order.
            approvals: what `asset_effects` says that it takes.
            opening: how coins at a policy are opened.

        Raises:
            WalletLockedError: unlock first; nothing was signed.
            WalletError: a lock is not ours, or a policy that has to approve.
        """
        message = spend_message(self._genesis, core, spent)
        # A dict for its order: witnesses stand in the order in which their locks first appear.
        locks = dict.fromkeys(output.lock for output in spent)
        apart = None if opening is None else policy_id(opening.shown)
        opened = [
            self._open(opening, lock_digest(message, lock))
            if opening is not None and lock == apart
            else self._witness(lock, lock_digest(message, lock))
            for lock in locks
        ]
        approved = [self._witness(each.policy, approval_digest(message, each.asset, each.policy)) for each in approvals]
        return Transaction(core, (*opened, *approved))

    def private_key(self, lock: LockId) -> bytes:
        """Return the private key, 32 bytes, of one of our locks.

        Raises:
            WalletLockedError: unlock first.
            WalletError: the lock is not ours, or the database names another key for it than it has.
        """
        private_key, _ = self._keys(lock)
        return private_key

    def sign_digest(self, lock: LockId, digest: bytes) -> tuple[bytes, bytes]:
        """Return the public key of one of our locks, and its signature over a digest; raise as `private_key`."""
        private_key, public = self._keys(lock)
        return public, sign(private_key, digest)

    def _keys(self, lock: LockId) -> tuple[bytes, bytes]:
        """Return the private and the public key of one of our locks; raise as `private_key`."""
        known = self._addresses.find(lock)
        if known is None:
            raise WalletError("the wallet has no key for this")
        private_key = self._keystore.private_key(known.branch, known.index)
        public = public_key(private_key)
        if key_lock(public) != lock:
            raise WalletError("the keystore's key does not open the lock that the wallet's database gives it")
        return private_key, public

    def _open(self, opening: Opening, digest: bytes) -> Witness:
        return satisfy(opening.shown, lambda key: sign(self.private_key(key_lock(key)), digest), opening.preimages)

    def _witness(self, policy: LockId, digest: bytes) -> Witness:
        public, signature = self.sign_digest(policy, digest)
        return Witness(Key(public), (signature,))
