"""Which assets a transaction is about."""

from __future__ import annotations

from consensus.assets import defined_by
from consensus.types import AssetId, Attestation, Reissue, Transaction


def carries_assets(tx: Transaction) -> bool:
    """Tell whether a transaction does anything but move DURE."""
    core = tx.core
    return bool(core.issuances or core.burns) or any(output.asset is not None for output in core.outputs)


def created_by(tx: Transaction) -> dict[AssetId, int]:
    """Return how much of which asset a transaction creates."""
    more = {issuance.asset: int(issuance.amount) for issuance in tx.core.issuances if isinstance(issuance, Reissue)}
    return more | {asset: int(definition.first_amount) for asset, definition in defined_by(tx).items()}


def attested_by(tx: Transaction) -> dict[AssetId, int]:
    """Return which reserves a transaction attests."""
    return {issuance.asset: int(issuance.total) for issuance in tx.core.issuances if isinstance(issuance, Attestation)}
