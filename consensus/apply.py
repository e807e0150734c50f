"""Blocks as arithmetic on coins and assets: what one adds, takes and changes, and how to take it back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from consensus.assets import Assets, asset_effects, assets_of_transaction
from consensus.errors import ConsensusError, Rule
from consensus.params import Params
from consensus.signatures import SignatureCheck
from consensus.slices import SLICE, Slices, whole
from consensus.state import BlockUndo, ChainState, SpendContext, StateDelta
from consensus.subsidy import block_subsidy
from consensus.types import Amount, Asset, AssetId, Block, Coin, OutPoint, Transaction
from consensus.validation import check_spends, transaction_fee


class AppliedBlock(NamedTuple):
    """What follows from a block that is valid if `checks` hold."""

    delta: StateDelta
    undo: BlockUndo
    checks: list[SignatureCheck]
    """In the order of the transactions. If one fails, the block breaks `BAD_SIGNATURE`."""
    fees: Amount
    """Of all transactions, in grain."""


def assets_of_block(block: Block) -> Iterator[AssetId]:
    """Yield the ids that a block itself names, repeats included: its coins may name more."""
    for tx in block.transactions:
        yield from assets_of_transaction(tx)


def apply_block(
    params: Params, parent: ChainState, block: Block, coins: Mapping[OutPoint, Coin], assets: Assets
) -> AppliedBlock:
    """Check a block against its parent's state and what it spends and names; return what it changes.

    Args:
        parent: the state before the block. `check_header` and `check_block` have passed.
        coins: those of the chain up to `parent` that the block names, where they exist.
        assets: the records there of all that `assets_of_block`, and `assets_of_coins` of `coins`, name.

    Raises:
        ConsensusError: with the rule that makes the block invalid.
    """
    return whole(apply_block_in_slices(params, parent, block, coins, assets))


def apply_block_in_slices(
    params: Params, parent: ChainState, block: Block, coins: Mapping[OutPoint, Coin], assets: Assets
) -> Slices[AppliedBlock]:
    """Do `apply_block`, in slices. Nobody may change `coins` and `assets` meanwhile."""
    height = parent.height + 1
    coinbase, *others = block.transactions
    if coinbase.core.inputs[0].index != height:
        raise ConsensusError(Rule.COINBASE_HEIGHT, named=coinbase.core.inputs[0].index, height=height)
    context = SpendContext(height, parent.median_time)
    spent: dict[OutPoint, Coin] = {}
    created: dict[OutPoint, Coin] = {}
    known = dict(assets)
    changed: dict[AssetId, Asset | None] = {}
    checks: list[SignatureCheck] = []
    fees = 0
    _create(created, coinbase, height, coinbase=True)
    for place, tx in enumerate(others, 1):
        inputs = _find(tx, coins, spent, created)
        fees += transaction_fee(params, height, tx, inputs)
        effects = asset_effects(tx, inputs, known)
        checks += check_spends(params, context, tx, inputs, effects.approvals)
        if effects.records:
            known |= effects.records
            changed |= effects.records
        # A coin made and spent within the block leaves no trace.
        spent |= {outpoint: coin for outpoint, coin in inputs.items() if created.pop(outpoint, None) is None}
        _create(created, tx, height, coinbase=False)
        if place % SLICE == 0:
            yield
    _check_coinbase_value(params, height, coinbase, fees)
    undo = BlockUndo(tuple(spent.items()), tuple((asset, assets.get(asset)) for asset in changed))
    return AppliedBlock(StateDelta(spent, created, changed), undo, checks, Amount(fees))


def _find(
    tx: Transaction,
    coins: Mapping[OutPoint, Coin],
    spent: Mapping[OutPoint, Coin],
    created: Mapping[OutPoint, Coin],
) -> dict[OutPoint, Coin]:
    """Return the coins that a transaction names, where they are still there to be spent."""
    found: dict[OutPoint, Coin] = {}
    for outpoint in tx.core.inputs:
        coin = created.get(outpoint)
        if coin is None and outpoint not in spent:
            coin = coins.get(outpoint)
        if coin is not None:
            found[outpoint] = coin
    return found


def _create(created: dict[OutPoint, Coin], tx: Transaction, height: int, *, coinbase: bool) -> None:
    txid = tx.txid
    for index, output in enumerate(tx.core.outputs):
        created[OutPoint(txid, index)] = Coin(output, height, coinbase)


def _check_coinbase_value(params: Params, height: int, coinbase: Transaction, fees: int) -> None:
    allowed = block_subsidy(params, height) + fees
    paid = sum(output.value for output in coinbase.core.outputs)
    if paid > allowed:
        raise ConsensusError(Rule.COINBASE_VALUE, paid=paid, allowed=allowed)


def revert_block(block: Block, height: int, undo: BlockUndo) -> StateDelta:
    """Return the change that takes a block of `height` back: apply, then revert, is the identity."""
    created: dict[OutPoint, Coin] = {}
    for place, tx in enumerate(block.transactions):
        if place:
            for outpoint in tx.core.inputs:
                created.pop(outpoint, None)
        _create(created, tx, height, coinbase=place == 0)
    return StateDelta(spent=created, created=dict(undo.spent), assets=dict(undo.assets))
