"""The chain: blocks, branches, coins."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Annotated, Literal

from msgspec import UNSET, Meta

from consensus.codec import display_hash
from consensus.subsidy import supply_at
from consensus.types import Block, BlockHash, Coin, OutPoint, TxId
from node.api import views
from node.api.long_answers import array
from node.api.method import Area, method
from node.api.parameters import HashHex, Height, Seconds
from node.api.services import Services
from node.block_index import BlockEntry, find_fork
from node.chain_stats import coin_statistics
from node.turns import in_turns
from rpc import schema
from rpc.encoding import Dure
from rpc.errors import ErrorCode, RpcError

LONGEST_WAIT = 3_600
"""Seconds that a call waits at most, also where Bitcoin Core would wait for ever: a forgotten call costs a place."""
BEHIND = 10
"""Blocks that may be missing before a node says that it is still fetching the chain."""


def is_behind(services: Services) -> bool:
    """Tell whether the node lacks many blocks whose headers it has."""
    return services.chain.index.best_header.height - services.chain.tip.height > BEHIND


def find_entry(services: Services, blockhash: HashHex) -> BlockEntry:
    """Return the header of this id.

    Raises:
        RpcError: `INVALID_ADDRESS_OR_KEY` if it is not known.
    """
    entry = services.chain.index.get(BlockHash(blockhash))
    if entry is None:
        raise RpcError(ErrorCode.INVALID_ADDRESS_OR_KEY, "Block not found")
    return entry


async def find_block(services: Services, entry: BlockEntry) -> Block:
    """Return the body of a block. It is read in turns with everybody else's work.

    Raises:
        RpcError: `MISC_ERROR` if only its header is here.
    """
    block = await in_turns(services.chain.read_block_in_slices(entry.hash))
    if block is None:
        raise RpcError(ErrorCode.MISC_ERROR, "Block not available (not fully downloaded)")
    return block


@method(Area.BLOCKCHAIN, reads=True)
async def getblockchaininfo(services: Services) -> schema.BlockchainInfo:
    """Tell how the chain stands."""
    index, tip = services.chain.index, services.chain.tip
    headers = index.best_header.height
    header = services.chain.read_header(index.tip)
    return schema.BlockchainInfo(
        chain=services.params.name,
        blocks=tip.height,
        headers=headers,
        bestblockhash=display_hash(tip.hash),
        bits=f"{header.bits:08x}",
        target=views.target_hex(header.bits),
        difficulty=views.difficulty(header.bits),
        time=header.time,
        mediantime=tip.median_time,
        verificationprogress=tip.height / headers if headers > tip.height else 1.0,
        initialblockdownload=is_behind(services),
        chainwork=views.hex_work(tip.work),
        genesis=display_hash(services.params.genesis_hash),
        size_on_disk=services.disk_size(),
        pruned=False,
        warnings=services.chain.warnings,
    )


@method(Area.BLOCKCHAIN, reads=True)
async def getbestblockhash(services: Services) -> str:
    """Return the id of the tip of the best chain."""
    return display_hash(services.chain.tip.hash)


@method(Area.BLOCKCHAIN, reads=True)
async def getblockcount(services: Services) -> int:
    """Return the height of the tip of the best chain; genesis has height 0."""
    return services.chain.tip.height


@method(Area.BLOCKCHAIN, reads=True)
async def getblockhash(services: Services, height: int) -> str:
    """Return the id of the block of a height on the best chain.

    Args:
        height: 0 to the tip's.
    """
    entry = services.chain.index.at(height)
    if entry is None:
        raise RpcError(ErrorCode.INVALID_PARAMETER, "Block height out of range")
    return display_hash(entry.hash)


@method(Area.BLOCKCHAIN, reads=True)
async def getblockheader(services: Services, blockhash: HashHex, verbose: bool = True) -> schema.BlockHeader | str:
    """Return the header of a block of any branch.

    Args:
        blockhash: the block's id.
        verbose: false for the 80 bytes in hex.
    """
    entry = find_entry(services, blockhash)
    header = services.chain.read_header(entry)
    if not verbose:
        return header.encoded.hex()
    body = await in_turns(services.chain.read_block_in_slices(entry.hash))
    return views.block_header(services.chain, entry, header, 0 if body is None else len(body.transactions))


@method(Area.BLOCKCHAIN, reads=True, long=True)
async def getblock(
    services: Services, blockhash: HashHex, verbosity: Annotated[int, Meta(ge=0, le=3)] | bool = 1
) -> schema.Block | str:
    """Return a block of any branch.

    Args:
        blockhash: the block's id.
        verbosity: 0 for its encoding in hex, 1 for an object with the txids, 2 or 3 for one with the transactions.
    """
    entry = find_entry(services, blockhash)
    block = await find_block(services, entry)
    if not verbosity:
        return block.encoded.hex()
    tx: list[str | schema.TransactionDetail]
    if int(verbosity) > 1:
        await in_turns(views.named_in_slices(block))
        tx = array(views.block_transactions(services.params, services.store, entry, block.transactions))
    else:
        tx = array(display_hash(each.txid) for each in block.transactions)
    return views.block(services.chain, entry, block, tx)


@method(Area.BLOCKCHAIN, reads=True)
async def getchaintips(services: Services) -> list[schema.ChainTip]:
    """Return the end of every branch that is known, the highest first."""
    index = services.chain.index
    ends = {entry.hash: entry for entry in (index.tip, *index.leaves())}
    tips = [
        schema.ChainTip(
            height=entry.height,
            hash=display_hash(entry.hash),
            branchlen=entry.height - find_fork(entry, index.tip).height,
            status=_status(services, entry),
        )
        for entry in ends.values()
    ]
    return sorted(tips, key=lambda tip: -tip.height)


def _status(
    services: Services, entry: BlockEntry
) -> Literal["active", "valid-fork", "valid-headers", "headers-only", "invalid"]:
    if entry is services.chain.index.tip:
        return "active"
    if entry.invalid:
        return "invalid"
    if not entry.complete:
        return "headers-only"
    # What takes a block back is written when it is connected: so it once was.
    return "valid-fork" if services.store.has_undo(entry.height, entry.hash) else "valid-headers"


@method(Area.BLOCKCHAIN, reads=True)
async def getdifficulty(services: Services) -> float:
    """Return the difficulty of the tip, as a multiple of Bitcoin's easiest."""
    return views.difficulty(services.chain.read_header(services.chain.index.tip).bits)


