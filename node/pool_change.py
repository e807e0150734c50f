"""What a new tip means for the transactions that wait: who asks, what is answered, and why some are dropped."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple, Protocol

from consensus.errors import ConsensusError, NotYet, Rule
from consensus.types import Block, OutPoint, Transaction, TxId
from node.relay_policy import PolicyError, Refusal

MAX_RETURNED_BYTES = 20 * 1024 * 1024
"""Transactions that a reorg may give back, encoded: five full blocks (Bitcoin Core: MAX_DISCONNECTED_TX_POOL_BYTES)."""


class TipChange(Protocol):
    """What the mempool reads of the chain manager's `TipChanged`."""

    @property
    def disconnected(self) -> Sequence[Block]:
        """Newest first."""
        ...

    @property
    def connected(self) -> Sequence[Block]:
        """Oldest first."""
        ...


class DropReason(StrEnum):
    """Why a new tip drops a transaction, where the name of a rule says too little."""

    CONFLICT = "conflict"
    """A transaction of the new chain spends the same coin."""
    LOST_REWARD = "lost-reward"
    """It spends the reward of a block that is no longer in the chain."""
    LOST_PARENT = "lost-parent"
    """It descends from another that was dropped."""
    EXPIRED = "expired"
    """No block took it in a long time."""
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


class Branches:
    """The two sides of a reorg, asked about single transactions."""

    def __init__(self, change: TipChange) -> None:
        confirmed = {tx.txid for block in change.connected for tx in block.transactions}
        self._spent = {o for block in change.connected for tx in block.transactions[1:] for o in tx.core.inputs}
        self._rewards = {block.transactions[0].txid for block in change.disconnected}
        self._lost: set[TxId] = set()
        self.reverted: list[Transaction] = []
        """Payments that only the old branch held, oldest first."""
        self.too_many: list[Transaction] = []
        """Those of them beyond `MAX_RETURNED_BYTES`: the newest, as they may descend from the others."""
        self.gone: list[OutPoint] = []
        """All outputs of the old branch, in its order."""
        size = 0
        for block in reversed(change.disconnected):
            for place, tx in enumerate(block.transactions):
                self.gone += (OutPoint(tx.txid, index) for index in range(len(tx.core.outputs)))
                if place and tx.txid not in confirmed:
                    size += len(tx.encoded)
                    (self.reverted if size <= MAX_RETURNED_BYTES else self.too_many).append(tx)

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
