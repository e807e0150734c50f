"""Offers as one wallet makes, accepts, signs and withdraws them: a swap in one transaction of two signers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from consensus.assets import Approval, Assets
from consensus.codec import encode
from consensus.errors import ConsensusError
from consensus.params import Params
from consensus.state import SpendContext
from consensus.types import Amount, AssetId, Coin, Core, LockId, OutPoint, Output, Transaction
from wallet.addresses import AddressBook, Branch
from wallet.assets.approvers import Approvers, Records
from wallet.assets.flows import Stake, approvals_of, stakes
from wallet.coin_selection import CHANGE_SIZE, WITNESS_SIZE, Need, fee_for, select_coins
from wallet.coin_table import SpendableCoin
from wallet.cosigning import Cosigner, IncompleteError, finalise
from wallet.errors import InsufficientFundsError
from wallet.ledger import Ledger
from wallet.maker import Maker, check_following
from wallet.payments import check_dust
from wallet.ports import Outside
from wallet.psdt import Psdt, new_psdt, spent_coin
from wallet.results import Note, RelayTerms, Sent
from wallet.signer import Signer
from wallet.spend_policies.book import PolicyBook
from wallet.swaps.errors import SwapError, SwapRule
from wallet.swaps.offers import MAX_OFFERED, Acceptance, Offer, OfferedCoin, Worth, check_kept, make_offer
from wallet.swaps.taking import Taken, Taker
from wallet.tx_builder import WITNESS_FRAME, plain_core

LABEL = "swap"
Coins = Mapping[OutPoint, Coin]
"""Unspent in the best chain."""


class Chosen(NamedTuple):
    """The acceptor's half."""

    coins: tuple[SpendableCoin, ...]
    outputs: tuple[Output, ...]


class Signed(NamedTuple):
    """What `sign` did."""

    acceptance: Acceptance
    transaction: Transaction | None
    """Finished, by the offerer: to be recorded and handed over."""


