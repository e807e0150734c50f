"""The coins as their owner sees them: which there are, and which are set aside."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from consensus.codec import display_hash
from consensus.types import OutPoint
from wallet.errors import WalletError
from wallet.ledger import Ledger
from wallet.results import ListedCoin

MAX_ASIDE = 10_000
"""Coins that are set aside at once: they are held in memory, and in the database if for good."""


class CoinList:
    """Reads the ledger's coins, and keeps payments from using some of them."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def unspent(self) -> Iterator[ListedCoin]:
        """Yield the coins in DURE, those that cannot be spent now included: too young, set aside, or in no block."""
        return self._ledger.coins.listed(self._ledger.cursor.height + 1)

    def confirmations(self, coin: ListedCoin) -> int:
        """Return how deep a coin is in the chain; 0 in no block."""
        return 0 if coin.height is None else self._ledger.confirmations(coin.height)

    def aside(self) -> list[OutPoint]:
        """Return the coins that are set aside, in the order in which that was done."""
        return self._ledger.coins.aside()

    def set_aside(self, outpoints: Sequence[OutPoint], *, for_good: bool = False) -> None:
        """Set coins aside, all or none: they are shown apart and not spent, until `take_back`.

        Args:
            for_good: whether that outlives this process; durable then when this returns.

        Raises:
            WalletError: one is not an unspent coin of this wallet, is set aside already, or is named twice; or
                there are too many.
        """
        aside, there = set(self.aside()), {coin.outpoint for coin in self.unspent()}
        for outpoint in outpoints:
            if outpoint not in there:
                raise WalletError(f"{_text(outpoint)} is not an unspent coin of this wallet")
            if outpoint in aside and not for_good:
                raise WalletError(f"{_text(outpoint)} is set aside already")
            aside.add(outpoint)
        if len(aside) > MAX_ASIDE:
            raise WalletError(f"at most {MAX_ASIDE} coins can be set aside")
        for outpoint in outpoints:
            self._ledger.coins.set_aside(outpoint, for_good=for_good)
        self._ledger.flush()

    def take_back(self, outpoints: Sequence[OutPoint] | None = None) -> None:
        """Take back coins that were set aside, all or none; without an argument all there are.

        Raises:
            WalletError: one is not set aside, or is named twice.
        """
        wanted = self.aside() if outpoints is None else list(outpoints)
        aside = set(self.aside())
        for outpoint in wanted:
            if outpoint not in aside:
                raise WalletError(f"{_text(outpoint)} is not set aside")
            aside.discard(outpoint)
        for outpoint in wanted:
            self._ledger.coins.take_back(outpoint)
        self._ledger.flush()


def _text(outpoint: OutPoint) -> str:
    return f"{display_hash(outpoint.txid)}:{outpoint.index}"
