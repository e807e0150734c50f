"""What transactions that wait for a block do to the records of assets, each seen from its own ancestors.

Coins tie most of it together: whoever moves an asset, or issues more by its authority, descends from whoever had
it before. An attestation is tied to nothing, and it decides whether more of a reserved asset may be issued. So of two
transactions that attest, or issue under, one reserve, one must descend from the other to wait here at all: then
any order in which parents stand before their children is valid, and so is every template.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from msgspec.structs import replace

from consensus.assets import assets_of_issuances
from consensus.types import Amount, Asset, AssetId, SupplyKind, Transaction


class AssetChange(NamedTuple):
    """A record before a transaction and after it."""

    before: Asset | None
    after: Asset

    def on(self, record: Asset | None) -> Asset:
        """Return what a record becomes on which other transactions have worked meanwhile: only burns, see above."""
        if record is None or self.before is None:
            return self.after
        moved = replace(record, supply=Amount(record.supply + self.after.supply - self.before.supply))
        if self.after.sequence != self.before.sequence:
            moved = replace(moved, sequence=self.after.sequence, total=self.after.total)
        return moved


AssetChanges = Mapping[AssetId, AssetChange]
NO_CHANGES: AssetChanges = {}


def changes_of(before: Mapping[AssetId, Asset | None], after: Mapping[AssetId, Asset]) -> AssetChanges:
    """Return what a transaction changed.

    Args:
        before: the records that it was checked with.
        after: those of them, and of new assets, that it changed.
    """
    if not after:
        return NO_CHANGES
    return {asset: AssetChange(before.get(asset), record) for asset, record in after.items()}


def seen_after(
    records: Mapping[AssetId, Asset | None], ancestors: Iterable[AssetChanges]
) -> dict[AssetId, Asset | None]:
    """Return records of the tip as they are after `ancestors`, parents before children."""
    seen = dict(records)
    for changes in ancestors:
        for asset, change in changes.items():
            if asset in seen:
                seen[asset] = change.on(seen[asset])
    return seen


def issued_by(tx: Transaction) -> Iterable[AssetId]:
    """Return the assets whose record, as it is, decides whether a transaction is valid."""
    return assets_of_issuances(tx.core.issuances)


def rests_on_reserve(tx: Transaction, asset: AssetId, record: Asset | None) -> bool:
    """Tell whether a transaction attests the reserve of an asset, or issues more under it."""
    reserved = record is not None and record.definition.supply_kind == SupplyKind.RESERVED
    return reserved and asset in issued_by(tx)
