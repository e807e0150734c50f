"""May a transaction wait for a block here? Everything but its signatures, on the tip and the mempool as they are."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

from consensus.assets import asset_effects, assets_of_coins, assets_of_transaction
from consensus.codec import display_hash
from consensus.errors import EARLY_RULES, ConsensusError, NotYet, Rule
from consensus.params import Params
from consensus.signatures import SignatureCheck
from consensus.spend_policy import walk
from consensus.state import ChainState, SpendContext
from consensus.types import (
    AfterHeight,
    AfterTime,
    Amount,
    Asset,
    AssetId,
    Coin,
    Key,
    Older,
    OutPoint,
    Transaction,
    TxId,
)
from consensus.validation import check_spends, check_transaction, count_signatures, transaction_fee
from node.mempool_graph import Entry, MempoolGraph
from node.relay_policy import (
    MAX_CHAIN,
    MAX_CHAIN_SIZE,
    MAX_RETURNED_CHAIN,
    MIN_FEE_RATE,
    PolicyError,
    Refusal,
    check_relay_policy,
    required_fee,
    virtual_size,
)
from node.replacement import check_links, check_pays_more, find_replaced
from node.waiting_assets import NO_CHANGES, AssetChanges, changes_of, issued_by, rests_on_reserve, seen_after


class ChainView(Protocol):
    """What the mempool asks of the chain manager."""

    @property
    def tip(self) -> ChainState:
        """The block that the next one builds on."""
        ...

    def get_coins(self, outpoints: Iterable[OutPoint]) -> Mapping[OutPoint, Coin]:
        """Return those of the outpoints that are unspent at the tip."""
        ...

    def get_assets(self, names: Iterable[AssetId]) -> Mapping[AssetId, Asset]:
        """Return the records of those of the ids that are assets at the tip."""
        ...


class CoinsAtHand:
    """Satisfies `ChainView` with coins that were read in one pass, as long as nobody awaits."""

    def __init__(self, chain: ChainView, outpoints: Iterable[OutPoint]) -> None:
        self._chain = chain
        self._read = dict.fromkeys(outpoints)
        self._coins = chain.get_coins(self._read)
        self.tip = chain.tip

    def get_coins(self, outpoints: Iterable[OutPoint]) -> Mapping[OutPoint, Coin]:
        """See `ChainView`."""
        outpoints = tuple(outpoints)
        unread = [outpoint for outpoint in outpoints if outpoint not in self._read]
        found = {outpoint: coin for outpoint in outpoints if (coin := self._coins.get(outpoint)) is not None}
        return {**found, **self._chain.get_coins(unread)} if unread else found

    def get_assets(self, names: Iterable[AssetId]) -> Mapping[AssetId, Asset]:
        """See `ChainView`."""
        return self._chain.get_assets(names)


class Candidate(NamedTuple):
    """A transaction that may be added if its signatures hold."""

    tx: Transaction
    fee: Amount
    """In grain."""
    virtual_size: int
    signatures: int
    """How many count against a block's bound."""
    checks: list[SignatureCheck]
    """Still to be verified."""
    watched: bool
    """Whether a reorg could make it early again."""
    assets: AssetChanges
    """What it does to the records of assets."""

    @property
    def sponsored(self) -> bool:
        """Whether it is below the lowest fee rate, so that another must pay for it."""
        return self.fee < required_fee(MIN_FEE_RATE, self.virtual_size)


class Proposal(NamedTuple):
    """What may be added if its signatures hold: one transaction, or several that were judged together."""

    candidates: tuple[Candidate, ...]
    """Parents before children."""
    replaces: tuple[Entry, ...]
    """What leaves for them, parents before children."""
    generation: int
    """Of the mempool when it was examined."""
    rests_on: ChainState | None
    """The tip, if it rests on nothing else: on no other transaction here, and on no reserve that others may change."""

    @property
    def fee(self) -> Amount:
        """Of all of them, in grain."""
        return Amount(sum([candidate.fee for candidate in self.candidates]))

    @property
    def virtual_size(self) -> int:
        """Of all of them."""
        return sum([candidate.virtual_size for candidate in self.candidates])

    @property
    def checks(self) -> list[SignatureCheck]:
        """Of all of them, in their order."""
        return [check for candidate in self.candidates for check in candidate.checks]