# Coins


@method(Area.BLOCKCHAIN, reads=True)
async def gettxoutsetinfo(
    services: Services, hash_type: Literal["state_hash", "none"] = "state_hash"
) -> schema.TxOutSetInfo:
    """Count all unspent outputs, and sum and hash them: nodes that agree give the same answer.

    Blocks wait while it reads; every other call goes on.

    Args:
        hash_type: none leaves the hash out.
    """
    found = await coin_statistics(services.chain, services.store)
    params = services.params
    supply = supply_at(params.initial_subsidy, params.subsidy_interval, found.tip.height)
    return schema.TxOutSetInfo(
        height=found.tip.height,
        bestblock=display_hash(found.tip.hash),
        transactions=found.transactions,
        txouts=found.coins,
        total_amount=Dure(found.total),
        assets=found.assets,
        supply=Dure(supply),
        state_hash=found.state_hash.hex() if hash_type == "state_hash" else UNSET,
    )


@method(Area.BLOCKCHAIN, reads=True)
async def gettxout(
    services: Services, txid: HashHex, n: Annotated[int, Meta(ge=0, le=2**32 - 1)], include_mempool: bool = True
) -> schema.TxOut | None:
    """Return an unspent output; null if there is none.

    Args:
        txid: of the transaction that made it.
        n: its place there, from 0.
        include_mempool: whether what waits for a block counts, on both sides: as made, and as spent.
    """
    outpoint = OutPoint(TxId(txid), n)
    await services.mempool.at_rest()
    tip = services.chain.tip
    waiting = services.mempool.get(outpoint.txid) if include_mempool else None
    if include_mempool and services.mempool.spender(outpoint) is not None:
        return None
    if waiting is not None:
        # As if born in the next block: 0 confirmations.
        outputs = waiting.core.outputs
        coin = Coin(outputs[n], tip.height + 1, False) if n < len(outputs) else None
    else:
        coin = services.chain.get_coins((outpoint,)).get(outpoint)
    if coin is None:
        return None
    return schema.TxOut(
        bestblock=display_hash(tip.hash),
        confirmations=tip.height - coin.height + 1,
        scriptPubKey=views.script_pub_key(services.params, coin.output),
        coinbase=coin.coinbase,
        **views.carried(coin.output),
    )


# Waiting


async def wait_for_tip(services: Services, done: Callable[[], bool], seconds: float) -> None:
    """Wait until `done`, asked at each new tip, or until the time is over."""
    changed = asyncio.Event()
    end = services.node.on_tip_changed(lambda _change: changed.set())
    try:
        async with asyncio.timeout(seconds):
            while not done():
                await changed.wait()
                changed.clear()
    except TimeoutError:
        pass
    finally:
        end()


def _wait_seconds(timeout_ms: int) -> float:
    return min(timeout_ms / 1000, LONGEST_WAIT) if timeout_ms else LONGEST_WAIT


def _tip(services: Services) -> schema.NewBlock:
    return schema.NewBlock(hash=display_hash(services.chain.tip.hash), height=services.chain.tip.height)


@method(Area.BLOCKCHAIN, reads=True, waits=True)
async def waitfornewblock(
    services: Services, timeout: Seconds = 0, current_tip: HashHex | None = None
) -> schema.NewBlock:
    """Wait until the best chain has another tip, and return it; or the old one when the time is over.

    Args:
        timeout: milliseconds; 0 for as long as it takes, an hour at most.
        current_tip: wait until the tip is another than this one, which may be so already.
    """
    before = services.chain.tip.hash if current_tip is None else BlockHash(current_tip)
    await wait_for_tip(services, lambda: services.chain.tip.hash != before, _wait_seconds(timeout))
    return _tip(services)


@method(Area.BLOCKCHAIN, reads=True, waits=True)
async def waitforblock(services: Services, blockhash: HashHex, timeout: Seconds = 0) -> schema.NewBlock:
    """Wait until a certain block is the tip, and return the tip.

    Args:
        blockhash: the block's id.
        timeout: milliseconds; 0 for as long as it takes, an hour at most.
    """
    wanted = BlockHash(blockhash)
    await wait_for_tip(services, lambda: services.chain.tip.hash == wanted, _wait_seconds(timeout))
    return _tip(services)


@method(Area.BLOCKCHAIN, reads=True, waits=True)
async def waitforblockheight(services: Services, height: Height, timeout: Seconds = 0) -> schema.NewBlock:
    """Wait until the best chain has at least this height, and return the tip.

    Args:
        height: of the tip.
        timeout: milliseconds; 0 for as long as it takes, an hour at most.
    """
    await wait_for_tip(services, lambda: services.chain.tip.height >= height, _wait_seconds(timeout))
    return _tip(services)


METHODS = (
    getblockchaininfo,
    getbestblockhash,
    getblockcount,
    getblockhash,
    getblockheader,
    getblock,
    getchaintips,
    getdifficulty,
    gettxoutsetinfo,
    gettxout,
    waitfornewblock,
    waitforblock,
    waitforblockheight,
)
