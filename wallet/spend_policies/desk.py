"""The remembered policies as their owner sees them: what lies there, what leaves a vault, and spends that begin."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from consensus.codec import decode_policy
from consensus.errors import ConsensusError
from consensus.params import Params
from consensus.spend_policy import check_policy
from consensus.types import Amount, AssetId, LockId, OutPoint, Policy, Transaction
from wallet.addresses import AddressBook, Branch
from wallet.cosigning import Cosigner
from wallet.errors import WalletDataError, WalletError
from wallet.ledger import Ledger
from wallet.ports import Outside
from wallet.records import CoinRecord
from wallet.spend_policies.book import KnownPolicy, PolicyBook
from wallet.spend_policies.branches import branches_of
from wallet.spend_policies.spends import PolicySpends

KEY_LABEL = "key of a policy"


class PolicyCoin(NamedTuple):
    """A coin at a remembered policy."""

    outpoint: OutPoint
    value: Amount
    height: int | None
    """None while its transaction is in no block."""
    mature: bool
    """False: a reward that is too young."""


class PolicyAsset(NamedTuple):
    """What lies at a remembered policy of one asset or authority, in smallest units."""

    asset: AssetId
    confirmed: Amount
    pending: Amount


class Holdings(NamedTuple):
    """What lies at a policy, each coin in one of the sums; coins that carry an asset in none of those in DURE."""

    coins: tuple[PolicyCoin, ...]
    confirmed: Amount
    pending: Amount
    immature: Amount
    assets: tuple[PolicyAsset, ...]
    """In the order of their ids."""


class Withdrawal(NamedTuple):
    """Coins on their way out of a vault: an alarm, unless their owner sent them there."""

    vault: KnownPolicy
    lock: LockId
    coin: PolicyCoin
    free_at: int | None
    """The height of the first block in which whoever started it can take them; None while it is not known."""


class PolicyDesk:
    """Reads the ledger's coins at policies, and adds to the policies. What it changes is durable when it returns."""

    def __init__(
        self,
        params: Params,
        ledger: Ledger,
        addresses: AddressBook,
        policies: PolicyBook,
        cosigner: Cosigner,
        outside: Outside,
    ) -> None:
        self._ledger = ledger
        self._addresses = addresses
        self._policies = policies
        self.spends = PolicySpends(params, ledger, addresses, policies, cosigner, outside)

    # Keys and policies

    def new_key(self, label: str = "") -> bytes:
        """Hand out a public key for a policy, 33 bytes, that was never handed out; works while locked.

        It follows from the words like all others, from a list of its own.

        Raises:
            WalletError: the label is too long.
        """
        return self._addresses.public_key(self._addresses.hand_out(Branch.POLICY, label or KEY_LABEL))

    def remember(self, name: str, policy: Policy, roles: Mapping[bytes, str] | None = None) -> KnownPolicy:
        """Watch a policy's coins from now on; what was paid to it before is found by a rescan.

        Raises:
            WalletError: see `PolicyBook.add`.
        """
        known = self._policies.add(name, policy, roles)
        self._ledger.flush()
        return known

    def restore(self, saved: Sequence[tuple[str, bytes, tuple[tuple[bytes, str], ...]]]) -> None:
        """Remember the policies of a backup; as part of the caller's step.

        Raises:
            WalletDataError: one cannot be read, or would not have been remembered.
        """
        for name, raw, roles in saved:
            try:
                policy = decode_policy(raw)
                check_policy(policy)
                self._policies.add(name, policy, dict(roles))
            except (ConsensusError, WalletError) as error:
                raise WalletDataError(f"the backup is damaged: {error}") from None

    def __iter__(self) -> Iterator[KnownPolicy]:
        """Yield the remembered policies, in the order in which they were added."""
        return iter(self._policies)

    def find(self, lock: LockId) -> KnownPolicy | None:
        """Return the policy of a lock."""
        return self._policies.find(lock)

    def named(self, name: str) -> KnownPolicy | None:
        """Return the policy of a name."""
        return self._policies.named(name)

    def own_keys(self, policy: Policy) -> tuple[bytes, ...]:
        """Return the keys of a policy that are this wallet's."""
        return self._policies.own_keys(policy)

    # Coins

    def holdings(self, lock: LockId | None = None) -> Holdings:
        """Return what lies at one policy, or at all of them."""
        coins = [coin for at, coin in self._coins() if lock is None or at == lock]
        return _summed(coins, [record for record in self._assets() if lock in (None, record.lock)])

    def all_holdings(self) -> list[tuple[KnownPolicy, Holdings]]:
        """Return what lies at each policy, in the order in which they were added."""
        coins: dict[LockId, list[PolicyCoin]] = {}
        for lock, coin in self._coins():
            coins.setdefault(lock, []).append(coin)
        assets: dict[LockId, list[CoinRecord]] = {}
        for record in self._assets():
            assets.setdefault(record.lock, []).append(record)
        return [(known, _summed(coins.get(known.lock, []), assets.get(known.lock, []))) for known in self._policies]

    def _assets(self) -> Iterator[CoinRecord]:
        return (record for _, record in self._ledger.coins.watched_apart() if record.asset is not None)

    def _coins(self) -> Iterator[tuple[LockId, PolicyCoin]]:
        next_height = self._ledger.cursor.height + 1
        for outpoint, record in self._ledger.coins.watched_apart():
            if record.asset is None:
                mature = self._ledger.coins.is_mature(record, next_height)
                yield record.lock, PolicyCoin(outpoint, record.value, record.height, mature)

    def withdrawals(self) -> list[Withdrawal]:
        """Return what is on its way out of a vault now, the oldest first."""
        found = []
        for lock, coin in self._coins():
            vault = self._policies.led_to(lock)
            if vault is not None and self._came_from(coin.outpoint, vault.lock):
                way_out = self._policies.find(lock)
                found.append(Withdrawal(vault, lock, coin, _free_at(way_out, coin)))
        return sorted(found, key=lambda one: _by_age(one.coin))

    def _came_from(self, outpoint: OutPoint, vault: LockId) -> bool:
        record = self._ledger.store.transaction(outpoint.txid)
        spent = [] if record is None else map(self._ledger.coins.find, record.transaction.core.inputs)
        return any(coin is not None and coin.lock == vault for coin in spent)

    # Spends

    def record(self, tx: Transaction) -> bool:
        """Take in a finished spend before it is handed to the node, which is offered it until it is in a block.

        Returns:
            Whether it spends anything that this wallet watches, and was not known before.
        """
        new = self._ledger.store.transaction(tx.txid) is None
        if not new or all(self._ledger.coins.find(outpoint) is None for outpoint in tx.core.inputs):
            return False
        self._ledger.add_own(tx)
        self._ledger.flush()
        return True


