"""Against assets: out of real ones of its own the adversary makes transactions that inflate, double, steal and forge.

Each fraud breaks one rule, and is sent in both ways: as a transaction to the mempool, and in a block with real work.
"""

from __future__ import annotations

from msgspec.structs import replace

from consensus.assets import Approval, Role, asset_id, authority_id
from consensus.types import (
    Amount,
    Asset,
    AssetId,
    Attestation,
    LockId,
    NewAsset,
    Output,
    Reissue,
    SupplyKind,
    Transaction,
    Witness,
)
from p2p.messages import TxMessage
from simnet.hostile.behaviour import hostile
from simnet.hostile.blocks import MiningBehaviour
from simnet.hostile.link import HostileLink
from simnet.hostile.treasury import Holding, Treasury

_LOOT = 1_000_000
"""Units that it would like to have."""


class AssetFraud(MiningBehaviour):
    """Sends its fraud on one link of two as a transaction; when it finds a block, the fraud is in it."""

    def __init__(self, *args: object) -> None:
        super().__init__(*args)
        self._sends: dict[HostileLink, bool] = {}

    def fraud(self, treasury: Treasury) -> Transaction | None:
        """Return a transaction that must never be in a chain; None while it lacks what it is made of."""
        raise NotImplementedError

    def ready(self, link: HostileLink) -> None:
        """Decide whether this link is for a transaction."""
        self._sends[link] = self.rng.random() < 0.5

    def closed(self, link: HostileLink) -> None:
        """Forget it."""
        super().closed(link)
        self._sends.pop(link, None)

    def tick(self, link: HostileLink) -> None:
        """One transaction on each link that is for it."""
        if self._sends.get(link):
            made = self._make()
            if made is not None:
                self._sends[link] = False
                self.totals["transactions"] += 1
                link.send(TxMessage(made.encoded))

    def found_block(self) -> None:
        """The same in a block; while that cannot be, a valid one that helps to get there."""
        made = self._make()
        self.totals["blocks"] += made is not None
        made = made or self.adversary.treasury.beginning()
        block = self.adversary.build(self.tip, [] if made is None else [made])
        self.keep(block, self.tip)
        self.announce([block])

    def _make(self) -> Transaction | None:
        treasury = self.adversary.treasury
        return None if treasury.dure is None else self.fraud(treasury)


@hostile("inflated-asset")
class InflatedAsset(AssetFraud):
    """Pays out more of an asset than it spends, or some of one that it does not have (A067)."""

    def fraud(self, treasury: Treasury) -> Transaction | None:
        """By one unit, or out of nothing."""
        token = treasury.own(SupplyKind.REISSUABLE)
        coin = treasury.coin_of(token)
        if token is None or coin is None:
            return None
        if self.rng.random() < 0.5:
            return treasury.make([coin], [treasury.pay(token, coin.output.value + 1)])
        return treasury.make([], [treasury.pay(token, _LOOT)])


@hostile("doubled-work")
class DoubledWork(AssetFraud):
    """Pays the one unit of an NFT to two (A073)."""

    def fraud(self, treasury: Treasury) -> Transaction | None:
        """To itself, and to somebody else."""
        work = treasury.own(SupplyKind.FIXED, first=1)
        coin = treasury.coin_of(work)
        if work is None or coin is None:
            return None
        return treasury.make([coin], [coin.output, Output(Amount(1), LockId(self.random_hash()), work)])


