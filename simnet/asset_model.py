"""Assets in the model of a chain: what each transaction creates, moves and destroys, and whether it may.

A second reading of docs/protocol.md, Assets. It counts what was issued and what was burned apart, so that their
difference can be held against the coins that are there, and shares no code with `consensus.assets`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from hashlib import sha256

from consensus.codec import encode
from consensus.signatures import SignatureCheck, verify
from consensus.spend_policy import policy_id
from consensus.types import (
    MAX_INTEGER,
    Amount,
    Asset,
    AssetId,
    Attestation,
    BlockHash,
    Coin,
    Core,
    Definition,
    Key,
    LockId,
    NewAsset,
    Output,
    Reissue,
    SupplyKind,
    Transaction,
    Witness,
)
from simnet.errors import InvariantBroken


@dataclass(frozen=True, slots=True)
class ModelAsset:
    """One asset, as a block leaves it."""

    definition: Definition
    issued: int
    """Units that were ever created on this branch."""
    burned: int
    open: bool
    """Whether the authority to issue more exists."""
    sequence: int = 0
    total: int = 0
    """Of the newest attestation."""

    @property
    def supply(self) -> int:
        """What coins must add up to."""
        return self.issued - self.burned

    @property
    def record(self) -> Asset:
        """What a node must have stored."""
        return Asset(self.definition, Amount(self.supply), self.sequence, Amount(self.total))


Ledger = dict[AssetId, ModelAsset]


def _tagged(tag: bytes, data: bytes) -> bytes:
    head = sha256(tag).digest()
    return sha256(head + head + data).digest()


@lru_cache(maxsize=4_096)
def right_of(asset: AssetId) -> AssetId:
    """Return the id of the authority over an asset."""
    return AssetId(_tagged(b"dure/authority", asset))


def follow(tx: Transaction, spent: Sequence[Output], ledger: Ledger, genesis: BlockHash) -> None:
    """Take one transaction, other than a coinbase, into the ledger.

    Args:
        spent: what its inputs name, in their order.
        genesis: what signatures commit to, beside the transaction.

    Raises:
        InvariantBroken: it creates, moves or destroys what it may not.
    """
    core = tx.core
    held = Counter[AssetId]()
    for output in spent:
        if output.asset is not None:
            held[output.asset] += output.value
    paid = Counter[AssetId]()
    for output in core.outputs:
        if output.asset is not None:
            paid[output.asset] += output.value
    if not (held or paid or core.issuances or core.burns):
        _check_witnesses(tx, spent, (), genesis)
        return
    before = dict(ledger)
    _attest(core, ledger)
    created = Counter[AssetId]()
    _reissue(core, before, ledger, held, created)
    _define(core, ledger, held, created)
    burned = Counter({burn.id: int(burn.amount) for burn in core.burns})
    for asset in {**held, **created, **paid, **burned}:
        if held[asset] + created[asset] != paid[asset] + burned[asset]:
            raise InvariantBroken(
                f"of {asset.hex()[:16]} a transaction spends {held[asset]}, creates {created[asset]}, "
                f"pays {paid[asset]} and burns {burned[asset]}"
            )
    _burn(burned, ledger)
    _check_witnesses(tx, spent, _approvals(core, {**held, **created}, ledger), genesis)


def _attest(core: Core, ledger: Ledger) -> None:
    for issuance in core.issuances:
        if isinstance(issuance, Attestation):
            asset = ledger.get(issuance.asset)
            if asset is None or asset.definition.supply_kind != SupplyKind.RESERVED:
                raise InvariantBroken("a reserve was attested of what has none")
            if issuance.sequence <= asset.sequence:
                raise InvariantBroken(f"attestation {issuance.sequence} came after {asset.sequence}")
            ledger[issuance.asset] = replace(asset, sequence=issuance.sequence, total=issuance.total)


def _reissue(
    core: Core, before: Ledger, ledger: Ledger, held: Mapping[AssetId, int], created: Counter[AssetId]
) -> None:
    for issuance in core.issuances:
        if not isinstance(issuance, Reissue):
            continue
        name = issuance.asset
        if name not in before:
            raise InvariantBroken("more was issued of what is no asset")
        asset = ledger[name]
        if not asset.open or not held.get(right_of(name)):
            raise InvariantBroken("more was issued without the authority to")
        asset = replace(asset, issued=asset.issued + issuance.amount)
        if asset.supply > MAX_INTEGER:
            raise InvariantBroken("there is more of an asset than can be counted")
        if asset.definition.supply_kind == SupplyKind.RESERVED and asset.supply > asset.total:
            raise InvariantBroken(f"{asset.supply} were issued, and a reserve of {asset.total} is attested")
        ledger[name] = asset
        created[name] += issuance.amount


def _define(core: Core, ledger: Ledger, held: Mapping[AssetId, int], created: Counter[AssetId]) -> None:
    for place, issuance in enumerate(core.issuances):
        if not isinstance(issuance, NewAsset):
            continue
        definition = issuance.definition
        first, kind = definition.first_amount, definition.supply_kind
        if kind == SupplyKind.RESERVED and (first or definition.auditor is None):
            raise InvariantBroken("an asset with a reserve began with a supply, or without an auditor")
        if definition.collection is not None and not held.get(right_of(definition.collection)):
            raise InvariantBroken("an asset joined a collection uninvited")
        name = AssetId(_tagged(b"dure/asset", encode((core.inputs[0], place, definition))))
        if name in ledger:
            raise InvariantBroken("an asset was defined twice")
        ledger[name] = ModelAsset(definition, first, 0, kind != SupplyKind.FIXED)
        created[name] += first
        created[right_of(name)] += kind != SupplyKind.FIXED


def _burn(burned: Mapping[AssetId, int], ledger: Ledger) -> None:
    if not burned:
        return
    rights = {right_of(name): name for name in ledger}
    for each, amount in burned.items():
        if each in ledger:
            ledger[each] = replace(ledger[each], burned=ledger[each].burned + amount)
        elif each in rights:
            ledger[rights[each]] = replace(ledger[rights[each]], open=False)
        else:
            raise InvariantBroken("what is no asset was burned")


# --- approvals ------------------------------------------------------------------------------------------------


def _approvals(core: Core, moved: Iterable[AssetId], ledger: Ledger) -> list[tuple[AssetId, int, LockId]]:
    """Return asset, role (0 controller, 1 auditor) and policy of each approval that is due, in order."""
    due: list[tuple[AssetId, int, LockId]] = []
    for name in moved:
        asset = ledger.get(name)
        if asset is not None and asset.definition.controller is not None:
            due.append((name, 0, asset.definition.controller))
    for issuance in core.issuances:
        if isinstance(issuance, Attestation):
            auditor = ledger[issuance.asset].definition.auditor
            if auditor is not None:
                due.append((issuance.asset, 1, auditor))
    return sorted(due)


def _check_witnesses(
    tx: Transaction, spent: Sequence[Output], due: Sequence[tuple[AssetId, int, LockId]], genesis: BlockHash
) -> None:
    """Check that whoever holds the coins, and whoever has to approve, is among the witnesses.

    Of a policy that is one key the signature is verified; that others hold is left to the rules.
    """
    locks = list(dict.fromkeys(output.lock for output in spent))
    if len(tx.witnesses) != len(locks) + len(due):
        raise InvariantBroken(f"{len(tx.witnesses)} witnesses, for {len(locks)} locks and {len(due)} approvals")
    message = _tagged(b"dure/tx", encode((genesis, tx.core, tuple(spent))))
    for lock, witness in zip(locks, tx.witnesses, strict=False):
        _check_witness(witness, lock, _tagged(b"dure/sign", message + lock))
    for (asset, _, policy), witness in zip(due, tx.witnesses[len(locks) :], strict=True):
        _check_witness(witness, policy, _tagged(b"dure/approve", message + asset + policy))


def _check_witness(witness: Witness, policy: LockId, digest: bytes) -> None:
    if policy_id(witness.policy) != policy:
        raise InvariantBroken("a witness is another's than the one that is needed")
    if isinstance(witness.policy, Key) and not verify(
        SignatureCheck(digest, witness.policy.key, witness.satisfactions[0])
    ):
        raise InvariantBroken("a signature does not hold")


# --- sums -----------------------------------------------------------------------------------------------------


def check_sums(coins: Iterable[Coin], ledger: Ledger) -> int:
    """Check that coins add up to what was issued less what was burned, of each asset; return the sum of DURE.

    Raises:
        InvariantBroken: they do not; an authority exists twice, or after it was burned; a work of which there is one
            has two coins.
    """
    sums, counts = Counter[AssetId | None](), Counter[AssetId | None]()
    for coin in coins:
        sums[coin.output.asset] += coin.output.value
        counts[coin.output.asset] += 1
    dure = sums.pop(None, 0)
    for name, asset in ledger.items():
        there, right = sums.pop(name, 0), sums.pop(right_of(name), 0)
        if there != asset.supply:
            raise InvariantBroken(
                f"{there} of {name.hex()[:16]} in coins, {asset.issued} issued, {asset.burned} burned"
            )
        if right != asset.open:
            raise InvariantBroken(f"the authority over {name.hex()[:16]} exists {right} times")
        if asset.definition.supply_kind == SupplyKind.FIXED and asset.issued == 1 and counts[name] > 1:
            raise InvariantBroken(f"of the one {name.hex()[:16]} there are {counts[name]} coins")
    if sums:
        raise InvariantBroken(f"coins carry what is no asset: {next(iter(sums))!r}")
    return dure
