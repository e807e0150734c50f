"""What a new tip means for the transactions that wait: who asks, what is answered, and why some are dropped."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from consensus.codec import display_hash
from consensus.errors import ConsensusError, NotYet, Rule
from consensus.slices import SLICE, Slices
from consensus.types import OutPoint, Transaction, TxId
from node.chain_events import TipChanged
from node.relay_policy import PolicyError, Refusal

MAX_RETURNED_BYTES = 20 * 1024 * 1024
"""Transactions that a reorg may give back, encoded: five full blocks (Bitcoin Core: MAX_DISCONNECTED_TX_POOL_BYTES)."""
MAX_LOGGED = 10
"""Transactions that a log line names; of the rest it gives the number."""


class DropReason(StrEnum):
    """Why the mempool drops a transaction, where the name of a rule says too little."""

    CONFLICT = "conflict"
    """A transaction of the new chain spends the same coin."""
    LOST_REWARD = "lost-reward"
    """It spends the reward of a block that is no longer in the chain."""
    LOST_PARENT = "lost-parent"
    """It descends from another that was dropped."""
    EXPIRED = "expired"
    """No block took it in a long time."""
    REPLACED = "replaced"
    """Another that spends the same coin pays more."""
    UNPAID = "unpaid"
    """It pays too little by itself, and whoever paid for it has left."""
    REORG = "reorg"
    """It hung on a branch that was left; if it is still good it comes back at once."""
    TOO_MANY = "too-many"
    """Beyond `MAX_RETURNED_BYTES`, or the mempool is full and all else pays better."""


class Dropped(NamedTuple):
    """A transaction that a new tip has put out of the mempool, or kept from coming back."""

    txid: TxId
    reason: str
    """A `DropReason`; else the rule that it breaks now, or the refusal of the relay policy."""


class PoolChange(NamedTuple):
    """What a new tip has done to the mempool; enough for a log line that a person can read."""

    confirmed: int
    """Transactions of the mempool that are now in a block."""
    returned: tuple[TxId, ...]
    """Transactions of disconnected blocks that wait for a block again, oldest first."""
    dropped: tuple[Dropped, ...]
    """Transactions that are now neither in the chain nor in the mempool."""

    def facts(self) -> dict[str, object]:
        """Return what belongs in the log line of a reorg: how many came back, how many are lost, and which."""
        returned = [display_hash(txid) for txid in self.returned[:MAX_LOGGED]]
        dropped = [f"{display_hash(lost.txid)} ({lost.reason})" for lost in self.dropped[:MAX_LOGGED]]
        return {
            "txs_back_in_mempool": len(self.returned),
            "txs_dropped": len(self.dropped),
            **({"back_in_mempool": returned} if returned else {}),
            **({"dropped": dropped} if dropped else {}),
        }


class Branches:
    """The two sides of a reorg, asked about single transactions."""

    def __init__(self) -> None:
        self._spent: set[OutPoint] = set()
        self._rewards: set[TxId] = set()
        self._lost: set[TxId] = set()
        self.reverted: list[Transaction] = []
        """Payments that only the old branch held, oldest first."""
        self.too_many: list[Transaction] = []
        """Those of them beyond `MAX_RETURNED_BYTES`: the newest, as they may descend from the others."""
        self.gone: list[OutPoint] = []
        """All outputs of the old branch, in its order."""

    @classmethod
    def of(cls, change: TipChanged) -> Slices[Branches]:
        """Look through both sides, in slices."""
        made = cls()
        confirmed: set[TxId] = set()
        for block in change.connected:
            for place, tx in enumerate(block.transactions):
                if place % SLICE == SLICE - 1:
                    yield
                confirmed.add(tx.txid)
                if place:
                    made._spent.update(tx.core.inputs)
        size = 0
        for block in reversed(change.disconnected):
            made._rewards.add(block.transactions[0].txid)
            for place, tx in enumerate(block.transactions):
                if place % SLICE == SLICE - 1:
                    yield
                made.gone += (OutPoint(tx.txid, index) for index in range(len(tx.core.outputs)))
                if place and tx.txid not in confirmed:
                    size += len(tx.encoded)
                    (made.reverted if size <= MAX_RETURNED_BYTES else made.too_many).append(tx)
        return made

    def dropped(self, tx: Transaction, error: ConsensusError | NotYet | PolicyError) -> Dropped:
        """Remember that `tx` did not come back, and say why."""
        self._lost.add(tx.txid)
        return Dropped(tx.txid, self._reason(tx, error))

    def _reason(self, tx: Transaction, error: ConsensusError | NotYet | PolicyError) -> str:
        if isinstance(error, ConsensusError):
            return error.rule
        if error.reason == Refusal.CONFLICT:
            return DropReason.CONFLICT
        if error.reason == Rule.MISSING_COIN:
            if any(outpoint in self._spent for outpoint in tx.core.inputs):
                return DropReason.CONFLICT
            if any(outpoint.txid in self._rewards for outpoint in tx.core.inputs):
                return DropReason.LOST_REWARD
            if any(outpoint.txid in self._lost for outpoint in tx.core.inputs):
                return DropReason.LOST_PARENT
        return error.reason