@hostile("forged-approval")
class ForgedApproval(AssetFraud):
    """Moves a share without its controller, or with a signature of his that was for something else (A068)."""

    def fraud(self, treasury: Treasury) -> Transaction | None:
        """None, a signature for the lock in place of the approval, one for another asset, or one that is torn."""
        share = treasury.own(SupplyKind.FIXED, controlled=True)
        coin = treasury.coin_of(share)
        if share is None or coin is None:
            return None
        paid = [Output(coin.output.value, LockId(self.random_hash()), share)]
        way = self.rng.randrange(4)
        if way == 0:
            return treasury.make([coin], paid)
        named = AssetId(self.random_hash()) if way == 1 else share
        made = treasury.make([coin], paid, approvals=[Approval(named, Role.CONTROLLER, treasury.lock)])
        if way == 2:
            return Transaction(made.core, (made.witnesses[0], made.witnesses[0]))
        if way == 3:
            signature = bytearray(made.witnesses[1].satisfactions[0])
            signature[self.rng.randrange(1, 32)] ^= 1 << self.rng.randrange(8)
            return Transaction(made.core, (made.witnesses[0], Witness(treasury.policy, (bytes(signature),))))
        return made


@hostile("reissue-without-authority")
class ReissueWithoutAuthority(AssetFraud):
    """Issues more of an asset, and does not spend the authority to (A068)."""

    def fraud(self, treasury: Treasury) -> Transaction | None:
        """Of a reissuable asset, or of a fixed one, of which there is no authority."""
        kind = self.rng.choice((SupplyKind.REISSUABLE, SupplyKind.FIXED))
        name = treasury.own(kind)
        if name is None:
            return None
        return treasury.make([], [treasury.pay(name, _LOOT)], [Reissue(name, Amount(_LOOT))])


class _Reserve(AssetFraud):
    """Is about a reserved asset that it has issued some of."""

    @staticmethod
    def stable(treasury: Treasury) -> tuple[AssetId, Asset, Holding] | None:
        """Return its id, its record, and the authority over it."""
        name = treasury.own(SupplyKind.RESERVED)
        right = None if name is None else treasury.coin_of(authority_id(name))
        if name is None or right is None or not treasury.assets[name].supply:
            return None
        return name, treasury.assets[name], right


@hostile("issue-above-reserve")
class IssueAboveReserve(_Reserve):
    """Issues one unit more of a reserved asset than is attested (A068)."""

    def fraud(self, treasury: Treasury) -> Transaction | None:
        """With the authority to issue, in one step."""
        found = self.stable(treasury)
        if found is None:
            return None
        name, record, right = found
        amount = record.total - record.supply + 1
        return treasury.make([right], [right.output, treasury.pay(name, amount)], [Reissue(name, Amount(amount))])


@hostile("replayed-attestation")
class ReplayedAttestation(_Reserve):
    """Attests a larger reserve under a number that was used (A068), and issues up to it."""

    def fraud(self, treasury: Treasury) -> Transaction | None:
        """Signed by the auditor himself: it is the number that is wrong."""
        found = self.stable(treasury)
        if found is None:
            return None
        name, record, right = found
        issuances = (Attestation(name, record.sequence, Amount(_LOOT)), Reissue(name, Amount(1)))
        approval = Approval(name, Role.AUDITOR, treasury.lock)
        return treasury.make([right], [right.output, treasury.pay(name, 1)], issuances, [approval])


@hostile("mutated-issuance")
class MutatedIssuance(AssetFraud):
    """Changes the definition in an issuance that is signed (A069): more at first, or nobody to control it."""

    def fraud(self, treasury: Treasury) -> Transaction | None:
        """The outputs follow what was changed, so that only the signature is wrong."""
        dure = treasury.dure
        if dure is None:
            return None
        definition = treasury.define(SupplyKind.FIXED, 10, controller=treasury.lock)
        approval = Approval(asset_id(dure.outpoint, 0, definition), Role.CONTROLLER, treasury.lock)
        signed = treasury.make([], [treasury.pay(approval.asset, 10)], [NewAsset(definition)], [approval])
        more = self.rng.random() < 0.5
        changed = replace(definition, first_amount=Amount(_LOOT)) if more else replace(definition, controller=None)
        paid = treasury.pay(asset_id(dure.outpoint, 0, changed), changed.first_amount)
        core = replace(signed.core, outputs=(paid, *signed.core.outputs[1:]), issuances=(NewAsset(changed),))
        return Transaction(core, signed.witnesses if more else signed.witnesses[:1])
