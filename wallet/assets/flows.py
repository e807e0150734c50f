"""What a transaction does with each asset, and what of it one wallet gives and gets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from consensus.assets import Approval, Assets, asset_effects, asset_id, assets_of_transaction, authority_id
from consensus.types import (
    Asset,
    AssetId,
    Attestation,
    Coin,
    Core,
    LockId,
    NewAsset,
    Output,
    Reissue,
    SupplyKind,
    Transaction,
)


class Flow(NamedTuple):
    """One asset, or one authority, in smallest units."""

    spent: int
    created: int
    paid_out: int
    burned: int

    @property
    def balanced(self) -> bool:
        """Whether as much goes as comes, as the rules demand."""
        return self.spent + self.created == self.paid_out + self.burned


class Stake(NamedTuple):
    """What a transaction takes from somebody and brings him, in grain or smallest units."""

    gives: int
    gets: int


def fetch_records(
    core: Core, spent: Iterable[Output], fetch: Callable[[Iterable[AssetId]], Mapping[AssetId, Asset]]
) -> dict[AssetId, Asset | None]:
    """Return what the rules ask for: a record, or None, of each id that a transaction names or spends."""
    names = dict.fromkeys(assets_of_transaction(Transaction(core, ())))
    names |= dict.fromkeys(output.asset for output in spent if output.asset is not None)
    found = fetch(names)
    return {name: found.get(name) for name in names}


def records_of(core: Core, spent: Iterable[Output], records: Mapping[AssetId, Asset]) -> dict[AssetId, Asset | None]:
    """Do `fetch_records` out of records that are at hand."""
    return fetch_records(core, spent, lambda _names: records)


def approvals_of(core: Core, spent: Sequence[Output], records: Assets) -> Sequence[Approval]:
    """Return the approvals that a transaction takes.

    Args:
        spent: the outputs that its inputs name, in their order.
        records: what `fetch_records` returns.

    Raises:
        ConsensusError: as `asset_effects`.
    """
    # How old a coin is, or whether it is a reward, does not matter to its asset.
    coins = {outpoint: Coin(output, 0, False) for outpoint, output in zip(core.inputs, spent, strict=True)}
    return asset_effects(Transaction(core, ()), coins, records).approvals


def flows(core: Core, spent: Sequence[Output]) -> dict[AssetId, Flow]:
    """Return what happens to each asset and authority, in the order of their ids; also of one that is only attested.

    Args:
        core: it has an input.
        spent: the outputs that its inputs name.
    """
    coming, created, going, burned = (Counter[AssetId]() for _ in range(4))
    for output in spent:
        if output.asset is not None:
            coming[output.asset] += output.value
    for output in core.outputs:
        if output.asset is not None:
            going[output.asset] += output.value
    for asset, amount in _created(core):
        created[asset] += amount
    for burn in core.burns:
        burned[burn.id] += burn.amount
    attested = {each.asset for each in core.issuances if isinstance(each, Attestation)}
    named = sorted(coming.keys() | created.keys() | going.keys() | burned.keys() | attested)
    return {asset: Flow(coming[asset], created[asset], going[asset], burned[asset]) for asset in named}


def _created(core: Core) -> Iterator[tuple[AssetId, int]]:
    for place, issuance in enumerate(core.issuances):
        if isinstance(issuance, Reissue):
            yield issuance.asset, issuance.amount
        elif isinstance(issuance, NewAsset):
            asset = asset_id(core.inputs[0], place, issuance.definition)
            yield asset, issuance.definition.first_amount
            if issuance.definition.supply_kind != SupplyKind.FIXED:
                yield authority_id(asset), 1


def stakes(core: Core, spent: Sequence[Output], is_his: Callable[[LockId], bool]) -> dict[AssetId | None, Stake]:
    """Return what somebody gives and gets: of DURE (None), which comes first, and of each asset and authority.

    Args:
        is_his: tells which locks are his.
    """
    gives, gets = Counter[AssetId | None](), Counter[AssetId | None]()
    for output in spent:
        if is_his(output.lock):
            gives[output.asset] += output.value
    for output in core.outputs:
        if is_his(output.lock):
            gets[output.asset] += output.value
    assets = sorted(asset for asset in gives.keys() | gets.keys() if asset is not None)
    return {asset: Stake(gives[asset], gets[asset]) for asset in (None, *assets)}