class OfferDesk:
    """One wallet's part in offers. What it changes is durable when it returns."""

    def __init__(
        self,
        params: Params,
        ledger: Ledger,
        addresses: AddressBook,
        signer: Signer,
        maker: Maker,
        cosigner: Cosigner,
        policies: PolicyBook,
        approvers: Approvers,
        outside: Outside,
    ) -> None:
        self._params = params
        self._ledger = ledger
        self._addresses = addresses
        self._signer = signer
        self._maker = maker
        self._cosigner = cosigner
        self._policies = policies
        self._approvers = approvers
        self._entropy = outside.entropy
        self._taker = Taker(ledger, addresses, maker, outside.entropy)

    # Offering

    def offer(self, gives: Worth, wants: Worth, records: Assets, terms: RelayTerms) -> Offer:
        """Offer something for something else; the coins that are given are kept for it, until `withdraw`.

        Raises:
            InsufficientFundsError: there is less of what is given in blocks.
            SwapError: `TERMS` or `ASSET`.
            PaymentError, WalletLockedError: dust, a rescan, or a locked wallet.
        """
        check_following(self._ledger)
        self._signer.check_unlocked()
        for worth in (gives, wants):
            _check_asset(worth, records)
            if worth.asset is None:
                check_dust(worth.amount, terms)
        coins = self._pick(gives, terms)
        home = self._addresses.hand_out(Branch.RECEIVE, LABEL).lock
        left = sum(coin.value for coin in coins) - gives.amount
        outputs = [Output(wants.amount, home, wants.asset)]
        if left:
            outputs.append(Output(Amount(left), home, gives.asset))
        offered = tuple([OfferedCoin(coin.outpoint, spent_coin(coin)) for coin in coins])
        bare = Offer(self._params.genesis_hash, gives, wants, offered, tuple(outputs), ())
        offer = make_offer(bare, self._signer.sign_digest)
        self._keep(offer.outpoints, gets=wants.asset)
        return offer

    def _pick(self, gives: Worth, terms: RelayTerms) -> list[SpendableCoin]:
        """Choose coins in blocks: the smallest that is enough, so that little is kept; else the largest first."""
        if gives.asset is None:
            there = self._ledger.coins.spendable(self._maker.next_height)
        else:
            there = self._ledger.coins.spendable_of(gives.asset)
        least = terms.dust_limit if gives.asset is None else 1
        ordered = sorted(
            (coin for coin in there if coin.chain == 0),
            key=lambda coin: (coin.value, coin.outpoint.txid, coin.outpoint.index),
        )
        alone = next((coin for coin in ordered if _fits(coin.value - gives.amount, least)), None)
        if alone is not None:
            return [alone]
        chosen: list[SpendableCoin] = []
        for coin in ordered[::-1][:MAX_OFFERED]:
            chosen.append(coin)
            if _fits(sum(each.value for each in chosen) - gives.amount, least):
                return chosen
        raise InsufficientFundsError(
            f"there is less of what you give, in blocks and not kept for anything else; or it lies in more than "
            f"{MAX_OFFERED} coins: gather them first"
        )

    # Accepting

    def check(self, offer: Offer, coins: Coins, records: Assets) -> None:
        """Hold an offer against the chain, as whoever thinks of accepting it.

        Raises:
            SwapError: `NOT_YOURS`: it is this wallet's own; `ASSET`; `WITHDRAWN`: a coin is spent or never was;
                `DIFFERENT`: a coin is worth something else than the offer says.
        """
        if offer.outputs[0].lock in self._addresses:
            raise SwapError(SwapRule.NOT_YOURS, "this is the wallet's own offer")
        _check_asset(offer.gives, records)
        _check_asset(offer.wants, records)
        check_coins(offer, coins)

    def accept(self, offer: Offer, coins: Coins, records: Assets, terms: RelayTerms) -> Acceptance:
        """Return the transaction that fulfils an offer, with this wallet's half; nobody has signed it, nothing is kept.

        This wallet pays the fee: out of DURE that it gets, else out of its own.

        Raises:
            SwapError: as `check`.
            InsufficientFundsError: there is less of what is wanted, or no DURE for the fee.
            PaymentError, FeeError: dust, a rescan, an absurd fee.
        """
        check_following(self._ledger)
        self.check(offer, coins, records)
        approvals = self._approvals(offer, records)
        chosen = self._choose(offer, approvals, terms)
        core = _core(offer, chosen)
        spent = (*(each.coin for each in offer.coins), *map(spent_coin, chosen.coins))
        psdt = self._cosigner.update(new_psdt(self._params, core, spent, approvals))
        acceptance = Acceptance(offer, psdt)
        self._check_acceptors(acceptance)
        return acceptance

    def _approvals(self, offer: Offer, records: Assets) -> tuple[Approval, ...]:
        """Return the approvals that moving the two assets takes."""
        names = (OutPoint(offer.coins[0].outpoint.txid, 0), OutPoint(offer.coins[0].outpoint.txid, 1))
        worths = (offer.gives, offer.wants)
        moved = tuple([Output(worth.amount, offer.outputs[0].lock, worth.asset) for worth in worths])
        try:
            return tuple(approvals_of(plain_core(names, moved), moved, records))
        except ConsensusError as error:
            raise SwapError(SwapRule.ASSET, f"the assets cannot be swapped: {error}") from None

    def _choose(self, offer: Offer, approvals: tuple[Approval, ...], terms: RelayTerms) -> Chosen:
        home = self._addresses.hand_out(Branch.RECEIVE, LABEL).lock
        gets, gives = offer.gives, offer.wants
        paid: list[SpendableCoin] = []
        outputs: list[Output] = []
        if gives.asset is not None:
            paid = self._pick(gives, terms)
            left = sum(coin.value for coin in paid) - gives.amount
            outputs += [Output(Amount(left), home, gives.asset)] if left else []
        if gets.asset is not None or approvals:
            # Where an approval is needed, a coin of DURE comes along: he can spend it without one, and so withdraw.
            outputs.append(Output(gets.amount, home, gets.asset))
        locks = {*offer.locks, *(coin.lock for coin in paid)}
        cost = self._approvers.cost(approval.policy for approval in approvals)
        unsigned = len(encode(_core(offer, Chosen(tuple(paid), tuple(outputs)))))
        size = unsigned + WITNESS_FRAME + len(locks) * WITNESS_SIZE + cost.size
        signatures = len(locks) + cost.signatures
        if gets.asset is None and not approvals:
            fee = fee_for(terms, size + CHANGE_SIZE, signatures)
            check_dust(gets.amount - fee, terms)
            outputs.append(Output(Amount(gets.amount - fee), home, None))
            return Chosen(tuple(paid), tuple(outputs))
        spendable = [coin for coin in self._ledger.coins.spendable(self._maker.next_height) if coin.chain == 0]
        amount = gives.amount if gives.asset is None else 0
        selection = select_coins(spendable, Need(amount, size, signatures), terms, self._entropy)
        outputs += [Output(selection.change, home, None)] if selection.change else []
        return Chosen((*paid, *selection.coins), tuple(outputs))

    # Signing

    def is_offerer(self, offer: Offer) -> bool:
        """Tell whether an offer is this wallet's."""
        return offer.outputs[0].lock in self._addresses

    def check_waits(self, psdt: Psdt) -> None:
        """Check that a swap is in no block yet.

        Raises:
            SwapError: `DONE`.
        """
        record = self._ledger.store.transaction(psdt.txid)
        if record is not None and record.height is not None:
            raise SwapError(SwapRule.DONE, f"the swap is in block {record.height:,}")

    def stakes(self, acceptance: Acceptance) -> Mapping[AssetId | None, Stake]:
        """Return what this wallet gives and gets, of DURE (None) and of each asset."""
        return stakes(acceptance.psdt.core, acceptance.psdt.spent, self._addresses.__contains__)

    def sign(self, acceptance: Acceptance, coins: Coins, records: Assets, context: SpendContext) -> Signed:
        """Sign this wallet's part: the acceptor first, whose coins are kept from then on; then who controls an asset.

        The offerer signs last, what lacks nothing else: so nobody ever holds a signature of his that is not used.

        Raises:
            SwapError: `DONE`; `NOT_YOURS`; `WITHDRAWN`: a coin of either is spent, or the offerer's are not kept any
                more; `DIFFERENT`: it takes more from this wallet than was agreed, or brings less, or a coin is not
                what the file says; `NOT_ACCEPTED`: the acceptor has not signed yet; `NOT_APPROVED`.
            PsdtError, FeeError, WalletLockedError: as `Cosigner.sign`.
        """
        offer, psdt = acceptance.offer, acceptance.psdt
        check_kept(offer, psdt)
        self.check_waits(psdt)
        check_spent(psdt, coins)
        offerer, theirs = self.is_offerer(offer), psdt.spent[len(offer.coins) :]
        acceptor = not offerer and any(output.lock in self._addresses for output in theirs)
        mine: set[LockId] = set()
        if offerer:
            self._check_offerers(acceptance)
            mine = set(offer.locks)
        elif acceptor:
            self._check_acceptors(acceptance)
            mine = {output.lock for output in theirs}
        approved = [part.name for part in psdt.parts if part.asset is not None and self._policies.approves(part.lock)]
        if not mine and not approved:
            raise SwapError(SwapRule.NOT_YOURS, "this wallet has no part in the offer, and nothing to approve")
        if approved:
            self._check_frozen(psdt)
        known = {outpoint: coin.output for outpoint, coin in coins.items()}
        only = [part.name for part in psdt.parts if part.asset is None and part.lock in mine] + approved
        signed = self._cosigner.sign(psdt, known, records, only=only).psdt
        if acceptor:
            self._keep(psdt.core.inputs[len(offer.coins) :], gets=offer.gives.asset)
        return Signed(Acceptance(offer, signed), self._finished(signed, context, records) if offerer else None)

    def _finished(self, signed: Psdt, context: SpendContext, records: Assets) -> Transaction:
        try:
            return finalise(self._params, signed, context, records)
        except IncompleteError as error:
            raise SwapError(SwapRule.NOT_APPROVED, f"whoever offers signs last, and {error}") from None

    def _check_frozen(self, psdt: Psdt) -> None:
        touched = self._ledger.frozen.touched(psdt.core, psdt.spent)
        if touched:
            raise SwapError(SwapRule.NOT_APPROVED, " ".join(map(self._ledger.frozen.sentence, touched)))

    def _check_offerers(self, acceptance: Acceptance) -> None:
        offer, psdt = acceptance.offer, acceptance.psdt
        aside = set(self._ledger.coins.aside())
        if not aside.issuperset(offer.outpoints):
            raise SwapError(SwapRule.WITHDRAWN, "this wallet has withdrawn the offer: its coins are not kept any more")
        self._check_stakes(acceptance, {offer.gives.asset: -offer.gives.amount, offer.wants.asset: offer.wants.amount})
        theirs = {output.lock for output in psdt.spent[len(offer.coins) :]}
        unsigned = [part for part in psdt.parts if part.lock in theirs and part.asset is None and not part.signatures]
        if unsigned or not theirs:
            raise SwapError(SwapRule.NOT_ACCEPTED, "whoever accepts the offer signs first, and has not yet")

    def _check_acceptors(self, acceptance: Acceptance) -> None:
        offer, psdt = acceptance.offer, acceptance.psdt
        own = [coin.output for coin in psdt.coins[len(offer.coins) :]]
        if not own or any(
            output.lock not in self._addresses for output in (*own, *psdt.core.outputs[len(offer.outputs) :])
        ):
            raise SwapError(SwapRule.NOT_YOURS, "what is added to the offer is not this wallet's alone")
        net: dict[AssetId | None, int] = {None: -psdt.fee}
        net[offer.gives.asset] = net.get(offer.gives.asset, 0) + offer.gives.amount
        net[offer.wants.asset] = net.get(offer.wants.asset, 0) - offer.wants.amount
        self._check_stakes(acceptance, net)

    def _check_stakes(self, acceptance: Acceptance, wanted: Mapping[AssetId | None, int]) -> None:
        found = {asset: stake.gets - stake.gives for asset, stake in self.stakes(acceptance).items()}
        if {asset: net for asset, net in found.items() if net} != {asset: net for asset, net in wanted.items() if net}:
            raise SwapError(
                SwapRule.DIFFERENT, "the transaction takes more from this wallet than was agreed, or brings it less"
            )

    def _keep(self, outpoints: tuple[OutPoint, ...], *, gets: AssetId | None) -> None:
        """Set coins aside, and show what comes for them: it was asked for."""
        for outpoint in outpoints:
            self._ledger.coins.set_aside(outpoint, for_good=True)
        if gets is not None:
            self._ledger.assets.put(gets, shown=True)
        self._ledger.flush()

    # Withdrawing

    def withdraw(self, offer: Offer, psdt: Psdt | None, records: Records, terms: RelayTerms) -> Sent | None:
        """Withdraw from an offer, and free what was kept for it.

        The offerer has signed nothing that spends his coins, unless the swap was sent. The acceptor has: so one of the
        coins that he added is spent, to himself, and the swap can never be in a block.

        Args:
            psdt: the transaction, if it was accepted.

        Returns:
            The payment to himself; None for the offerer.

        Raises:
            SwapError: `NOT_YOURS`; `DONE`: it was sent; `WITHDRAWN`: nothing is kept for it any more.
            InsufficientFundsError, FeeError, WalletLockedError: of the payment.
        """
        if self.is_offerer(offer):
            kept = offer.outpoints
        else:
            kept = () if psdt is None else psdt.core.inputs[len(offer.coins) :]
            if not kept or any(self._ledger.coins.find_own(outpoint) is None for outpoint in kept):
                raise SwapError(SwapRule.NOT_YOURS, "this wallet has no part in the offer")
        request = f"swap {offer.digest.hex()} withdraw", offer.digest
        if psdt is not None and self._ledger.store.transaction(psdt.txid) is not None:
            raise SwapError(SwapRule.DONE, "the swap was sent already")
        done = self._maker.find_request(*request)
        if done is not None:
            return done
        aside = set(self._ledger.coins.aside())
        there = [outpoint for outpoint in kept if outpoint in aside]
        if not there:
            raise SwapError(SwapRule.WITHDRAWN, "nothing is kept for it any more")
        sent = None if self.is_offerer(offer) else self._spend_one(there, records, terms, request)
        for outpoint in there:
            self._ledger.coins.take_back(outpoint)
        self._ledger.flush()
        return sent

    def _spend_one(self, kept: list[OutPoint], records: Records, terms: RelayTerms, request: tuple[str, bytes]) -> Sent:
        own = [(outpoint, record) for outpoint in kept if (record := self._ledger.coins.find_own(outpoint)) is not None]
        # DURE first: it bears its own fee.
        outpoint, record = min(own, key=lambda each: each[1].asset is not None)
        taken = Taken(outpoint, record, None)
        return self._taker.take(taken, records, terms, request=request, note=Note("withdrawn from a swap"))


