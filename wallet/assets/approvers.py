"""Who has to approve what is done with assets, and what their witnesses cost."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from consensus.asset_text import format_units
from consensus.assets import authority_id
from consensus.spend_policy import WitnessCost, reveal, witness_cost
from consensus.types import Amount, Asset, AssetId, Attestation, Burn, Definition, LockId, NewAsset, Reissue, SupplyKind
from wallet.assets.book import AssetBook
from wallet.coin_selection import KEY_COST
from wallet.errors import PaymentError
from wallet.spend_policies.book import PolicyBook

Records = Mapping[AssetId, Asset]
"""Of assets on the best chain, as the node has them."""
UNKNOWN_POLICY = WitnessCost(signatures=16, size=2_800)
"""Of a policy that the wallet does not know: as 16 of 16 keys, the largest threshold. A fee that is too low for what
the approvers add could not be raised any more; what may be too much is some 3,000 grain."""


class Approvers:
    """Tells of each wish which policies have to approve it."""

    def __init__(self, assets: AssetBook, policies: PolicyBook) -> None:
        self._assets = assets
        self._policies = policies

    def of(
        self,
        paid: Iterable[AssetId],
        issuances: Iterable[NewAsset | Reissue | Attestation],
        burns: Iterable[Burn],
        records: Records,
    ) -> list[LockId]:
        """Return the policies that have to approve, one for each approval.

        Raises:
            PaymentError: there is no such asset, it is no reserved one, or its reserve does not hold as much.
        """
        found: dict[tuple[AssetId, bool], LockId | None] = {}
        rights = {authority_id(asset) for asset in records}
        for asset in paid:
            # An authority is never controlled.
            if asset not in rights and self._assets.asset_of(asset) is None:
                found[asset, False] = definition_of(asset, records).controller
        for burn in burns:
            if burn.id in records:
                found[burn.id, False] = records[burn.id].definition.controller
        for place, issuance in enumerate(issuances):
            match issuance:
                case NewAsset(definition):
                    found[AssetId(place.to_bytes(32, "big")), False] = definition.controller
                case Reissue(asset=asset, amount=amount):
                    found[asset, False] = definition_of(asset, records).controller
                    _check_reserve(records[asset], amount)
                case Attestation(asset=asset):
                    definition = definition_of(asset, records)
                    if definition.supply_kind != SupplyKind.RESERVED:
                        raise PaymentError("only of a reserved asset is the reserve attested")
                    found[asset, True] = definition.auditor
        return [policy for policy in found.values() if policy is not None]

    def cost(self, approvers: Iterable[LockId]) -> WitnessCost:
        """Return what the witnesses of these policies cost, or may cost where the wallet does not know them."""
        costs = [self._cost(policy) for policy in approvers]
        return WitnessCost(sum(each.signatures for each in costs), sum(each.size for each in costs))

    def _cost(self, policy: LockId) -> WitnessCost:
        if self._policies.is_own_key(policy):
            return KEY_COST
        known = self._policies.find(policy)
        shown = None if known is None else reveal(known.policy, lambda _leaf: True)
        return UNKNOWN_POLICY if shown is None else witness_cost(shown)


def definition_of(asset: AssetId, records: Records) -> Definition:
    """Return the definition of an asset.

    Raises:
        PaymentError: the best chain has none of that id.
    """
    if asset not in records:
        raise PaymentError(f"no block of the best chain has an asset {asset.hex()}")
    return records[asset].definition


def _check_reserve(record: Asset, amount: Amount) -> None:
    """Say in the asset's own units what the rule would say in the smallest.

    Raises:
        PaymentError: with the rule's name.
    """
    kind, decimals = record.definition.supply_kind, record.definition.decimals
    if kind == SupplyKind.RESERVED and record.supply + amount > record.total:
        more, left, attested, there = (
            format_units(each, decimals)
            for each in (amount, max(0, record.total - record.supply), record.total, record.supply)
        )
        raise PaymentError(
            f"above-reserve: {more} more are to be issued, and {left} can be: the auditor attests {attested}, and "
            f"{there} exist"
        )
