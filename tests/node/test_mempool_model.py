"""The mempool against a model that keeps a list and works everything out anew at each step."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from consensus.errors import NotYet
from consensus.types import Coin, OutPoint, Transaction
from consensus.validation import MAX_BLOCK_SIGNATURES
from node.chain_events import TipChanged
from node.relay_policy import MAX_CHAIN, PolicyError, virtual_size
from tests.support.pool import FEE, MATURITY, Pool, forward


class Model:
    """What should wait: a list of transactions, and no index at all."""

    def __init__(self, pool: Pool) -> None:
        self.ledger = pool.ledger
        self.waiting: list[Transaction] = []
        self.fees: dict[bytes, int] = {}
        """Of all that was ever seen."""

    def takes(self, tx: Transaction, *, bounded: bool) -> bool:
        """Whether `tx` may join the list."""
        rivals = self.rivals(tx)
        if rivals and (not bounded or not self._may_replace(tx, rivals)):
            return False
        height = self.ledger.tip.height + 1
        made = {OutPoint(other.txid, i) for other in self.waiting for i in range(len(other.core.outputs))}
        for outpoint in tx.core.inputs:
            coin = self.ledger.coins.get(outpoint)
            if coin is None and outpoint not in made:
                return False
            if coin is not None and coin.coinbase and height < coin.height + MATURITY:
                return False
        return not bounded or self._fits(tx)

    def rivals(self, tx: Transaction) -> list[Transaction]:
        """Return what spends the same coins."""
        return [other for other in self.waiting if set(other.core.inputs) & set(tx.core.inputs)]

    def would_leave(self, tx: Transaction) -> set[bytes]:
        """Return the txids of what goes if `tx` comes."""
        rivals = {other.txid for other in self.rivals(tx)}
        return {other.txid for other in self.waiting if other.txid in rivals or rivals & self._ancestors(other)}

    def _may_replace(self, tx: Transaction, rivals: list[Transaction]) -> bool:
        """Whether `tx` pays enough to put out its rivals, and hangs on nothing that they did not hang on."""
        fee, size = self.fees[tx.txid], virtual_size(len(tx.encoded), 1)
        waiting = {other.txid for other in self.waiting}
        theirs = {outpoint.txid for rival in rivals for outpoint in rival.core.inputs}
        leaving = self.would_leave(tx)
        return (
            all(fee * virtual_size(len(rival.encoded), 1) > self.fees[rival.txid] * size for rival in rivals)
            and fee >= sum(self.fees[txid] for txid in leaving) + size
            and not self._ancestors(tx) & {rival.txid for rival in rivals}
            and {outpoint.txid for outpoint in tx.core.inputs} & waiting <= theirs
        )

    def _fits(self, tx: Transaction) -> bool:
        ancestors = self._ancestors(tx)
        leaving = self.would_leave(tx)
        staying = [other for other in self.waiting if other.txid not in leaving]
        families = [[other for other in staying if a in self._ancestors(other)] for a in ancestors]
        return len(ancestors) < MAX_CHAIN and all(1 + len(family) < MAX_CHAIN for family in families)

    def _ancestors(self, tx: Transaction) -> set[bytes]:
        by_id = {other.txid: other for other in self.waiting}
        found: set[bytes] = set()
        for outpoint in tx.core.inputs:
            parent = by_id.get(outpoint.txid)
            if parent is not None:
                found |= {parent.txid} | self._ancestors(parent)
        return found

    def follow(self, change: TipChanged) -> None:
        """Work out who waits on the new tip: what came back, then what waited before."""
        confirmed = {tx.txid for block in change.connected for tx in block.transactions}
        returned = [tx for block in reversed(change.disconnected) for tx in block.transactions[1:]]
        candidates = [tx for tx in (*returned, *self.waiting) if tx.txid not in confirmed]
        self.waiting = []
        for tx in candidates:
            if self.takes(tx, bounded=False):
                self.waiting.append(tx)


class MempoolMachine(RuleBasedStateMachine):
    """Payments, double spends, blocks and reorgs, in any order."""

    @initialize()
    def start(self) -> None:
        self.pool = Pool(rewards=3)
        self.model = Model(self.pool)
        self.seen: list[Transaction] = []

    def _coins(self) -> list[tuple[OutPoint, Coin]]:
        """Everything that anybody could try to spend: coins, unconfirmed outputs, and what is spent already."""
        coins = list(self.pool.ledger.coins.items())
        for tx in self.seen:
            coins += ((OutPoint(tx.txid, i), Coin(output, 0, False)) for i, output in enumerate(tx.core.outputs))
        return coins

    @rule(
        data=st.data(), parts=st.integers(1, 3), count=st.integers(1, 2), fee=st.sampled_from([FEE, FEE + 300, 9 * FEE])
    )
    def pay(self, data: st.DataObject, parts: int, count: int, fee: int) -> None:
        offered = self._coins()
        chosen = data.draw(st.lists(st.integers(0, len(offered) - 1), min_size=count, max_size=count, unique=True))
        coins = dict(offered[place] for place in chosen)
        if sum(coin.output.value for coin in coins.values()) > 20 * FEE:
            tx = forward(coins, fee=fee, parts=parts)
            self.model.fees[tx.txid] = fee
            self._offer(tx)

    @precondition(lambda self: self.seen)
    @rule(data=st.data())
    def offer_again(self, data: st.DataObject) -> None:
        self._offer(data.draw(st.sampled_from(self.seen)))

    def _offer(self, tx: Transaction) -> None:
        confirmed = any(OutPoint(tx.txid, i) in self.pool.ledger.coins for i in range(len(tx.core.outputs)))
        known = tx in self.model.waiting
        expected = not confirmed and not known and self.model.takes(tx, bounded=True)
        leaving = self.model.would_leave(tx)
        try:
            self.pool.mempool.add(self.pool.mempool.check(tx))
        except (NotYet, PolicyError) as error:
            assert not expected, f"refused: {error}"
        else:
            assert expected, "taken"
            self.model.waiting = [other for other in self.model.waiting if other.txid not in leaving]
            self.model.waiting.append(tx)
        if tx not in self.seen:
            self.seen.append(tx)

    @rule(share=st.integers(0, 4))
    def mine(self, share: int) -> None:
        selected = [entry.tx for entry in self.pool.mempool.select(200 * share, MAX_BLOCK_SIGNATURES)]
        self._follow(self.pool.ledger.mine(selected))

    @rule(depth=st.integers(1, 3), extra=st.integers(-1, 2), data=st.data())
    def reorg(self, depth: int, extra: int, data: st.DataObject) -> None:
        depth = min(depth, self.pool.ledger.tip.height - MATURITY)
        if depth <= 0:
            return
        bodies = self._branch(depth, depth + extra, data)
        self._follow(self.pool.ledger.reorg(depth, *bodies, to=data.draw(st.integers(1, 2))))

    def _branch(self, depth: int, length: int, data: st.DataObject) -> list[Sequence[Transaction]]:
        """Bodies for another branch: of all that was ever seen, what is valid there, as chance has it."""
        ledger = self.pool.ledger
        left = [ledger.disconnect() for _ in range(depth)]
        bodies: list[Sequence[Transaction]] = []
        for _ in range(length):
            trial = Model(self.pool)
            for tx in data.draw(st.lists(st.sampled_from(self.seen), max_size=3)) if self.seen else ():
                if tx not in trial.waiting and trial.takes(tx, bounded=False):
                    trial.waiting.append(tx)
            bodies.append(trial.waiting)
            # Its rewards differ from those of the real branch, and nothing seen spends either.
            ledger.mine(trial.waiting, to=8)
        for _ in range(length):
            ledger.disconnect()
        for block in reversed(left):
            ledger.connect(block)
        return bodies

    def _follow(self, change: TipChanged) -> None:
        before = {entry.tx.txid for entry in self.pool.mempool}
        reverted = {tx.txid for block in change.disconnected for tx in block.transactions[1:]}
        confirmed = {tx.txid for block in change.connected for tx in block.transactions}
        told = self.pool.mempool.on_tip_changed(change)
        self.model.follow(change)
        after = {entry.tx.txid for entry in self.pool.mempool}
        assert set(told.returned) == (reverted - confirmed) & after
        assert {lost.txid for lost in told.dropped} == (before | reverted) - confirmed - after
        assert told.confirmed == len(before & confirmed)

    @invariant()
    def the_same_transactions_wait(self) -> None:
        assert {entry.tx.txid for entry in self.pool.mempool} == {tx.txid for tx in self.model.waiting}
        self.pool.mempool.check_invariants()

    @invariant()
    def all_that_waits_makes_a_valid_block(self) -> None:
        selected = self.pool.mempool.select(4_000_000, MAX_BLOCK_SIGNATURES)
        assert len(selected) == len(self.pool.mempool)
        self.pool.ledger.mine([entry.tx for entry in selected])
        self.pool.ledger.disconnect()


TestMempoolAgainstItsModel = MempoolMachine.TestCase
TestMempoolAgainstItsModel.settings = settings(
    max_examples=25, stateful_step_count=25, suppress_health_check=[HealthCheck.too_slow]
)
