"""Makers of assets and of transactions that carry them, for tests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, MutableMapping, Sequence

from msgspec.structs import replace

from consensus.apply import AppliedBlock, apply_block, assets_of_block
from consensus.assets import Approval, asset_effects, asset_id, assets_of_coins, assets_of_transaction
from consensus.errors import ConsensusError
from consensus.params import REGTEST, Params
from consensus.state import ChainState, StateDelta
from consensus.types import (
    Amount,
    Asset,
    AssetId,
    Attestation,
    Block,
    Burn,
    Coin,
    Core,
    Definition,
    LockId,
    NewAsset,
    OutPoint,
    Output,
    Policy,
    Reissue,
    SupplyKind,
    Transaction,
)
from tests.support.rules import lock, witnesses_for

Coins = Mapping[OutPoint, Coin]
Book = Mapping[AssetId, Asset]
"""The records of assets that exist."""


def define(kind: SupplyKind = SupplyKind.FIXED, first: int | None = None, **more: object) -> Definition:
    """A definition; by default 1 of a fixed supply, 0 of another."""
    amount = int(kind is SupplyKind.FIXED) if first is None else first
    given = {"decimals": 0, "auditor": None, "controller": None, "content": None, "collection": None, "metadata": b""}
    if kind is SupplyKind.RESERVED:
        given["auditor"] = lock(9)
    return Definition(kind, Amount(amount), **(given | more))  # type: ignore[arg-type]


def hold(n: int, asset: AssetId, amount: int = 1) -> Output:
    """An amount of an asset for key `n`."""
    return Output(Amount(amount), lock(n), asset)


def holding(n: int, asset: AssetId, amount: int = 1, height: int = 1) -> Coin:
    return Coin(hold(n, asset, amount), height, False)


def asset_core(
    inputs: Iterable[OutPoint],
    outputs: Iterable[Output],
    issuances: Iterable[NewAsset | Reissue | Attestation] = (),
    burns: Mapping[AssetId, int] | None = None,
) -> Core:
    """A core; its burns are put in order."""
    destroyed = tuple(Burn(each, Amount(amount)) for each, amount in sorted((burns or {}).items()))
    return Core(1, tuple(inputs), tuple(outputs), tuple(issuances), destroyed, b"")


def with_output(core: Core, place: int, output: Output) -> Core:
    """The same core with another output at one place."""
    return replace(core, outputs=(*core.outputs[:place], output, *core.outputs[place + 1 :]))


def new_id(inputs: Sequence[OutPoint] | Coins, definition: Definition, position: int = 0) -> AssetId:
    """The id of an asset that a transaction of these inputs defines."""
    return asset_id(next(iter(inputs)), position, definition)


def records_for(txs: Iterable[Transaction], coins: Iterable[Coin], book: Book) -> dict[AssetId, Asset | None]:
    """What a caller of the rules fetches: every id that is named, with None where there is no record."""
    names = [*assets_of_coins(coins), *(each for tx in txs for each in assets_of_transaction(tx))]
    return {name: book.get(name) for name in names}


def approvals_of(core: Core, coins: Coins, book: Book) -> Sequence[Approval]:
    """The approvals that a transaction of this core takes; none where it breaks a rule before that matters."""
    tx = Transaction(core, ())
    try:
        return asset_effects(tx, coins, records_for([tx], coins.values(), book)).approvals
    except ConsensusError:
        return ()


def carry(
    coins: Coins,
    core: Core,
    book: Book | None = None,
    policies: Mapping[LockId, Policy] | None = None,
    *,
    params: Params = REGTEST,
) -> Transaction:
    """A transaction of this core with the signature of every lock and of every approval that it takes."""
    spent = [coins[name].output for name in core.inputs]
    approvals = approvals_of(core, coins, book or {})
    return Transaction(core, witnesses_for(spent, core, policies, params=params, approvals=approvals))


def apply(params: Params, parent: ChainState, block: Block, coins: Coins, book: Book) -> AppliedBlock:
    """Apply a block to all coins and assets of a chain, handing in what it names and no more."""
    named = [name for tx in block.transactions[1:] for name in tx.core.inputs]
    spent = {name: coins[name] for name in named if name in coins}
    names = (*assets_of_block(block), *assets_of_coins(spent.values()))
    return apply_block(params, parent, block, spent, {name: book.get(name) for name in names})


def settle(delta: StateDelta, coins: MutableMapping[OutPoint, Coin], book: MutableMapping[AssetId, Asset]) -> None:
    """Write the change of a block, or of its end, into coins and assets."""
    for outpoint in delta.spent:
        del coins[outpoint]
    coins.update(delta.created)
    for asset, record in delta.assets.items():
        if record is None:
            del book[asset]
        else:
            book[asset] = record
