"""Spends from a policy: which branch, which coins, what fee, and a file that nobody has signed yet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from consensus.amounts import format_amount
from consensus.codec import encode
from consensus.params import Params
from consensus.spend_policy import WitnessCost, reveal, witness_cost
from consensus.state import SpendContext
from consensus.types import (
    MAX_INPUTS,
    Amount,
    AssetId,
    Core,
    Key,
    LockId,
    OutPoint,
    Output,
    Policy,
    Transaction,
)
from wallet.addresses import AddressBook
from wallet.addresses import Branch as KeyBranch
from wallet.coin_selection import Need, fee_for, select_coins
from wallet.coin_table import SpendableCoin
from wallet.cosigning import Cosigner
from wallet.errors import InsufficientFundsError, PaymentError, WalletError
from wallet.ledger import Ledger
from wallet.maker import check_following, check_memo
from wallet.payments import check_dust, check_fee
from wallet.ports import Outside
from wallet.psdt import Psdt, new_psdt, spent_coin
from wallet.psdt_joining import with_policy
from wallet.records import CoinRecord
from wallet.results import Payment, RelayTerms
from wallet.spend_policies.book import KnownPolicy, PolicyBook
from wallet.spend_policies.branches import Branch, branches_of
from wallet.spend_policies.words import clock_text, plural
from wallet.tx_builder import plain_core

_FRAME = 4
"""Bytes around a core and its witnesses: the outer array, and the array of witnesses, at most."""
_MORE_INPUTS = 2
"""Bytes that the length of the inputs takes beyond one, at most."""
MAX_FEE_ROUNDS = 8
"""Tries to let our own coins pay the fee of a transaction that grows by them."""


class Everything(NamedTuple):
    """All that can be spent, the fee taken out of it, to one lock."""

    lock: LockId


class Rival(NamedTuple):
    """A transaction that waits in the mempool, and is to be put out of it by paying more."""

    transaction: Transaction
    fee: int
    """Grain: its own, and that of all that descends from it."""
    fee_rate: int
    """Its own, in grain per 1,000 virtual bytes, rounded down."""


class Plan(NamedTuple):
    """A spend that nobody has signed."""

    psdt: Psdt
    number: int
    """Of the branch, from 1, as `branches_of` gives them."""
    branch: Branch
    fee: Amount


class Source(NamedTuple):
    """A coin to be spent."""

    outpoint: OutPoint
    record: CoinRecord


class _Pricing:
    """What a spend has to pay."""

    def __init__(self, terms: RelayTerms, rival: Rival | None) -> None:
        self.terms = terms
        self._rival = rival
        if rival is not None:
            self.terms = terms._replace(fee_rate=max(terms.fee_rate, rival.fee_rate + 1))

    def fee(self, size: int, signatures: int) -> int:
        """Return the least fee, in grain: by its rate, and beside a rival by what that and its own relay cost."""
        least = fee_for(self.terms, size, signatures)
        if self._rival is None:
            return least
        relay = self.terms._replace(fee_rate=self.terms.min_fee_rate)
        return max(least, self._rival.fee + fee_for(relay, size, signatures))


class PolicySpends:
    """Plans spends out of the ledger's coins at policies; changes nothing."""

    def __init__(
        self,
        params: Params,
        ledger: Ledger,
        addresses: AddressBook,
        policies: PolicyBook,
        cosigner: Cosigner,
        outside: Outside,
    ) -> None:
        self._params = params
        self._ledger = ledger
        self._addresses = addresses
        self._policies = policies
        self._cosigner = cosigner
        self._entropy = outside.entropy

    def plan(
        self,
        known: KnownPolicy,
        wish: Sequence[Payment] | Everything,
        terms: RelayTerms,
        context: SpendContext,
        *,
        number: int | None = None,
        memo: bytes = b"",
        rival: Rival | None = None,
        force: bool = False,
    ) -> Plan:
        """Plan a spend from a policy.

        Args:
            context: of the next block.
            number: of the branch, from 1; None for the first that is open now and needs the fewest others.
            rival: spends a coin that this spend takes instead, for a fee as high as replacing it takes.
            force: whether a fee above the sanity caps is meant.

        Raises:
            InsufficientFundsError: with what lies there and can be spent by this branch.
            PaymentError: dust, a branch that is not open or not there, a destination that the branch forbids.
            FeeError: an absurd fee.
        """
        check_following(self._ledger)
        check_memo(memo)
        for payment in [] if isinstance(wish, Everything) else wish:
            check_dust(payment.amount, terms)
        number, branch = self.choose(known, wish, context, number, rival)
        coins = self.usable(known, branch, context, rival)
        if rival is not None and not any(coin.outpoint in rival.transaction.core.inputs for coin in coins):
            raise PaymentError("the transaction to be replaced spends no coin that this branch can spend now")
        pricing = _Pricing(terms, rival)
        if branch.pays:
            core, sources = self._forced(known, branch, coins, wish, pricing, memo)
        else:
            core, sources = self._free(known, branch, coins, wish, pricing, memo)
        psdt = new_psdt(self._params, core, tuple([spent_coin(source.record) for source in sources]))
        psdt = self._cosigner.update(with_policy(psdt, known.policy))
        if not force:
            check_fee(psdt.fee, sum(output.value for output in core.outputs))
        return Plan(psdt, number, branch, Amount(psdt.fee))

    # Which branch

    def choose(
        self,
        known: KnownPolicy,
        wish: Sequence[Payment] | Everything,
        context: SpendContext,
        number: int | None,
        rival: Rival | None = None,
        asset: AssetId | None = None,
    ) -> tuple[int, Branch]:
        """Return the branch of that number, or the one that is open, has coins of the asset, and needs the fewest.

        Raises:
            PaymentError: it is not there, not open, or forbids where the coins are to go.
        """
        branches = branches_of(known.policy).all
        if number is not None:
            if not 1 <= number <= len(branches):
                raise PaymentError(f"the policy has branches 1 to {len(branches)}")
            branch = branches[number - 1]
            self._check_open(branch, number, context)
            self._check_destination(branch, wish)
            return number, branch
        mine = set(self._policies.own_keys(known.policy))
        best: tuple[int, int, Branch] | None = None
        refusal: WalletError | None = None
        for place, branch in enumerate(branches, 1):
            try:
                self._check_open(branch, place, context)
                self._check_destination(branch, wish)
            except PaymentError as error:
                refusal = refusal or error
                continue
            others = branch.signatures - len(branch.signers(mine))
            has_coins = bool(self.usable(known, branch, context, rival, asset))
            rank = (others + (0 if has_coins else 1_000), place)
            if best is None or rank < best[:2]:
                best = (*rank, branch)
        if best is None:
            raise refusal or PaymentError("the policy has no branch to spend by")
        return best[1:]

    def _check_open(self, branch: Branch, number: int, context: SpendContext) -> None:
        if branch.hidden:
            raise PaymentError(f"branch {number} is hidden: nobody here knows what it asks for")
        if not branch.signatures:
            raise PaymentError(
                f"branch {number} needs no signature: whoever sees the spend could take the coins himself"
            )
        if context.height < branch.after_height:
            raise PaymentError(
                f"branch {number} opens at block {branch.after_height:,}; the next is {context.height:,}"
            )
        if context.median_time < branch.after_time:
            raise PaymentError(
                f"branch {number} opens at {clock_text(branch.after_time)}; "
                f"by the chain's clock it is {clock_text(context.median_time)}"
            )

    def _check_destination(self, branch: Branch, wish: Sequence[Payment] | Everything) -> None:
        wanted = {wish.lock} if isinstance(wish, Everything) else {payment.lock for payment in wish}
        if branch.pays and wanted != set(branch.pays):
            known = self._policies.find(branch.pays[0])
            there = f"lock {branch.pays[0].hex()[:16]}…" if known is None else known.name
            raise PaymentError(f"by this branch coins go whole to {there} and nowhere else; or name another branch")

    def usable(
        self,
        known: KnownPolicy,
        branch: Branch,
        context: SpendContext,
        rival: Rival | None = None,
        asset: AssetId | None = None,
    ) -> list[Source]:
        """Return the coins in a block that the branch opens now: those of the rival, then the largest first.

        Args:
            asset: what they carry; None for DURE.
        """
        contested = () if rival is None else rival.transaction.core.inputs
        found = [(outpoint, self._ledger.coins.find(outpoint)) for outpoint in contested]
        there = [Source(outpoint, record) for outpoint, record in found if record is not None and not record.spender]
        there += [Source(outpoint, record) for outpoint, record in self._ledger.coins.watched_apart()]
        sources = [
            source
            for source in dict.fromkeys(there)
            if source.record.lock == known.lock
            and source.record.asset == asset
            and source.record.height is not None
            and context.height
            >= source.record.height + max(branch.older, self._params.coinbase_maturity * source.record.coinbase)
        ]
        return sorted(
            sources,
            key=lambda source: (
                source.outpoint not in contested,
                -source.record.value,
                source.outpoint.txid,
                source.outpoint.index,
            ),
        )

    # Coins, outputs and fee

    def _free(
        self,
        known: KnownPolicy,
        branch: Branch,
        coins: list[Source],
        wish: Sequence[Payment] | Everything,
        pricing: _Pricing,
        memo: bytes,
    ) -> tuple[Core, list[Source]]:
        """Pay out of the policy's coins, fee included; what is left goes back to the policy."""
        shown = _shown(known.policy, branch)
        payments = () if isinstance(wish, Everything) else tuple(wish)
        outputs = [Output(payment.amount, payment.lock, None) for payment in payments]
        wanted = sum(output.value for output in outputs)
        back = Output(self._params.total_supply, wish.lock if isinstance(wish, Everything) else known.lock, None)
        size = _size(plain_core((), [*outputs, back], memo), [shown]) + _MORE_INPUTS
        chosen: list[Source] = []
        terms = pricing.terms
        value, fee = 0, pricing.fee(size, branch.signatures)
        for coin in coins:
            size += len(encode(coin.outpoint))
            if len(chosen) == MAX_INPUTS or size > terms.max_size:
                break
            chosen.append(coin)
            value += coin.record.value
            fee = pricing.fee(size, branch.signatures)
            if not isinstance(wish, Everything) and value >= wanted + fee:
                break
        left = value - wanted - fee
        if left < 0 or (isinstance(wish, Everything) and left < terms.dust_limit):
            raise self._too_little(known, branch, coins, wanted, fee)
        if left >= terms.dust_limit:
            outputs.append(Output(Amount(left), back.lock, None))
        return plain_core([source.outpoint for source in chosen], outputs, memo), chosen

    def _forced(
        self,
        known: KnownPolicy,
        branch: Branch,
        coins: list[Source],
        wish: Sequence[Payment] | Everything,
        pricing: _Pricing,
        memo: bytes,
    ) -> tuple[Core, list[Source]]:
        """Move whole coins to where the branch wants them, and let coins of this wallet pay the fee."""
        wanted = None if isinstance(wish, Everything) else sum(payment.amount for payment in wish)
        chosen: list[Source] = []
        value = 0
        for coin in coins:
            if wanted is None or value < wanted:
                chosen.append(coin)
                value += coin.record.value
        if not chosen or (wanted is not None and value < wanted):
            raise self._too_little(known, branch, coins, wanted or 0, 0)
        if len(chosen) >= MAX_INPUTS:
            raise PaymentError("so many coins do not fit into one transaction: move fewer at once")
        moved = [Output(source.record.value, branch.pays[0], None) for source in chosen]
        return self._with_fee(known, branch, chosen, moved, pricing, memo, WitnessCost(0, 0))

    def with_fee(
        self,
        known: KnownPolicy,
        branch: Branch,
        chosen: Sequence[Source],
        outputs: Sequence[Output],
        terms: RelayTerms,
        approvals: WitnessCost,
    ) -> tuple[Core, list[Source]]:
        """Let coins of this wallet pay for a spend of a policy's coins; these stand first, as do the outputs.

        Args:
            approvals: what their witnesses add.

        Raises:
            InsufficientFundsError, PaymentError: they cannot.
        """
        return self._with_fee(known, branch, chosen, outputs, _Pricing(terms, None), b"", approvals)

    def _with_fee(
        self,
        known: KnownPolicy,
        branch: Branch,
        chosen: Sequence[Source],
        moved: Sequence[Output],
        pricing: _Pricing,
        memo: bytes,
        approvals: WitnessCost,
    ) -> tuple[Core, list[Source]]:
        inputs = [source.outpoint for source in chosen]
        shown = _shown(known.policy, branch)
        terms = pricing.terms
        given = branch.signatures + approvals.signatures
        size = max(_size(plain_core(inputs, moved, memo), [shown]) + approvals.size, given * terms.signature_bytes)
        spendable = self._ledger.coins.spendable(self._ledger.cursor.height + 1)
        short = 0
        for _ in range(MAX_FEE_ROUNDS):
            payer = select_coins(spendable, Need(short, size), terms, self._entropy)
            outputs = list(moved)
            if payer.change:
                outputs.append(Output(payer.change, self._addresses.peek(KeyBranch.CHANGE).lock, None))
            core = plain_core([*inputs, *(coin.outpoint for coin in payer.coins)], outputs, memo)
            locks = dict.fromkeys(coin.lock for coin in payer.coins)
            whole = _size(core, [shown, *([Key(bytes(33))] * len(locks))]) + approvals.size
            due = pricing.fee(whole, given + len(locks))
            paid = sum(coin.value for coin in payer.coins) - payer.change
            if paid >= due:
                return core, [*chosen, *(self._own_source(coin) for coin in payer.coins)]
            short += due - paid
        raise PaymentError("no coins of this wallet fit to pay the fee")

    def _own_source(self, coin: SpendableCoin) -> Source:
        return Source(coin.outpoint, CoinRecord(coin.value, coin.lock, None, coin.coinbase, coin.height, None, None))

    def _too_little(
        self, known: KnownPolicy, branch: Branch, coins: list[Source], wanted: int, fee: int
    ) -> InsufficientFundsError:
        there = format_amount(sum(source.record.value for source in coins))
        needed = f"{format_amount(wanted)} DURE and a fee of about {format_amount(fee)} are needed; " if wanted else ""
        age = f", and {plural(branch.older, 'block')} old" if branch.older else ""
        return InsufficientFundsError(
            f"{needed}at {known.name} lie {there} DURE that this branch can spend now; coins must be in a block{age}"
        )


def _shown(policy: Policy, branch: Branch) -> Policy:
    """Return the policy as a spender by this branch reveals it; whichever keys sign, it is as large."""
    shown = reveal(policy, branch.asks_for)
    if shown is None:
        raise PaymentError("the branch cannot be used: a key would have to sign twice")
    return shown


def _size(core: Core, shown: Sequence[Policy]) -> int:
    """Return the bytes of a transaction whose witnesses reveal these policies, at most."""
    return len(encode(core)) + _FRAME + sum(witness_cost(policy).size for policy in shown)
