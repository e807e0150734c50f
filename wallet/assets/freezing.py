"""Addresses that a controller freezes: a list of his own, which the rules of the chain know nothing of.

He approves no transfer of the asset from or to them. Since nothing of it moves without his approval, that is enough.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from consensus.address import encode_address
from consensus.params import Params
from consensus.types import AssetId, Core, LockId, Output
from wallet.errors import WalletError
from wallet.store import WalletStore

MAX_FROZEN = 10_000
"""Addresses of all assets together: they are held in memory and in every backup."""
MAX_WHY = 200
"""Characters."""


class FrozenError(WalletError):
    """A transfer is from or to an address that this wallet has frozen."""


class Frozen(NamedTuple):
    """An address that is frozen for one asset."""

    asset: AssetId
    lock: LockId
    why: str


class FreezeList:
    """What one wallet has frozen. Changes are part of the caller's step."""

    def __init__(self, params: Params, store: WalletStore) -> None:
        self._params = params
        self._store = store
        self._frozen = {(asset, lock): why for asset, lock, why in store.frozen()}

    def all(self, asset: AssetId | None = None) -> list[Frozen]:
        """Return what is frozen, of one asset or of all, in the order of assets and locks."""
        return [Frozen(each, lock, why) for (each, lock), why in sorted(self._frozen.items()) if asset in (None, each)]

    def freeze(self, asset: AssetId, lock: LockId, why: str = "") -> None:
        """Freeze an address for an asset, or change what is written down about it.

        Raises:
            WalletError: too many are frozen, or what is written down is too long or cannot be shown.
        """
        if len(why) > MAX_WHY or not why.isprintable():
            raise WalletError(f"why it is frozen is told in at most {MAX_WHY} printable characters")
        if (asset, lock) not in self._frozen and len(self._frozen) >= MAX_FROZEN:
            raise WalletError(f"a wallet freezes at most {MAX_FROZEN} addresses")
        self._frozen[asset, lock] = why
        self._store.put_frozen(asset, lock, why)

    def unfreeze(self, asset: AssetId, lock: LockId) -> None:
        """Take an address off the list.

        Raises:
            WalletError: it is not on it.
        """
        if self._frozen.pop((asset, lock), None) is None:
            raise WalletError("the address is not frozen for this asset")
        self._store.put_frozen(asset, lock, None)

    def touched(self, core: Core, spent: Sequence[Output], assets: Iterable[AssetId] | None = None) -> list[Frozen]:
        """Return those that a transaction moves their asset from or to, each once.

        Args:
            spent: the outputs that its inputs name.
            assets: of these assets only.
        """
        wanted = None if assets is None else set(assets)
        found: dict[Frozen, None] = {}
        for output in (*spent, *core.outputs):
            if output.asset is None or (wanted is not None and output.asset not in wanted):
                continue
            why = self._frozen.get((output.asset, output.lock))
            if why is not None:
                found[Frozen(output.asset, output.lock, why)] = None
        return list(found)

    def check(self, core: Core, spent: Sequence[Output], assets: Iterable[AssetId] | None = None) -> None:
        """Check that a transaction moves nothing from or to a frozen address.

        Raises:
            FrozenError: naming the first of them.
        """
        for frozen in self.touched(core, spent, assets):
            raise FrozenError(self.sentence(frozen))

    def sentence(self, frozen: Frozen) -> str:
        """Return what is wrong with a transfer from or to a frozen address."""
        why = f" ({frozen.why})" if frozen.why else ""
        address = encode_address(self._params, frozen.lock)
        return (
            f"this wallet has frozen {address}{why} for asset {frozen.asset.hex()}, and approves nothing from or to it"
        )