class Examination:
    """One look at transactions that want in; the cheapest questions first.

    Several are judged together: the fee that all of them pay counts, so that a child pays for its parents,
    and so do the transactions that all of them would replace.

    Attributes:
        tx: the one that is looked at: whom an error is about.
    """

    def __init__(
        self, params: Params, chain: ChainView, graph: MempoolGraph, txs: Sequence[Transaction], generation: int
    ) -> None:
        """
        Args:
            txs: each after its parents.
            generation: of the mempool, now.
        """
        self._params = params
        self._chain = chain
        self._graph = graph
        self._txs = txs
        self._generation = generation
        tip = chain.tip
        self._context = SpendContext(tip.height + 1, tip.median_time)
        self._coins: dict[OutPoint, Coin] = {}
        self._made: dict[TxId, Transaction] = {}
        """Those of `txs` that were looked at."""
        self._changed: dict[TxId, AssetChanges] = {}
        """What those of them that were looked into do to the records of assets."""
        self.tx = txs[0]

    def of_arrivals(self, min_fee_rate: int) -> Proposal:
        """Examine what a peer or a user hands in.

        Args:
            min_fee_rate: what all of them together, and the last by itself, must pay: grain per 1,000 virtual bytes.

        Raises:
            ConsensusError: `tx` is invalid for ever.
            NotYet: a coin is missing (`facts["missing"]` holds the outpoints), immature or time-locked.
            PolicyError: not taken by this node.
        """
        for tx in self._txs:
            self.tx = tx
            self._check_alone(tx)
        conflicts = self._conflicts()
        replaced = find_replaced(self._graph, conflicts) if conflicts else []
        priced = [self._price(tx) for tx in self._txs]
        fee, size = Amount(sum([each.fee for each in priced])), sum([each.virtual_size for each in priced])
        for paid, asked in ((fee, size), (priced[-1].fee, priced[-1].virtual_size)):
            if paid < required_fee(min_fee_rate, asked):
                raise PolicyError(Refusal.LOW_FEE, fee=paid, required=required_fee(min_fee_rate, asked))
        parents = self._parents()
        ancestors = self._graph.ancestors(parents.values())
        if conflicts:
            check_links(parents.values(), ancestors, conflicts)
            check_pays_more(fee, size, conflicts, replaced)
        self._check_chain(ancestors.values(), size, replaced)
        candidates = tuple(self._look_into(candidate) for candidate in priced)
        alone = len(candidates) == 1 and not (ancestors or replaced or self.tx.core.issuances)
        return Proposal(candidates, tuple(replaced), self._generation, self._chain.tip if alone else None)

    def of_returned(self) -> Proposal:
        """Examine what a reorg gives back, without regard to fee and dust: it had been mined."""
        for outpoint in self.tx.core.inputs:
            rival = self._graph.spender(outpoint)
            if rival is not None:
                raise PolicyError(Refusal.CONFLICT, txid=display_hash(rival.tx.txid))
        candidate = self._price(self.tx)
        if len(self._graph.ancestors(self._parents().values())) >= MAX_RETURNED_CHAIN:
            raise PolicyError(Refusal.CHAIN_TOO_LONG, limit=MAX_RETURNED_CHAIN)
        return Proposal((self._look_into(candidate),), (), self._generation, None)

    # What can be said without coins

    def _check_alone(self, tx: Transaction) -> None:
        held = self._graph.get(tx.txid)
        if held is not None:
            raise PolicyError(Refusal.ALREADY_KNOWN if held.tx.wtxid == tx.wtxid else Refusal.SAME_TXID)
        if tx.is_coinbase:
            raise ConsensusError(Rule.COINBASE_FIRST)
        check_transaction(self._params, tx)
        check_relay_policy(tx)

    def _conflicts(self) -> list[Entry]:
        """Return the transactions here that spend the same coins."""
        spenders = [self._graph.spender(outpoint) for tx in self._txs for outpoint in tx.core.inputs]
        return list({entry.tx.txid: entry for entry in spenders if entry is not None}.values())

    def _parents(self) -> dict[TxId, Entry]:
        """Return all unconfirmed parents that are here already."""
        parents = [self._graph.get(outpoint.txid) for tx in self._txs for outpoint in tx.core.inputs]
        return {entry.tx.txid: entry for entry in parents if entry is not None}

    # Coins and fees

    def _price(self, tx: Transaction) -> Candidate:
        """Find the coins of a transaction, and what it pays. What opens the coins is looked at last."""
        self.tx = tx
        signatures = count_signatures(tx)
        coins = self._find_coins(tx)
        try:
            fee = transaction_fee(self._params, self._context.height, tx, coins)
        except ConsensusError as error:
            raise _early_or_wrong(error) from None
        self._coins |= coins
        self._made[tx.txid] = tx
        size = virtual_size(len(tx.encoded), signatures)
        return Candidate(tx, fee, size, signatures, [], _may_be_early_again(tx, coins), NO_CHANGES)

    def _find_coins(self, tx: Transaction) -> dict[OutPoint, Coin]:
        """Return the coins that `tx` spends: of the chain, or unconfirmed, as if born in the next block."""
        coins: dict[OutPoint, Coin] = {}
        confirmed: list[OutPoint] = []
        for outpoint in tx.core.inputs:
            parent = self._made.get(outpoint.txid)
            if parent is None:
                held = self._graph.get(outpoint.txid)
                parent = held.tx if held is not None else None
            if parent is None:
                confirmed.append(outpoint)
            elif outpoint.index < len(parent.core.outputs):
                coins[outpoint] = Coin(parent.core.outputs[outpoint.index], self._context.height, False)
            else:
                # The parent is here: this output will never be.
                raise ConsensusError(Rule.MISSING_COIN, txid=outpoint.txid[::-1], index=outpoint.index)
        if confirmed:
            coins.update(self._chain.get_coins(confirmed))
        missing = tuple(outpoint for outpoint in confirmed if outpoint not in coins)
        if missing:
            own = [OutPoint(tx.txid, index) for index in range(len(tx.core.outputs))]
            if self._chain.get_coins(own):
                raise PolicyError(Refusal.ALREADY_CONFIRMED)
            raise NotYet(Rule.MISSING_COIN, missing=missing)
        return coins

    def _look_into(self, candidate: Candidate) -> Candidate:
        """Check what opens the coins; return the candidate with the signatures that are still to be verified."""
        self.tx = tx = candidate.tx
        records = self._records_for(tx)
        try:
            effects = asset_effects(tx, self._coins, records)
            checks = check_spends(self._params, self._context, tx, self._coins, effects.approvals)
        except ConsensusError as error:
            raise _early_or_wrong(error) from None
        changes = changes_of(records, effects.records)
        self._changed[tx.txid] = changes
        return Candidate(
            tx,
            candidate.fee,
            candidate.virtual_size,
            candidate.signatures,
            checks,
            candidate.watched or bool(changes),
            changes,
        )

    # Assets

    def _records_for(self, tx: Transaction) -> Mapping[AssetId, Asset | None]:
        """Return the records of all that `tx` names, as its ancestors leave them."""
        names = dict.fromkeys(assets_of_transaction(tx))
        names |= dict.fromkeys(assets_of_coins(self._coins[outpoint] for outpoint in tx.core.inputs))
        if not names:
            return {}
        ancestors, together = self._before(tx)
        found = self._chain.get_assets(names)
        changes = [entry.assets for entry in sorted(ancestors.values(), key=lambda entry: entry.sequence)]
        changes += [changed for txid, changed in self._changed.items() if txid in together]
        records = seen_after({name: found.get(name) for name in names}, changes)
        for asset in issued_by(tx):
            if rests_on_reserve(tx, asset, records[asset]):
                self._check_alone_on_reserve(asset, records[asset], {*ancestors, *together})
        return records

    def _before(self, tx: Transaction) -> tuple[dict[TxId, Entry], set[TxId]]:
        """Return what `tx` descends from: of those that wait here, and of those that are handed in with it."""
        together: set[TxId] = set()
        parents: dict[TxId, Entry] = {}
        pending = [tx]
        while pending:
            for outpoint in pending.pop().core.inputs:
                made, held = self._made.get(outpoint.txid), self._graph.get(outpoint.txid)
                if made is not None and outpoint.txid not in together:
                    together.add(outpoint.txid)
                    pending.append(made)
                elif held is not None:
                    parents[outpoint.txid] = held
        return self._graph.ancestors(parents.values()), together

    def _check_alone_on_reserve(self, asset: AssetId, record: Asset | None, before: Collection[TxId]) -> None:
        """Check that nobody else here rests on the same reserve, but those that come before in any order."""
        others = [entry.tx for entry in self._graph.issuers(asset)]
        others += [self._made[txid] for txid in self._changed]
        for other in others:
            if other.txid not in before and rests_on_reserve(other, asset, record):
                raise PolicyError(Refusal.RESERVE_IN_USE, asset=asset, txid=display_hash(other.txid))

    # Neighbours

    def _check_chain(self, ancestors: Iterable[Entry], size: int, replaced: Iterable[Entry]) -> None:
        """Check that what would hang together is neither too long nor too large.

        Several newcomers count as if each descended from all ancestors of any: simple, and on the safe side.
        """
        ancestors = list(ancestors)
        if len(self._txs) == 1 and not ancestors:
            return  # By itself it is bounded by `MAX_RELAY_SIZE`.
        count = len(self._txs)
        if len(ancestors) + count > MAX_CHAIN:
            raise PolicyError(Refusal.CHAIN_TOO_LONG, limit=MAX_CHAIN)
        if sum(entry.virtual_size for entry in ancestors) + size > MAX_CHAIN_SIZE:
            raise PolicyError(Refusal.CHAIN_TOO_LONG, limit_bytes=MAX_CHAIN_SIZE)
        leaving: dict[TxId, list[Entry]] = {}
        for entry in replaced:
            for txid in self._graph.ancestors(entry.parents.values()):
                leaving.setdefault(txid, []).append(entry)
        for ancestor in ancestors:
            gone = leaving.get(ancestor.tx.txid, ())
            if ancestor.descendant_count - len(gone) + count > MAX_CHAIN:
                raise PolicyError(Refusal.CHAIN_TOO_LONG, ancestor=display_hash(ancestor.tx.txid), limit=MAX_CHAIN)
            if ancestor.descendant_size - sum(entry.virtual_size for entry in gone) + size > MAX_CHAIN_SIZE:
                raise PolicyError(
                    Refusal.CHAIN_TOO_LONG, ancestor=display_hash(ancestor.tx.txid), limit_bytes=MAX_CHAIN_SIZE
                )


def _early_or_wrong(error: ConsensusError) -> ConsensusError | NotYet:
    return NotYet(error.rule, **error.facts) if error.rule in EARLY_RULES else error


def _may_be_early_again(tx: Transaction, coins: Mapping[OutPoint, Coin]) -> bool:
    """Tell whether `tx` asks for a height, a time or an age, which a reorg may take back."""
    if [None for coin in coins.values() if coin.coinbase]:
        return True
    return any(
        isinstance(node, AfterHeight | AfterTime | Older)
        for witness in tx.witnesses
        if type(witness.policy) is not Key
        for node in walk(witness.policy)
    )
