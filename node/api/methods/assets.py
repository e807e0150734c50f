"""Assets: what there is, who may issue more, who holds it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable
from itertools import islice
from typing import Annotated, Literal

from msgspec import UNSET, Meta

from consensus.address import encode_address
from consensus.asset_text import decode_metadata, shown
from consensus.assets import authority_id
from consensus.codec import display_hash
from consensus.types import Asset, AssetId, LockId, SupplyKind
from node.api import views
from node.api.method import Area, method
from node.api.methods.chain import find_block
from node.api.parameters import LockHex
from node.api.services import Services
from node.turns import in_turns
from rpc import schema
from rpc.errors import ErrorCode, RpcError

MAX_LISTED = 1_000
"""Assets, or holders, in one answer: about a megabyte."""
SLICE = 500
"""Coins that are read between two turns of the event loop."""

KINDS: dict[SupplyKind, Literal["fixed", "reissuable", "reserved"]] = {
    SupplyKind.FIXED: "fixed",
    SupplyKind.REISSUABLE: "reissuable",
    SupplyKind.RESERVED: "reserved",
}


def find_asset(services: Services, name: AssetId) -> Asset:
    """Return an asset's record at the tip.

    Raises:
        RpcError: there is none.
    """
    record = services.store.read_assets([name]).get(name)
    if record is None:
        raise RpcError(ErrorCode.INVALID_ADDRESS_OR_KEY, "No such asset on the best chain")
    return record


@method(Area.ASSETS, reads=True)
async def getasset(services: Services, asset: LockHex) -> schema.Asset:
    """Tell all that the chain knows of an asset.

    Args:
        asset: its id.
    """
    name = AssetId(bytes(asset))
    async with services.chain.standing_still():
        record = find_asset(services, name)
        return await _view(services, name, record)


@method(Area.ASSETS, reads=True)
async def listassets(
    services: Services,
    content: LockHex | None = None,
    collection: LockHex | None = None,
    after: LockHex | None = None,
    count: Annotated[int, Meta(ge=1, le=MAX_LISTED)] = 100,
) -> list[schema.Asset]:
    """List assets in the order of their ids.

    Args:
        content: only those that stand for the file with this SHA-256. Anyone can define one: look at the issuer.
        collection: only the members of this one, which the holder of its authority has let in.
        after: only ids above this one: the last of the page before.
        count: at most so many.
    """
    store, start = services.store, bytes(after or b"")
    async with services.chain.standing_still():
        found: Iterable[tuple[AssetId, Asset]]
        if content is None and collection is None:
            found = store.assets(start)
        else:
            names = (
                store.asset_index.with_content(bytes(content), start)
                if content is not None
                else store.asset_index.members(AssetId(bytes(collection or b"")), start)
            )
            found = (record for name in names for record in store.read_assets([name]).items())
        if collection is not None:
            found = (each for each in found if each[1].definition.collection == bytes(collection))
        listed = []
        for name, record in islice(found, count):
            listed.append(await _view(services, name, record))
            await asyncio.sleep(0)
        return listed


@method(Area.ASSETS, reads=True)
async def getassetholders(
    services: Services, asset: LockHex, count: Annotated[int, Meta(ge=1, le=MAX_LISTED)] = 100
) -> schema.AssetHolders:
    """Tell who holds an asset, the largest holding first.

    Args:
        asset: its id.
        count: how many holders at most.
    """
    name = AssetId(bytes(asset))
    async with services.chain.standing_still():
        record = find_asset(services, name)
        held = await _holdings(services, name)
        first = sorted(held.items(), key=lambda holding: (-holding[1], holding[0]))[:count]
        return schema.AssetHolders(
            asset=name.hex(),
            height=services.chain.tip.height,
            supply=record.supply,
            total=len(held),
            holders=[
                schema.AssetHolder(address=encode_address(services.params, lock), amount=amount)
                for lock, amount in first
            ],
        )


async def _holdings(services: Services, asset: AssetId) -> Counter[LockId]:
    """Return how much each lock holds. The chain stands still; everything else gets its turn now and then."""
    held: Counter[LockId] = Counter()
    coins = services.store.asset_index.coins(asset)
    while piece := list(islice(coins, SLICE)):
        for coin in services.store.read_coins(piece).values():
            held[coin.output.lock] += coin.output.value
        await asyncio.sleep(0)
    return held


async def _view(services: Services, name: AssetId, record: Asset) -> schema.Asset:
    definition = record.definition
    kind = SupplyKind(definition.supply_kind)
    authority = _authority(services, name)
    reserved = kind is SupplyKind.RESERVED
    return schema.Asset(
        asset=name.hex(),
        kind=KINDS[kind],
        supply=record.supply,
        decimals=definition.decimals,
        closed=authority is None,
        authority=authority,
        controller=_address(services, definition.controller),
        auditor=_address(services, definition.auditor),
        attested=record.total if reserved else UNSET,
        sequence=record.sequence if reserved else UNSET,
        content=_hex(definition.content),
        collection=_hex(definition.collection),
        metadata=asset_text(definition.metadata),
        raw_metadata=definition.metadata.hex(),
        origin=await _origin(services, name),
    )


def _authority(services: Services, name: AssetId) -> schema.AssetAuthority | None:
    for outpoint in services.store.asset_index.coins(authority_id(name)):
        coin = services.store.read_coins([outpoint])[outpoint]
        return schema.AssetAuthority(
            txid=display_hash(outpoint.txid),
            vout=outpoint.index,
            address=encode_address(services.params, coin.output.lock),
        )
    return None


async def _origin(services: Services, name: AssetId) -> schema.AssetOrigin:
    origin = services.store.asset_index.origin(name)
    entry = None if origin is None else services.chain.index.get(origin.block_hash)
    if origin is None or entry is None:
        raise RpcError(ErrorCode.DATABASE_ERROR, "The index of assets is damaged: start with --reindex")
    block = await find_block(services, entry)
    await in_turns(views.named_in_slices(block))
    tx = next(tx for tx in block.transactions if tx.txid == origin.txid)
    issuer = views.SpentOutputs(services.store, entry, block.transactions).get(tx.core.inputs[0])
    if issuer is None:
        raise RpcError(ErrorCode.DATABASE_ERROR, "What undoes a block is damaged: start with --reindex")
    return schema.AssetOrigin(
        txid=display_hash(origin.txid),
        blockhash=display_hash(origin.block_hash),
        height=origin.height,
        time=block.header.time,
        issuer=encode_address(services.params, issuer.lock),
    )


def asset_text(raw: bytes) -> schema.AssetText | None:
    """Return what an issuer says of an asset, all of it visible; None where it is not of the customary form."""
    metadata = decode_metadata(raw)
    if metadata is None:
        return None
    texts = (metadata.name, metadata.ticker, metadata.uri, metadata.media_type)
    name, ticker, uri, media_type = (None if text is None else shown(text) for text in texts)
    return schema.AssetText(name=name, ticker=ticker, uri=uri, media_type=media_type)


def _address(services: Services, policy: LockId | None) -> str | None:
    return None if policy is None else encode_address(services.params, policy)


def _hex(value: bytes | None) -> str | None:
    return None if value is None else value.hex()


METHODS = (getasset, listassets, getassetholders)