def _summed(coins: Sequence[PolicyCoin], carriers: Sequence[CoinRecord]) -> Holdings:
    confirmed, pending = Counter[AssetId](), Counter[AssetId]()
    for record in carriers:
        if record.asset is not None:
            (pending if record.height is None else confirmed)[record.asset] += record.value
    return Holdings(
        tuple(sorted(coins, key=_by_age)),
        confirmed=Amount(sum(coin.value for coin in coins if coin.height is not None and coin.mature)),
        pending=Amount(sum(coin.value for coin in coins if coin.height is None)),
        immature=Amount(sum(coin.value for coin in coins if not coin.mature)),
        assets=tuple(
            PolicyAsset(asset, Amount(confirmed[asset]), Amount(pending[asset]))
            for asset in sorted(confirmed.keys() | pending.keys())
        ),
    )


def _by_age(coin: PolicyCoin) -> tuple[int, bytes, int]:
    """Sort coins by it: the oldest first, those in no block last."""
    return coin.height or 2**63, coin.outpoint.txid, coin.outpoint.index


def _free_at(way_out: KnownPolicy | None, coin: PolicyCoin) -> int | None:
    if way_out is None or coin.height is None:
        return None
    delays = [branch.older for branch in branches_of(way_out.policy).all if branch.older]
    return coin.height + min(delays) if delays else None
