"""Native assets: what a transaction creates, moves and destroys, and whose approval that takes.

The records of assets are part of the chain's state, as coins are: fetched by the caller, handed in, and
returned where they change. An authority is no asset: it has no record, and is never controlled.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import IntEnum
from typing import NamedTuple

from msgspec.structs import replace

from consensus.codec import encode
from consensus.errors import ConsensusError, Rule
from consensus.hashing import tagged_hash
from consensus.types import (
    MAX_INTEGER,
    Amount,
    Asset,
    AssetId,
    Attestation,
    Coin,
    Core,
    Definition,
    LockId,
    NewAsset,
    OutPoint,
    Output,
    Reissue,
    SupplyKind,
    Transaction,
)

Assets = Mapping[AssetId, Asset | None]
"""Records by id: None where it was looked for, and there is none. A name that is missing is a mistake of the caller."""


def asset_id(first_input: OutPoint, position: int, definition: Definition) -> AssetId:
    """Return the id of an asset that the transaction of `first_input` defines at `position` of its issuances."""
    return AssetId(tagged_hash("dure/asset", encode((first_input, position, definition))))


def authority_id(asset: AssetId) -> AssetId:
    """Return the id under which the right to issue more of an asset is held."""
    return AssetId(tagged_hash("dure/authority", asset))


class Role(IntEnum):
    """In which matter a policy approves, in the order of their witnesses."""

    CONTROLLER = 0
    AUDITOR = 1


class Approval(NamedTuple):
    """A witness that a transaction needs, beside those of its locks; they sort in the order of the witnesses."""

    asset: AssetId
    role: Role
    policy: LockId
    """The id of the policy that approves, as the definition fixed it."""


class AssetEffects(NamedTuple):
    """What a transaction does to assets, beyond its coins."""

    records: dict[AssetId, Asset]
    """Those that are new or changed, as they are after it."""
    approvals: Sequence[Approval]
    """All that it needs, in order."""


NO_EFFECTS = AssetEffects({}, ())


# Alone


def check_issuances(core: Core) -> None:
    """Check what can be said of issuances and burns without coins and records.

    Raises:
        ConsensusError: `ISSUED_TWICE`, `DEFINITION_AMOUNT`, `DEFINITION_AUDITOR` or `BURN_ORDER`.
    """
    named: set[tuple[type, AssetId]] = set()
    for issuance in core.issuances:
        if isinstance(issuance, NewAsset):
            _check_definition(issuance.definition)
            continue
        name = (type(issuance), issuance.asset)
        if name in named:
            raise ConsensusError(Rule.ISSUED_TWICE, asset=issuance.asset)
        named.add(name)
    for one, following in zip(core.burns, core.burns[1:], strict=False):
        if one.id >= following.id:
            raise ConsensusError(Rule.BURN_ORDER, id=following.id)


def _check_definition(definition: Definition) -> None:
    kind, amount = definition.supply_kind, definition.first_amount
    if (kind == SupplyKind.FIXED and amount == 0) or (kind == SupplyKind.RESERVED and amount != 0):
        raise ConsensusError(Rule.DEFINITION_AMOUNT, supply_kind=kind, first_amount=amount)
    if (kind == SupplyKind.RESERVED) != (definition.auditor is not None):
        raise ConsensusError(Rule.DEFINITION_AUDITOR, supply_kind=kind)


# With coins and records


def assets_of_transaction(tx: Transaction) -> Iterable[AssetId]:
    """Yield the ids that a transaction itself names, of assets and authorities, repeats included."""
    for output in tx.core.outputs:
        if output.asset is not None:
            yield output.asset
    for burn in tx.core.burns:
        yield burn.id
    yield from assets_of_issuances(tx.core.issuances)


def assets_of_issuances(issuances: Iterable[NewAsset | Reissue | Attestation]) -> Iterable[AssetId]:
    """Yield the ids of assets that issuances change, repeats included: whose records, as they are, decide on them."""
    for issuance in issuances:
        if not isinstance(issuance, NewAsset):
            yield issuance.asset


def defined_by(tx: Transaction) -> dict[AssetId, Definition]:
    """Return the assets that a transaction defines, in its order."""
    return {
        asset_id(tx.core.inputs[0], position, issuance.definition): issuance.definition
        for position, issuance in enumerate(tx.core.issuances)
        if isinstance(issuance, NewAsset)
    }


def assets_of_coins(coins: Iterable[Coin]) -> Iterable[AssetId]:
    """Yield the ids that coins carry, repeats included."""
    return (coin.output.asset for coin in coins if coin.output.asset is not None)


def asset_effects(tx: Transaction, coins: Mapping[OutPoint, Coin], assets: Assets) -> AssetEffects:
    """Check that a transaction conserves every asset and creates none without the right to; return its effects.

    Args:
        tx: other than a coinbase; `check_transaction` has passed.
        coins: all that its inputs name.
        assets: the records before it of all that `assets_of_transaction` and `assets_of_coins` name.

    Raises:
        ConsensusError: of issuances `UNKNOWN_ASSET`, `NOT_RESERVED`, `ATTESTATION_SEQUENCE`, `NO_AUTHORITY`,
            `SUPPLY_RANGE`, `ABOVE_RESERVE` or `COLLECTION_AUTHORITY`; then `ASSET_CONSERVATION`.
    """
    core = tx.core
    spent = [coins[outpoint].output for outpoint in core.inputs]
    held = {output.asset for output in spent if output.asset is not None}
    if not (held or core.issuances or core.burns or [None for output in core.outputs if output.asset is not None]):
        return NO_EFFECTS
    records: dict[AssetId, Asset] = {}
    created: dict[AssetId, int] = {}
    if core.issuances:
        _attest(core, assets, records)
        _reissue(core, assets, records, created, held)
        _define(core, records, created, held)
    _check_conservation(core, spent, created)
    for burn in core.burns:
        record = _record(burn.id, assets, records)
        if record is not None:
            records[burn.id] = replace(record, supply=Amount(record.supply - burn.amount))
    return AssetEffects(records, _approvals(core, held | created.keys(), assets, records))


def _record(asset: AssetId, assets: Assets, records: Mapping[AssetId, Asset]) -> Asset | None:
    return records.get(asset) or assets[asset]


def _attest(core: Core, assets: Assets, records: dict[AssetId, Asset]) -> None:
    for issuance in core.issuances:
        if isinstance(issuance, Attestation):
            record = assets[issuance.asset]
            if record is None:
                raise ConsensusError(Rule.UNKNOWN_ASSET, asset=issuance.asset)
            if record.definition.supply_kind != SupplyKind.RESERVED:
                raise ConsensusError(Rule.NOT_RESERVED, asset=issuance.asset)
            if issuance.sequence <= record.sequence:
                raise ConsensusError(Rule.ATTESTATION_SEQUENCE, sequence=issuance.sequence, stored=record.sequence)
            records[issuance.asset] = replace(record, sequence=issuance.sequence, total=issuance.total)


def _reissue(
    core: Core, assets: Assets, records: dict[AssetId, Asset], created: dict[AssetId, int], held: set[AssetId]
) -> None:
    for issuance in core.issuances:
        if isinstance(issuance, Reissue):
            asset = issuance.asset
            record = _record(asset, assets, records)
            if record is None:
                raise ConsensusError(Rule.UNKNOWN_ASSET, asset=asset)
            if authority_id(asset) not in held:
                raise ConsensusError(Rule.NO_AUTHORITY, asset=asset)
            supply = record.supply + issuance.amount
            if supply > MAX_INTEGER:
                raise ConsensusError(Rule.SUPPLY_RANGE, supply=supply, limit=MAX_INTEGER)
            if record.definition.supply_kind == SupplyKind.RESERVED and supply > record.total:
                raise ConsensusError(Rule.ABOVE_RESERVE, supply=supply, attested=record.total)
            records[asset] = replace(record, supply=Amount(supply))
            created[asset] = issuance.amount


def _define(core: Core, records: dict[AssetId, Asset], created: dict[AssetId, int], held: set[AssetId]) -> None:
    for position, issuance in enumerate(core.issuances):
        if isinstance(issuance, NewAsset):
            definition = issuance.definition
            if definition.collection is not None and authority_id(definition.collection) not in held:
                raise ConsensusError(Rule.COLLECTION_AUTHORITY, collection=definition.collection)
            asset = asset_id(core.inputs[0], position, definition)
            records[asset] = Asset(definition, definition.first_amount, 0, Amount(0))
            created[asset] = definition.first_amount
            if definition.supply_kind != SupplyKind.FIXED:
                created[authority_id(asset)] = 1


def _check_conservation(core: Core, spent: Iterable[Output], created: Mapping[AssetId, int]) -> None:
    left = dict(created)
    for output in spent:
        if output.asset is not None:
            left[output.asset] = left.get(output.asset, 0) + output.value
    for output in core.outputs:
        if output.asset is not None:
            left[output.asset] = left.get(output.asset, 0) - output.value
    for burn in core.burns:
        left[burn.id] = left.get(burn.id, 0) - burn.amount
    for asset, amount in left.items():
        if amount:
            raise ConsensusError(Rule.ASSET_CONSERVATION, asset=asset, left_over=amount)


def _approvals(
    core: Core, moved: Iterable[AssetId], assets: Assets, records: Mapping[AssetId, Asset]
) -> list[Approval]:
    """Return whose approval it takes to move, create or burn assets, and to attest a reserve.

    Args:
        moved: all that was spent or created; whatever is paid out or burned is among it, being conserved.
    """
    found: list[Approval] = []
    for asset in moved:
        record = _record(asset, assets, records)
        if record is not None and record.definition.controller is not None:
            found.append(Approval(asset, Role.CONTROLLER, record.definition.controller))
    for issuance in core.issuances:
        if isinstance(issuance, Attestation):
            auditor = records[issuance.asset].definition.auditor
            if auditor is not None:  # as in every asset that can be attested
                found.append(Approval(issuance.asset, Role.AUDITOR, auditor))
    return sorted(found)
