"""Our coins: what the chain says of them, and with the pending transactions, what they are worth now."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping
from typing import NamedTuple

from msgspec.structs import replace

from consensus.params import Params
from consensus.types import Amount, AssetId, Core, LockId, OutPoint, Output, TxId
from wallet.pending import PendingSet, PendingTx
from wallet.records import CoinRecord
from wallet.results import AssetSums, Balances, ListedCoin
from wallet.store import WalletStore


class SpendableCoin(NamedTuple):
    """A coin that a payment may use."""

    outpoint: OutPoint
    value: Amount
    lock: LockId
    height: int | None
    """None: change of our own payment that is in no block."""
    coinbase: bool
    chain: int
    """Unconfirmed transactions that it ends: 0 in a block."""
    asset: AssetId | None = None
    """What `value` is counted in: None for grain."""

    @property
    def output(self) -> Output:
        """The output that it is."""
        return Output(self.value, self.lock, self.asset)


class CoinTable:
    """The coins that no transaction of the chain has spent in memory, all that ever were in the store."""

    def __init__(
        self,
        params: Params,
        store: WalletStore,
        pending: PendingSet,
        apart: Container[LockId],
        kept: Mapping[OutPoint, TxId],
    ) -> None:
        """Read the unspent coins.

        Args:
            apart: the locks whose coins are watched, but are not ours alone: no payment uses them, and no
                balance counts them (A158).
            kept: the coins of transactions that wait for an approval; looked at anew each time.
        """
        self._kept = kept
        self._apart = apart
        self._maturity = params.coinbase_maturity
        self._store = store
        self._pending = pending
        self._unspent: dict[OutPoint, CoinRecord] = {}
        self._ever_apart: dict[LockId, dict[OutPoint, None]] = {}
        """All coins that ever lay at a lock apart, spent or not: few, beside a hundred thousand of our own."""
        for outpoint, coin in store.coins():
            if coin.spender is None:
                self._unspent[outpoint] = coin
            if coin.lock in apart:
                self._ever_apart.setdefault(coin.lock, {})[outpoint] = None
        self._outpoints_apart = dict.fromkeys(
            outpoint for outpoint, coin in self._unspent.items() if coin.lock in apart
        )
        """Those of the unspent coins that lie at locks apart."""
        self._set_aside: dict[OutPoint, bool] = dict.fromkeys(store.aside(), True)
        """Coins that their owner set aside, and whether for longer than this process."""
        self._settled = 0
        """In grain: what all unspent coins are worth but those in `_unsettled`, kept as they come and go."""
        self._in_order: list[SpendableCoin] | None = None
        """Those coins, the largest first; None from when one comes or goes until they are asked for."""
        self._unsettled: dict[OutPoint, None] = {}
        """Coins in DURE whose worth is not plain: rewards, in no block, at locks apart; few beside the rest."""
        self._of_assets: dict[AssetId, dict[OutPoint, None]] = {}
        """The unspent coins of each asset and authority: never counted as DURE, nor spent for it (A154)."""
        for outpoint, coin in self._unspent.items():
            self._count_in(outpoint, coin)

    def __contains__(self, outpoint: OutPoint) -> bool:
        return outpoint in self._unspent

    def find(self, outpoint: OutPoint) -> CoinRecord | None:
        """Return an output of ours, or one that is watched apart, spent or not."""
        return self._unspent.get(outpoint) or self._store.coin(outpoint)

    def find_own(self, outpoint: OutPoint) -> CoinRecord | None:
        """Return an output of ours, spent or not."""
        coin = self.find(outpoint)
        return None if coin is None or coin.lock in self._apart else coin

    # What the chain does

    def put(self, outpoint: OutPoint, coin: CoinRecord) -> None:
        """Take in a coin that no transaction of the chain has spent, or its new place in the chain."""
        self._count_out(outpoint)
        self._unspent[outpoint] = coin
        if coin.lock in self._apart:
            self._outpoints_apart[outpoint] = None
            self._ever_apart.setdefault(coin.lock, {})[outpoint] = None
        self._count_in(outpoint, coin)
        self._store.put_coin(outpoint, coin)

    def spend(self, outpoint: OutPoint, spender: TxId, height: int) -> None:
        """Take note that the chain spends a coin, if it is ours."""
        self._count_out(outpoint)
        coin = self._unspent.pop(outpoint, None)
        self._outpoints_apart.pop(outpoint, None)
        if coin is not None:
            self._store.put_coin(outpoint, replace(coin, spender=spender, spent_height=height))
        if outpoint in self._set_aside:
            self.take_back(outpoint)

    def unspend(self, outpoint: OutPoint, spender: TxId) -> None:
        """Take back `spend`."""
        coin = self._store.coin(outpoint)
        if coin is not None and coin.spender == spender:
            self.put(outpoint, replace(coin, spender=None, spent_height=None))

    def unconfirm(self, outpoint: OutPoint) -> None:
        """Take note that the transaction that created a coin, if it is ours, is in no block any more."""
        coin = self._unspent.get(outpoint)
        if coin is not None:
            self.put(outpoint, replace(coin, height=None))

    def _count_in(self, outpoint: OutPoint, coin: CoinRecord) -> None:
        if coin.asset is not None:
            self._of_assets.setdefault(coin.asset, {})[outpoint] = None
        elif self._is_plain(outpoint, coin):
            self._settled += coin.value
            self._in_order = None
        else:
            self._unsettled[outpoint] = None

    def _is_plain(self, outpoint: OutPoint, coin: CoinRecord) -> bool:
        """Tell whether a coin in DURE is in a block, no reward, and ours alone: nothing but a payment changes that."""
        return (
            coin.asset is None
            and coin.height is not None
            and not coin.coinbase
            and outpoint not in self._outpoints_apart
        )

    def _count_out(self, outpoint: OutPoint) -> None:
        coin = self._unspent.get(outpoint)
        if coin is not None and coin.asset is not None:
            held = self._of_assets[coin.asset]
            del held[outpoint]
            if not held:
                del self._of_assets[coin.asset]
        elif outpoint in self._unsettled:
            del self._unsettled[outpoint]
        elif coin is not None:
            self._settled -= coin.value
            self._in_order = None

    # What its owner wants

    def aside(self) -> list[OutPoint]:
        """Return the coins that are set aside, in the order in which that was done."""
        return list(self._set_aside)

    def set_aside(self, outpoint: OutPoint, *, for_good: bool) -> None:
        """Let no payment use a coin until `take_back`; durable with the next step, if it is for good."""
        self._set_aside[outpoint] = for_good
        if for_good:
            self._store.put_aside(outpoint, aside=True)

    def take_back(self, outpoint: OutPoint) -> None:
        """Undo `set_aside`."""
        if self._set_aside.pop(outpoint):
            self._store.put_aside(outpoint, aside=False)

    def _held_back(self, outpoint: OutPoint) -> bool:
        """Tell whether a coin is set aside, or kept for a transaction that waits for an approval."""
        return outpoint in self._set_aside or outpoint in self._kept

    # What they are worth

    def listed(self, next_height: int) -> Iterator[ListedCoin]:
        """Yield the coins that are there, those that cannot be spent now included.

        Args:
            next_height: of the block that a payment would be in.
        """
        for outpoint, coin, chain in self._with_chains():
            yield ListedCoin(
                outpoint=outpoint,
                value=coin.value,
                lock=coin.lock,
                height=coin.height,
                coinbase=coin.coinbase,
                mature=self.is_mature(coin, next_height),
                safe=chain is not None,
                aside=self._held_back(outpoint),
            )

    def count(self) -> int:
        """How many are unspent, those that are pending included."""
        return sum(1 for _ in self._counting())

    def balances(self, next_height: int) -> Balances:
        """Return the sums, for a payment that would be in a block of `next_height`."""
        confirmed, locked = self._settled, 0
        for outpoint in self._pending.spent():
            confirmed -= self._settled_value(outpoint)
        for outpoint in dict.fromkeys((*self._set_aside, *self._kept)):
            if not self._pending.spends(outpoint):
                confirmed -= self._settled_value(outpoint)
                locked += self._settled_value(outpoint)
        change = pending = immature = 0
        for outpoint, coin, chain in self._with_chains(self._unsettled):
            if chain is None:
                pending += coin.value
            elif not self.is_mature(coin, next_height):
                immature += coin.value
            elif self._held_back(outpoint):
                locked += coin.value
            elif coin.height is None:
                change += coin.value
            else:
                confirmed += coin.value
        return Balances(Amount(confirmed), Amount(change), Amount(pending), Amount(immature), Amount(locked))

    def _settled_value(self, outpoint: OutPoint) -> int:
        coin = None if outpoint in self._unsettled else self._unspent.get(outpoint)
        return 0 if coin is None or coin.asset is not None else coin.value

    def held(self) -> dict[AssetId, AssetSums]:
        """Return how much is there of each asset and authority, in the order of their ids."""
        sums: dict[AssetId, AssetSums] = {}
        for asset in sorted(self._of_assets):
            confirmed = change = pending = waiting = 0
            for outpoint, coin, chain in self._with_chains(self._of_assets[asset]):
                if chain is None:
                    pending += coin.value
                elif self._held_back(outpoint):
                    waiting += coin.value
                elif coin.height is None:
                    change += coin.value
                else:
                    confirmed += coin.value
            if confirmed or change or pending or waiting:
                sums[asset] = AssetSums(Amount(confirmed), Amount(change), Amount(pending), Amount(waiting))
        return sums

    def spendable_of(self, asset: AssetId) -> list[SpendableCoin]:
        """Return the coins of an asset, or of an authority, that a payment may use: confirmed or our own change."""
        return [
            as_spendable(outpoint, coin, chain)
            for outpoint, coin, chain in self._with_chains(self._of_assets.get(asset, {}))
            if chain is not None and not self._held_back(outpoint)
        ]

    def spendable(self, next_height: int) -> list[SpendableCoin]:
        """Return the coins that a payment may use: confirmed or our own change, mature, and not set aside."""
        return [
            as_spendable(outpoint, coin, chain)
            for outpoint, coin, chain in self._with_chains()
            if chain is not None and not self._held_back(outpoint) and self.is_mature(coin, next_height)
        ]

    def settled(self, next_height: int) -> list[SpendableCoin]:
        """Return those of `spendable` that are in a block, the largest first: the first choice of a payment.

        Between two blocks their order stays, whatever is paid: so a payment only passes over those that are spent.
        """
        if self._in_order is None:
            self._in_order = in_order(
                as_spendable(outpoint, coin, 0)
                for outpoint, coin in self._unspent.items()
                if self._is_plain(outpoint, coin)
            )
        spent, aside, kept = self._pending.spent(), self._set_aside, self._kept
        found = [
            coin
            for coin in self._in_order
            if coin.outpoint not in spent and coin.outpoint not in aside and coin.outpoint not in kept
        ]
        mined = [outpoint for outpoint in self._unsettled if self._unspent[outpoint].height is not None]
        rewards = [
            as_spendable(outpoint, coin, 0)
            for outpoint, coin in self._counting(mined)
            if self.is_mature(coin, next_height) and not self._held_back(outpoint)
        ]
        return in_order([*found, *rewards]) if rewards else found

    def is_apart(self, lock: LockId) -> bool:
        """Tell whether the coins of a lock are watched, but are not ours alone."""
        return lock in self._apart

    def watched_apart(self) -> Iterator[tuple[OutPoint, CoinRecord]]:
        """Yield the coins that are there at the locks apart, in no order that means anything."""
        for outpoint in self._outpoints_apart:
            if self._is_there(outpoint, self._unspent[outpoint]):
                yield outpoint, self._unspent[outpoint]

    def ever_at(self, lock: LockId) -> list[OutPoint]:
        """Return all coins that ever lay at a lock apart, spent or not, in no order that means anything."""
        return list(self._ever_apart.get(lock, ()))

    def behind(self, core: Core) -> list[SpendableCoin] | None:
        """Return the coins that a transaction of the wallet spends, in its order; None unless all are ours."""
        found: list[SpendableCoin] = []
        for outpoint in core.inputs:
            coin = self.find_own(outpoint)
            if coin is None:
                return None
            found.append(as_spendable(outpoint, coin, self._chain(outpoint, coin) or 0))
        return found

    def _counting(self, among: Iterable[OutPoint] | None = None) -> Iterator[tuple[OutPoint, CoinRecord]]:
        """Yield the coins that are there, all or some of them, but for those at locks apart."""
        chosen = self._unspent.items() if among is None else ((each, self._unspent[each]) for each in among)
        for outpoint, coin in chosen:
            if outpoint not in self._outpoints_apart and self._is_there(outpoint, coin):
                yield outpoint, coin

    def _is_there(self, outpoint: OutPoint, coin: CoinRecord) -> bool:
        """Tell whether no pending transaction spends a coin, and none that does not count made it."""
        return not self._pending.spends(outpoint) and (coin.height is not None or self._pending.counts(outpoint.txid))

    def _with_chains(
        self, among: Iterable[OutPoint] | None = None
    ) -> Iterator[tuple[OutPoint, CoinRecord, int | None]]:
        """Yield coins that are there, each with its unconfirmed chain; None unless all of that is ours.

        Args:
            among: which; without it all coins in DURE.
        """
        chains: dict[TxId, int | None] = {}
        for outpoint, coin in self._counting(among):
            if among is None and coin.asset is not None:
                continue
            if coin.height is not None:
                yield outpoint, coin, 0
                continue
            if outpoint.txid not in chains:
                chains[outpoint.txid] = self._chain(outpoint, coin)
            yield outpoint, coin, chains[outpoint.txid]

    def _chain(self, outpoint: OutPoint, coin: CoinRecord) -> int | None:
        """Return the unconfirmed transactions that a coin ends; None unless all of them are ours."""
        if coin.height is not None:
            return 0
        ancestors = self._pending.ancestors(outpoint.txid)
        return len(ancestors) if all(map(self._ours_alone, ancestors)) else None

    def _ours_alone(self, pending: PendingTx) -> bool:
        """Tell whether nobody else can sign for a coin that a transaction spends, and so replace it."""
        inputs = pending.transaction.core.inputs
        return pending.record.ours and all(self.find_own(outpoint) is not None for outpoint in inputs)

    def is_mature(self, coin: CoinRecord, next_height: int) -> bool:
        """Tell whether a block of `next_height` may spend a coin."""
        return not coin.coinbase or coin.height is None or next_height >= coin.height + self._maturity


def as_spendable(outpoint: OutPoint, coin: CoinRecord, chain: int) -> SpendableCoin:
    """Return a coin as a payment uses it, that ends so many unconfirmed transactions."""
    return SpendableCoin(outpoint, coin.value, coin.lock, coin.height, coin.coinbase, chain, coin.asset)


def in_order(coins: Iterable[SpendableCoin]) -> list[SpendableCoin]:
    """Return coins, the largest first; among equals by their outpoints."""
    return sorted(coins, key=lambda coin: (-coin.value, coin.outpoint.txid, coin.outpoint.index))