# Anybody can see


def check_coins(offer: Offer, coins: Coins) -> None:
    """Check that the offered coins are there, and what the offer says.

    Raises:
        SwapError: `WITHDRAWN` or `DIFFERENT`.
    """
    for each in offer.coins:
        _check_coin(each.outpoint, each.coin.output, coins)


def check_spent(psdt: Psdt, coins: Coins) -> None:
    """Check that all coins of a transaction are there, and what it says.

    Raises:
        SwapError: `WITHDRAWN` or `DIFFERENT`.
    """
    for outpoint, told in zip(psdt.core.inputs, psdt.spent, strict=True):
        _check_coin(outpoint, told, coins)


def _check_coin(outpoint: OutPoint, told: Output, coins: Coins) -> None:
    coin = coins.get(outpoint)
    if coin is None:
        raise SwapError(
            SwapRule.WITHDRAWN, "a coin that the swap takes is not in the chain: it was spent, or never was"
        )
    if coin.output != told:
        raise SwapError(SwapRule.DIFFERENT, "a coin is not what the file says: of another asset, amount or owner")


def _check_asset(worth: Worth, records: Assets) -> None:
    if worth.asset is not None and records.get(worth.asset) is None:
        raise SwapError(SwapRule.ASSET, f"no block of this chain has an asset {worth.asset.hex()}")


def _fits(left: int, least: int) -> bool:
    """Tell whether coins are enough, and what is left is worth an output or nothing."""
    return left == 0 or left >= least


def _core(offer: Offer, chosen: Chosen) -> Core:
    inputs = (*offer.outpoints, *(coin.outpoint for coin in chosen.coins))
    return plain_core(inputs, (*offer.outputs, *chosen.outputs))
