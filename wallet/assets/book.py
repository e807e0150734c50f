"""Which assets the wallet shows: what strangers pay unasked stays out of sight (A162), and which authority is whose."""

from __future__ import annotations

from consensus.assets import authority_id
from consensus.types import AssetId, Transaction
from wallet.assets.naming import attested_by, created_by
from wallet.store import WalletStore


class AssetBook:
    """The assets that the wallet issued or sent, and those that its owner decided about."""

    def __init__(self, store: WalletStore) -> None:
        self._store = store
        known = dict(store.assets())
        self._shown = {asset: shown for asset, shown in known.items() if shown is not None}
        self._rights = {authority_id(asset): asset for asset in known}

    def is_shown(self, asset: AssetId) -> bool:
        """Tell whether an asset is shown unasked."""
        return self._shown.get(asset, False)

    def asset_of(self, authority: AssetId) -> AssetId | None:
        """Return the asset that an id is the authority of, if the wallet has had to do with it."""
        return self._rights.get(authority)

    def note(self, tx: Transaction, *, ours: bool) -> None:
        """Learn what a transaction says of assets, and show those that our own are about; no commit."""
        self._note_authorities(tx)
        if ours:
            self._note_own(tx)

    def _note_own(self, tx: Transaction) -> None:
        """Show what a transaction of our own issues, attests, moves or burns, but for what its owner hid."""
        named = dict.fromkeys([*created_by(tx), *attested_by(tx)])
        named |= dict.fromkeys(output.asset for output in tx.core.outputs if output.asset is not None)
        named |= dict.fromkeys(burn.id for burn in tx.core.burns)
        rights = {authority_id(asset) for asset in named}
        for asset in named:
            if asset not in rights and asset not in self._rights and asset not in self._shown:
                self.put(asset, shown=True)

    def _note_authorities(self, tx: Transaction) -> None:
        """Learn whose authority a transaction pays out, if its memo says so.

        Whoever hands an authority on names the asset there: the id of an authority tells it to nobody who does not
        know the asset.
        """
        asset = AssetId(tx.core.memo)
        right = authority_id(asset)
        if len(asset) != len(right) or right in self._rights:
            return
        if any(output.asset == right for output in tx.core.outputs):
            self._rights[right] = asset
            self._store.put_asset(asset, shown=None)

    def put(self, asset: AssetId, *, shown: bool) -> None:
        """Show an asset from now on, or hide it; no commit."""
        self._shown[asset] = shown
        self._rights[authority_id(asset)] = asset
        self._store.put_asset(asset, shown=shown)
