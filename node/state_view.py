"""Coins and assets as they would be after some steps that are not written yet: an overlay on the store."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Protocol

from consensus.slices import Slices, whole
from consensus.state import StateDelta
from consensus.types import Asset, AssetId, Coin, OutPoint

FETCHED_AT_ONCE = 1_000
"""Coins that are read in a slice: a few milliseconds."""


class StateSource(Protocol):
    """Where coins and assets are read that the overlay has not touched."""

    def read_coins(self, outpoints: Iterable[OutPoint]) -> dict[OutPoint, Coin]:
        """Return those of the outpoints that are unspent."""
        ...

    def read_assets(self, assets: Iterable[AssetId]) -> dict[AssetId, Asset]:
        """Return the records of those of the ids that are assets."""
        ...


class StateView:
    """Reads through to `source`; keeps what `apply` changes. Dropping it is the rollback."""

    def __init__(self, source: StateSource) -> None:
        self._source = source
        self._coins: dict[OutPoint, Coin | None] = {}
        """What is known: None where there is no such coin any more."""
        self._stored: dict[OutPoint, bool] = {}
        """Which outpoints were changed, and whether the source holds the coin."""
        self._assets: dict[AssetId, Asset | None] = {}
        """What is known: None where there is no such asset."""
        self._changed_assets: dict[AssetId, Asset | None] = {}

    def __len__(self) -> int:
        """How much is held: what bounds a step."""
        return len(self._coins) + len(self._assets)

    def fetch(self, outpoints: Iterable[OutPoint]) -> Mapping[OutPoint, Coin]:
        """Return those of the outpoints that are unspent here."""
        return whole(self.fetch_in_slices(outpoints))

    def fetch_in_slices(self, outpoints: Iterable[OutPoint]) -> Slices[Mapping[OutPoint, Coin]]:
        """Do `fetch`, in slices. Nobody may change this view, or its source, meanwhile."""
        outpoints = list(outpoints)
        known = self._coins
        unread = [outpoint for outpoint in outpoints if outpoint not in known]
        for start in range(0, len(unread), FETCHED_AT_ONCE):
            if start:
                yield
            part = unread[start : start + FETCHED_AT_ONCE]
            found = self._source.read_coins(part)
            for outpoint in part:
                known[outpoint] = found.get(outpoint)
        return {outpoint: coin for outpoint in outpoints if (coin := known[outpoint]) is not None}

    def fetch_assets(self, names: Iterable[AssetId]) -> Mapping[AssetId, Asset | None]:
        """Return the record of each id here, or None where it is that of no asset."""
        wanted = dict.fromkeys(names)
        if not wanted:
            return {}
        known = self._assets
        unread = [asset for asset in wanted if asset not in known]
        found = self._source.read_assets(unread)
        for asset in unread:
            known[asset] = found.get(asset)
        return {asset: known[asset] for asset in wanted}

    def apply(self, delta: StateDelta) -> None:
        """Take a step: of an applied block, or of a reverted one.

        The coins of `delta.spent` exist here; those of `delta.created` do not.
        """
        for outpoint in delta.spent:
            # A coin that an earlier step here created is not in the source.
            self._stored.setdefault(outpoint, True)
            self._coins[outpoint] = None
        for outpoint, coin in delta.created.items():
            self._stored.setdefault(outpoint, False)
            self._coins[outpoint] = coin
        self._assets |= delta.assets
        self._changed_assets |= delta.assets

    def changes(self) -> Iterator[tuple[OutPoint, Coin | None]]:
        """Yield what must be written: coins to add, and None for coins to remove.

        A coin that came and went on the way leaves no trace.
        """
        for outpoint, stored in self._stored.items():
            coin = self._coins[outpoint]
            if stored or coin is not None:
                yield outpoint, coin

    def asset_changes(self) -> Mapping[AssetId, Asset | None]:
        """Return the records that must be written, and None for those to remove."""
        return self._changed_assets
