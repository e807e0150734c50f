"""Swaps across two networks as one wallet takes part in them: what it may do on its own chain, and when it must not.

A wallet sees one of the two chains. What lies on the other is for whoever asks it to have looked at: see `steps.py`.
Every step can be repeated: it does what it did before, once. Nothing but the wallet and the file is needed to go on.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256

from consensus.hashing import tagged_hash
from consensus.params import Params
from consensus.signatures import sign
from consensus.spend_policy import Leaf, reveal
from consensus.state import SpendContext
from consensus.types import AfterTime, Key, LockId, Preimage
from wallet.addresses import AddressBook, key_lock
from wallet.assets.approvers import Records
from wallet.assets.desk import AssetDesk
from wallet.assets.making import AssetPayment, AssetWish
from wallet.errors import RequestUsedError
from wallet.ledger import Ledger
from wallet.maker import Maker
from wallet.payments import Payments
from wallet.ports import Outside
from wallet.results import Note, Payment, RelayTerms, Sent
from wallet.signer import Opening, Signer
from wallet.spend_policies.book import KnownPolicy
from wallet.spend_policies.desk import PolicyDesk
from wallet.spend_policies.words import clock_text, duration_text
from wallet.swaps.errors import SwapError, SwapRule
from wallet.swaps.taking import Taken, Taker
from wallet.swaps.terms import STEPS_AFTER, Leg, Terms, accept, leg_lock, propose
from wallet.swaps.watching import LegState, Stage, agreed_coins, leg_state

KEY_LABEL = "key of a swap"
DEPTH = 6
"""Blocks that must lie on what the other side locked, its own included, before anything is done because of it."""


class SwapDesk:
    """One wallet's part. What it changes is durable when it returns."""

    def __init__(
        self,
        params: Params,
        ledger: Ledger,
        addresses: AddressBook,
        signer: Signer,
        maker: Maker,
        payments: Payments,
        assets: AssetDesk,
        policies: PolicyDesk,
        outside: Outside,
    ) -> None:
        self._params = params
        self._ledger = ledger
        self._addresses = addresses
        self._signer = signer
        self._maker = maker
        self._payments = payments
        self._assets = assets
        self._policies = policies
        self._clock = outside.clock
        self._taker = Taker(ledger, addresses, maker, outside.entropy)

    # Keys and secrets

    def new_key(self) -> bytes:
        """Hand out a public key for a swap, 33 bytes, that was never handed out; works while locked."""
        return self._policies.new_key(KEY_LABEL)

    def secret_of(self, key: bytes) -> bytes:
        """Return the secret that goes with a key of this wallet, 32 bytes: it follows from the private key.

        So it is stored nowhere, and whoever has the wallet's words has it. Showing it says nothing of the key, and a
        wallet of the same words on another network has other secrets.

        Raises:
            WalletLockedError: unlock first.
            WalletError: the key is not this wallet's.
        """
        private_key = self._signer.private_key(key_lock(key))
        return tagged_hash("dure/swap/secret", private_key + self._params.genesis_hash)

    def hash_of(self, key: bytes) -> bytes:
        """Return the SHA-256 of the secret that goes with a key, 32 bytes: what may be told before the secret is.

        Raises:
            WalletLockedError, WalletError: as `secret_of`.
        """
        return sha256(self.secret_of(key)).digest()

    def _sign_with(self, key: bytes) -> Callable[[bytes], bytes]:
        private_key = self._signer.private_key(key_lock(key))
        return lambda digest: sign(private_key, digest)

    def _holds(self, key: bytes | None) -> bool:
        return key is not None and key_lock(key) in self._addresses

    # Agreeing

    def propose(self, first: Leg, second: Leg, digest: bytes, records: Records, context: SpendContext) -> Terms:
        """Sign terms of which this wallet gives the first leg; its payer's key must be this wallet's.

        Raises:
            SwapError: `NETWORK`, `NOT_YOURS`, `ASSET`, `LATE`; or as `terms.propose`.
            WalletLockedError: unlock first.
        """
        self._check_own(first, first.payer)
        self._check_asset(first, records)
        terms = propose(first, second, digest, self._sign_with(first.payer or b""))
        self._check_left(terms, STEPS_AFTER, self._now(context.median_time))
        return terms

    def accept(self, terms: Terms, receiver: bytes, payer: bytes, records: Records, context: SpendContext) -> Terms:
        """Sign terms of which this wallet gives the second leg, with its key `payer`; watch that leg from now on.

        Raises:
            SwapError: `NETWORK`, `NOT_YOURS`, `NOT_ACCEPTED`, `ASSET`, `LATE`, `TERMS`.
            WalletLockedError: unlock first.
        """
        self._check_own(terms.second, payer)
        self._check_asset(terms.second, records)
        self._check_left(terms, STEPS_AFTER, self._now(context.median_time))
        whole = accept(terms, receiver, payer, self._sign_with(payer))
        self.watch(whole)
        return whole

    def check(self, terms: Terms, records: Records) -> Leg:
        """Check what terms say of this wallet's network; return the leg there.

        Raises:
            SwapError: `NETWORK` or `ASSET`.
        """
        leg = terms.leg(self._params.genesis_hash)
        self._check_network(leg)
        self._check_asset(leg, records)
        return leg

    def watch(self, terms: Terms) -> KnownPolicy | None:
        """Watch the leg on this network from now on; return its policy if it was not watched, for a rescan to find it.

        Raises:
            SwapError: `NETWORK` or `NOT_ACCEPTED`.
            WalletError: as `PolicyBook.add`.
        """
        leg = terms.leg(self._params.genesis_hash)
        self._check_network(leg)
        made = leg_lock(terms, leg)
        if self._policies.find(made.lock) is not None:
            return None
        return self._policies.remember(policy_name(made.lock), made.policy, made.roles)

    def lock_of(self, terms: Terms) -> LockId:
        """Return where the leg on this network is locked.

        Raises:
            SwapError: `NETWORK` or `NOT_ACCEPTED`.
        """
        return leg_lock(terms, terms.leg(self._params.genesis_hash)).lock

    def state(self, terms: Terms) -> LegState:
        """Return where the leg on this network stands.

        Raises:
            SwapError: `NETWORK` or `NOT_ACCEPTED`.
        """
        return leg_state(self._ledger, terms, terms.leg(self._params.genesis_hash))

    def gives(self, leg: Leg) -> bool | None:
        """Tell whether this wallet pays a leg (True) or receives it (False); None for neither."""
        return True if self._holds(leg.payer) else False if self._holds(leg.receiver) else None

    # Locking, claiming, taking back

    def lock(self, terms: Terms, records: Records, relay: RelayTerms, context: SpendContext) -> Sent:
        """Lock what this wallet gives. Whoever gives the second leg has seen the first locked, and deep.

        Raises:
            SwapError: `NETWORK`, `NOT_YOURS`, `NOT_ACCEPTED`, `ASSET`, `LATE`, `DONE`, `USED`.
            InsufficientFundsError, FeeError, PaymentError, WalletLockedError: as for any payment.
        """
        leg = self.check(terms, records)
        self._check_own(leg, leg.payer)
        made = leg_lock(terms, leg)
        self.watch(terms)
        request = f"swap {terms.digest.hex()} lock"
        if self.state(terms).stage in {Stage.NOTHING, Stage.DIFFERENT}:
            self._check_left(terms, 3 if leg == terms.first else 2, self._now(context.median_time))
        elif not self._maker.knows_request(request):
            # A wallet that was restored in between: paying again would lock twice as much.
            raise SwapError(SwapRule.DONE, "what this wallet gives has been locked already")
        try:
            return self._pay(leg, made.lock, records, relay, request)
        except RequestUsedError:
            raise SwapError(
                SwapRule.USED,
                "this wallet has locked for another swap with the same secret: whoever learns it there could take this",
            ) from None

    def _pay(self, leg: Leg, lock: LockId, records: Records, relay: RelayTerms, request: str) -> Sent:
        note = Note("locked for a swap")
        if leg.asset is not None:
            wish = AssetWish(payments=(AssetPayment(lock, leg.asset, leg.amount),))
            return self._assets.make_now(wish, records, relay, request_id=request, note=note)
        paid = [Payment(lock, leg.amount)]
        return self._payments.send(paid, relay, memo=b"", bearers=(), force=False, request_id=request, note=note)

    def claim(
        self,
        terms: Terms,
        records: Records,
        relay: RelayTerms,
        context: SpendContext,
        *,
        secret: bytes | None = None,
        depth: int = DEPTH,
    ) -> Sent:
        """Claim what the other side locked here.

        Without `secret` this wallet is the proposer's, and its secret becomes known by this: so it claims only while
        there is time enough for the claim to be in a block before the payer may take it back, and only what lies deep.
        With it the secret is known to others already, and there is nothing to lose but time.

        Raises:
            SwapError: `NETWORK`, `NOT_YOURS`, `SECRET`, `MISSING`, `DIFFERENT`, `EARLY`, `LATE`, `DONE`.
            InsufficientFundsError, FeeError, PaymentError, WalletLockedError: as for any payment.
        """
        leg = self._watched_leg(terms)
        self._check_own(leg, leg.receiver)
        request = f"swap {terms.digest.hex()} claim", terms.digest
        done = self._maker.find_request(*request)
        if done is not None:
            return done
        state = self.state(terms)
        known = secret if secret is not None else state.secret
        self._check_there(terms, state, leg)
        if known is None:
            if leg != terms.second:
                raise SwapError(SwapRule.SECRET, "the proposer has not shown the secret yet")
            if state.depth < depth:
                raise SwapError(
                    SwapRule.EARLY, f"it is locked {state.depth} of {depth} blocks deep: a reorg could still undo it"
                )
            self._check_left(terms, 1, self._now(context.median_time))
            known = self.secret_of(leg.receiver or b"")
        if sha256(known).digest() != terms.digest:
            raise SwapError(SwapRule.SECRET, "this is not the secret of the swap")
        return self._take(terms, leg, records, relay, context, request=request, secret=known)

    def refund(self, terms: Terms, records: Records, relay: RelayTerms, context: SpendContext) -> Sent:
        """Take back what this wallet locked, once its time has come.

        Raises:
            SwapError: `NETWORK`, `NOT_YOURS`, `MISSING`, `EARLY`, `DONE`.
            InsufficientFundsError, FeeError, PaymentError, WalletLockedError: as for any payment.
        """
        leg = self._watched_leg(terms)
        self._check_own(leg, leg.payer)
        request = f"swap {terms.digest.hex()} refund", terms.digest
        done = self._maker.find_request(*request)
        if done is not None:
            return done
        self._check_there(terms, self.state(terms), leg)
        if context.median_time < leg.refund_at:
            raise SwapError(
                SwapRule.EARLY,
                f"it can be taken back from {clock_text(leg.refund_at)} on; by the chain's clock it is "
                f"{clock_text(context.median_time)}, {duration_text(leg.refund_at - context.median_time)} before",
            )
        return self._take(terms, leg, records, relay, context, request=request, secret=None)

    def _take(
        self,
        terms: Terms,
        leg: Leg,
        records: Records,
        relay: RelayTerms,
        context: SpendContext,
        *,
        request: tuple[str, bytes],
        secret: bytes | None,
    ) -> Sent:
        made = leg_lock(terms, leg)
        outpoint, record = agreed_coins(self._ledger, leg, made.lock)[0]
        mine = leg.payer if secret is None else leg.receiver

        def holds(leaf: Leaf) -> bool:
            if isinstance(leaf, Key):
                return leaf.key == mine
            return isinstance(leaf, AfterTime if secret is None else Preimage)

        shown = reveal(made.policy, holds)
        if shown is None:
            raise SwapError(SwapRule.NOT_YOURS, "the lock has no branch for this wallet")
        opening = Opening(shown, {} if secret is None else {terms.digest: secret}, context)
        note = Note("taken back from a swap" if secret is None else "claimed in a swap")
        sent = self._taker.take(Taken(outpoint, record, opening), records, relay, request=request, note=note)
        if leg.asset is not None:
            self._assets.show(leg.asset)
        return sent

    # Checks

    def _watched_leg(self, terms: Terms) -> Leg:
        leg = terms.leg(self._params.genesis_hash)
        if self._policies.find(leg_lock(terms, leg).lock) is None:
            raise SwapError(SwapRule.MISSING, "this wallet does not watch the swap yet")
        return leg

    def _check_network(self, leg: Leg) -> None:
        if leg.genesis != self._params.genesis_hash:
            raise SwapError(SwapRule.NETWORK, "that leg is on another network than this wallet")
        if leg.spacing != self._params.spacing:
            raise SwapError(
                SwapRule.NETWORK,
                f"the file says that blocks come every {leg.spacing} s here, but they come every "
                f"{self._params.spacing} s: its times are reckoned by that",
            )

    def _check_own(self, leg: Leg, key: bytes | None) -> None:
        self._check_network(leg)
        if not self._holds(key):
            raise SwapError(SwapRule.NOT_YOURS, "the key that it takes is not this wallet's")

    @staticmethod
    def _check_asset(leg: Leg, records: Records) -> None:
        if leg.asset is None:
            return
        record = records.get(leg.asset)
        if record is None:
            raise SwapError(SwapRule.ASSET, f"no block of this chain has an asset {leg.asset.hex()}")
        if record.definition.controller is not None:
            raise SwapError(
                SwapRule.ASSET,
                f"asset {leg.asset.hex()} moves with its controller's approval only: whoever shows the secret could be "
                "left without it. Within one network an offer can be approved",
            )

    @staticmethod
    def _check_there(terms: Terms, state: LegState, leg: Leg) -> None:
        match state.stage:
            case Stage.LOCKED:
                return
            case Stage.NOTHING:
                who = "the taker" if leg == terms.second else "the proposer"
                raise SwapError(SwapRule.MISSING, f"{who} has locked nothing here")
            case Stage.PENDING:
                raise SwapError(SwapRule.EARLY, "what was locked is in no block yet")
            case Stage.DIFFERENT:
                raise SwapError(SwapRule.DIFFERENT, "something lies at the lock, but not the amount that was agreed")
            case Stage.CLAIMING | Stage.CLAIMED:
                raise SwapError(SwapRule.DONE, "it was claimed with the secret")
            case Stage.REFUNDING | Stage.REFUNDED:
                raise SwapError(SwapRule.DONE, "too late: its payer has taken it back")

    def _check_left(self, terms: Terms, steps: int, now: int) -> None:
        """Check that this step and those after it have the time that they may need, before the second refund."""
        if not terms.has_time(steps, now):
            left, wanted = max(0, terms.second.refund_at - now), steps * terms.margin
            raise SwapError(
                SwapRule.LATE,
                f"{left:,} s are left before the second lock can be taken back, and at least {wanted:,} s are needed "
                "for this step and those that follow",
            )

    def _now(self, median_time: int) -> int:
        """Return the time, by the chain's clock or by this machine's, whichever is later: the prudent one."""
        return max(median_time, self._clock.time())


def policy_name(lock: bytes) -> str:
    """Return what a wallet calls the lock of a swap among its policies."""
    return f"swap {lock.hex()[:16]}"
