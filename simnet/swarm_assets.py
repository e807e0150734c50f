"""What a swarm does with assets, and what it saw become of them: issued, moved, burned, attested, and undone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from consensus.asset_text import Metadata, encode_metadata
from consensus.types import (
    Amount,
    AssetId,
    Attestation,
    Block,
    Burn,
    Definition,
    LockId,
    NewAsset,
    Reissue,
    SupplyKind,
    Transaction,
    TxId,
)
from node.chain_events import TipChanged
from simnet.asset_model import right_of
from simnet.sim_node import SimNode
from simnet.simulation import Simulation
from simnet.swarm_payments import Payments
from simnet.swarm_plan import Step
from wallet.assets.making import AssetPayment, AssetWish
from wallet.results import AssetBalance

_KINDS = ("token", "stable", "work", "stable", "share", "coin")
"""Reissuable; reserved; one of a kind, with a content; controlled by its issuer; fixed."""
_FIRST = 1_000
_METADATA = encode_metadata(Metadata(name="swarm", ticker="SWM"))


class AssetActs:
    """The acts of plans that are about assets. Whatever a wallet lacks, the step that needs it does something else."""

    def __init__(self, sim: Simulation, payments: Payments, sometimes: Counter[str]) -> None:
        self._sim = sim
        self._payments = payments
        self._sometimes = sometimes

    async def issue(self, step: Step, node: SimNode, others: list[SimNode]) -> None:
        """Issue an asset of one of the kinds."""
        await self._issue(_KINDS[step.amount % len(_KINDS)], step, node, others[0])

    async def _issue(self, kind: str, step: Step, node: SimNode, auditing: SimNode) -> None:
        if not (node.is_up and auditing.is_up):
            return
        auditor = await auditing.new_lock("auditor") if kind == "stable" else None
        controller = await node.new_lock("controller") if kind == "share" else None
        supply, first = {
            "token": (SupplyKind.REISSUABLE, step.amount),
            "work": (SupplyKind.FIXED, 1),
            "stable": (SupplyKind.RESERVED, 0),
        }.get(kind, (SupplyKind.FIXED, _FIRST + step.amount))
        content = step.amount.to_bytes(32, "big") if kind == "work" else None
        definition = Definition(supply, Amount(first), 0, auditor, controller, content, None, _METADATA)
        await self._make(node, AssetWish(issuances=(NewAsset(definition),)))

    async def mint(self, step: Step, node: SimNode, others: list[SimNode]) -> None:
        """Let a work into a collection."""
        series = _pick([held for held in await _balances(node) if held.authority], step)
        if series is None:
            await self.issue(step, node, others)
            return
        content = step.amount.to_bytes(32, "little")
        definition = Definition(SupplyKind.FIXED, Amount(1), 0, None, None, content, series.asset, _METADATA)
        await self._make(node, AssetWish(issuances=(NewAsset(definition),)))

    async def send(self, step: Step, node: SimNode, others: list[SimNode]) -> None:
        """Pay in an asset; sometimes all of it, and sometimes in two at once."""
        if not (node.is_up and others[0].is_up):
            return
        held = [each for each in await _balances(node) if each.sums.trusted]
        if not held:
            await self.issue(step, node, others)
            return
        chosen = dict.fromkeys((held[step.amount % len(held)], held[step.amount // 7 % len(held)]))
        lock = await others[0].new_lock("assets")
        await self._make(node, AssetWish(payments=tuple(self._payment(lock, each, step.amount) for each in chosen)))

    @staticmethod
    def _payment(lock: LockId, held: AssetBalance, amount: int) -> AssetPayment:
        return AssetPayment(lock, held.asset, Amount(1 + amount % held.sums.trusted))

    async def reissue(self, step: Step, node: SimNode, others: list[SimNode]) -> None:
        """Issue more; of a reserved asset sometimes more than is attested, which its own wallet refuses."""
        rights = [held.asset for held in await _balances(node) if held.authority]
        if not rights:
            await self.issue(step, node, others)
            return
        records = node.chain.get_assets(rights)
        room = {name: record.total - record.supply for name, record in records.items() if record.definition.auditor}
        # Most often one of those whose auditor leaves some.
        ready = [name for name in rights if room.get(name, 1) > 0]
        name = ready[step.amount % len(ready)] if ready and step.amount % 4 else rights[step.amount % len(rights)]
        most = room.get(name, step.amount)
        if name in room and (most <= 0 or step.amount % 8 == 0):
            self._sometimes["more was wanted than is attested"] += 1
            most = max(0, most) + step.amount
        await self._make(node, AssetWish(issuances=(Reissue(name, Amount(1 + (step.amount - 1) % most)),)))

    async def attest(self, step: Step, node: SimNode, others: list[SimNode]) -> None:
        """Attest a reserve, usually a larger one; who audits nothing is asked to by somebody."""
        if not node.is_up:
            return
        wallet = await node.wallet.current()
        audited = [
            (name, record)
            for name, record in node.store.assets()
            if record.definition.auditor is not None and wallet.is_mine(record.definition.auditor)
        ]
        if not audited:
            await self._issue("stable", step, others[0], node)
            return
        issued = [each for each in audited if each[1].supply]
        if issued and step.amount % 3 == 0:
            # Less than there is takes nothing away, and stops issuing.
            name, record = issued[step.amount % len(issued)]
            total = record.supply // 2
            self._sometimes["a reserve was attested below the supply"] += 1
        else:
            name, record = audited[step.amount % len(audited)]
            total = record.total + step.amount
        await self._make(node, AssetWish(issuances=(Attestation(name, record.sequence + 1, Amount(total)),)))

    async def burn(self, step: Step, node: SimNode, _: list[SimNode]) -> None:
        """Destroy some of what is held, sometimes all."""
        chosen = _pick([held for held in await _balances(node) if held.sums.trusted], step)
        if chosen is not None:
            amount = Amount(1 + step.amount % chosen.sums.trusted)
            await self._make(node, AssetWish(burns=(Burn(chosen.asset, amount),)))

    async def close(self, step: Step, node: SimNode, _: list[SimNode]) -> None:
        """Burn an authority."""
        chosen = _pick([held for held in await _balances(node) if held.authority], step)
        if chosen is not None:
            await self._make(node, AssetWish(burns=(Burn(right_of(chosen.asset), Amount(1)),)))

    async def _make(self, node: SimNode, wish: AssetWish) -> None:
        approvers = self._approvers(node, wish)
        taken = await self._payments.take(node, node.make(wish, approvers))
        if approvers:
            self._sometimes["somebody else approved" if taken else "somebody else did not approve"] += 1

    def _approvers(self, node: SimNode, wish: AssetWish) -> list[SimNode]:
        """Return the other nodes that control an asset which is to be moved or burned, as far as they run."""
        names = [payment.asset for payment in wish.payments] + [burn.id for burn in wish.burns]
        found: dict[SimNode, None] = {}
        for record in node.chain.get_assets(names).values() if node.is_up else ():
            controller = record.definition.controller
            for other in self._sim.running:
                if other is not node and controller is not None and other.wallet.wallet.is_mine(controller):
                    found[other] = None
        return list(found)


async def _balances(node: SimNode) -> list[AssetBalance]:
    """Return what the wallet of a node holds; nothing if it is down."""
    return (await node.wallet.current()).assets.balances() if node.is_up else []


def _pick(held: Sequence[AssetBalance], step: Step) -> AssetBalance | None:
    return held[step.amount % len(held)] if held else None


class AssetFates:
    """Looks at every change of every tip, and counts what reorgs undo and bring back."""

    def __init__(self, sim: Simulation, sometimes: Counter[str]) -> None:
        self._model = sim.model
        self._sometimes = sometimes
        self._undone: set[tuple[str, TxId]] = set()
        """Node and transaction, of what a reorg took from its chain."""

    def tip_changed(self, node: SimNode, change: TipChanged) -> None:
        """Take note of one step of one node."""
        rights = {right_of(name) for tip in (change.old, change.new) for name in self._model.states[tip.hash].assets}
        kept = {tx.txid for block in change.connected for tx in block.transactions}
        for tx in _carriers(change.disconnected):
            if tx.txid not in kept:
                self._undone.add((node.name, tx.txid))
                self._count(tx, rights, "was undone")
        for tx in _carriers(change.connected):
            if (node.name, tx.txid) in self._undone:
                self._undone.remove((node.name, tx.txid))
                self._count(tx, rights, "was done again")

    def _count(self, tx: Transaction, rights: set[AssetId], what: str) -> None:
        for deed in _deeds(tx, rights):
            self._sometimes[f"{deed} {what}"] += 1


def _carriers(blocks: Sequence[Block]) -> Iterator[Transaction]:
    """Yield the transactions that are about assets."""
    for block in blocks:
        for tx in block.transactions[1:]:
            if tx.core.issuances or tx.core.burns or any(output.asset is not None for output in tx.core.outputs):
                yield tx


def _deeds(tx: Transaction, rights: set[AssetId]) -> list[str]:
    """Return what a transaction does to assets, in words."""
    core = tx.core
    said = {
        "an issuance": any(isinstance(each, NewAsset) for each in core.issuances),
        "a reissue": any(isinstance(each, Reissue) for each in core.issuances),
        "an attestation": any(isinstance(each, Attestation) for each in core.issuances),
        "a burn": any(burn.id not in rights for burn in core.burns),
        "a closing": any(burn.id in rights for burn in core.burns),
        "a transfer": not core.issuances and not core.burns,
    }
    return [deed for deed, is_so in said.items() if is_so]
