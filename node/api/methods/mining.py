"""Blocks: templates for miners, blocks handed in, blocks made on demand."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from consensus.codec import MAX_BLOCK_SIZE, decode_block_in_slices, display_hash
from consensus.errors import ConsensusError, NotYet
from consensus.pow import next_bits
from consensus.types import TxId
from consensus.validation import MAX_BLOCK_SIGNATURES
from miner.work import EXTRANONCE_SIZE
from node.api import views
from node.api.long_answers import array
from node.api.method import Area, method
from node.api.methods.chain import is_behind
from node.api.methods.transactions import read_address
from node.api.parameters import AddressText, Hex
from node.api.services import Services
from node.block_template import BLOCK_VERSION, BlockTemplate
from node.chain_events import BlockStatus
from node.mempool_graph import Entry
from node.mining import DEFAULT_MAX_TRIES
from node.turns import in_turns
from rpc import schema
from rpc.errors import ErrorCode, RpcError

LONG_POLL_SECONDS = 60.0
"""After so long a long poll is answered with a template even if nothing better has come up (BIP 22)."""
MAX_GENERATED = 10_000
"""Blocks of one call of generatetoaddress."""
HASHRATE_BLOCKS = 120
"""Blocks whose times tell how fast the network works (Bitcoin Core: getnetworkhashps)."""


class TemplateRequest(msgspec.Struct):
    """What a miner asks of getblocktemplate (BIP 22). Fields that are not known here are passed over."""

    mode: str = "template"
    capabilities: list[str] = []
    longpollid: str | None = None
    address: Annotated[str, Meta(max_length=256)] | None = None
    """Where the template's coinbase pays; by default an address of the node's wallet."""


_ANY = TemplateRequest()


@method(Area.MINING, waits=True, long=True)
async def getblocktemplate(services: Services, template_request: TemplateRequest = _ANY) -> schema.BlockTemplate:
    """Return a block that lacks only its work (BIP 22).

    Its coinbase is complete, and pays the address that the request names. A miner may roll the header's version, and
    the last 8 bytes of the coinbase's memo.

    Args:
        template_request: an object; with longpollid the answer comes when there is better work than that template's,
            after a minute at the latest. address says where the rewards go.
    """
    if template_request.mode != "template":
        raise RpcError(ErrorCode.INVALID_PARAMETER, "Invalid mode: only template is known")
    if is_behind(services):
        raise RpcError(
            ErrorCode.CLIENT_IN_INITIAL_DOWNLOAD, "The node is fetching the chain: what is mined now would be lost"
        )
    if template_request.address is not None:
        lock = read_address(services.params, template_request.address)
    else:
        lock = await services.mining_lock()
    if template_request.longpollid is not None:
        await services.templates.wait_for_news(template_request.longpollid, LONG_POLL_SECONDS)
    await services.templates.ready()
    return template_view(services.templates.create(lock))


def template_view(template: BlockTemplate) -> schema.BlockTemplate:
    """Return a template as getblocktemplate shows it."""
    places = {entry.tx.txid: place for place, entry in enumerate(template.entries, 1)}
    # A parent that a block takes while the answer is made is a parent there no more: it is looked at now.
    depends = {
        entry.tx.txid: sorted(places[parent] for parent in entry.parents if parent in places)
        for entry in template.entries
        if entry.parents
    }
    coinbase = template.coinbase
    return schema.BlockTemplate(
        capabilities=["coinbasetxn", "longpoll"],
        version=BLOCK_VERSION,
        rules=[],
        previousblockhash=display_hash(template.previous),
        transactions=array(_template_transaction(entry, depends) for entry in template.entries),
        coinbasetxn=schema.CoinbaseTransaction(
            data=coinbase.encoded.hex(),
            txid=display_hash(coinbase.txid),
            hash=display_hash(coinbase.wtxid),
            extranonce_size=EXTRANONCE_SIZE,
        ),
        coinbasevalue=template.coinbase_value,
        longpollid=template.longpoll_id,
        target=f"{template.target:064x}",
        mintime=template.min_time,
        mutable=["time", "version", "coinbase/append"],
        noncerange="00000000ffffffff",
        sigoplimit=MAX_BLOCK_SIGNATURES,
        sizelimit=MAX_BLOCK_SIZE,
        curtime=template.time,
        bits=f"{template.bits:08x}",
        height=template.height,
    )


def _template_transaction(entry: Entry, depends: dict[TxId, list[int]]) -> schema.TemplateTransaction:
    return schema.TemplateTransaction(
        data=entry.tx.encoded.hex(),
        txid=display_hash(entry.tx.txid),
        hash=display_hash(entry.tx.wtxid),
        depends=depends.get(entry.tx.txid, []),
        fee=entry.fee,
        sigops=entry.signatures,
    )


_ANSWERS = {
    BlockStatus.CONNECTED: None,
    BlockStatus.KNOWN: "duplicate",
    BlockStatus.SIDE_BRANCH: "inconclusive",
    BlockStatus.WAITING: "inconclusive",
    BlockStatus.ORPHAN: "prev-blk-not-found",
    BlockStatus.EARLY: "time-too-new",
    BlockStatus.LOW_WORK: "too-little-chainwork",
    BlockStatus.SET_ASIDE: "set-aside",
}
"""What BIP 22 answers. With the first five but `ORPHAN` the block is stored, durably, when the call returns."""


@method(Area.MINING)
async def submitblock(services: Services, hexdata: Hex, dummy: str | None = None) -> str | None:  # noqa: ARG001
    """Hand in a block. It is checked, stored, and told to peers when it is the new tip, before the call returns.

    Args:
        hexdata: its encoding.
        dummy: not used (BIP 22).

    Returns:
        null if it is the new tip; else why not: duplicate, inconclusive (stored on a branch with no more work), or the
        rule that it breaks.
    """
    try:
        block = await in_turns(decode_block_in_slices(bytes(hexdata)))
    except ConsensusError as error:
        raise RpcError(ErrorCode.DESERIALIZATION_ERROR, f"Block decode failed: {error}") from None
    result = await services.node.submit_block(block)
    if result.error is not None:
        return str(result.error.rule)
    if result.status is BlockStatus.KNOWN and result.entry is not None and result.entry.invalid:
        return "duplicate-invalid"
    return _ANSWERS[result.status]


@method(Area.MINING, waits=True)
async def generatetoaddress(
    services: Services,
    nblocks: Annotated[int, Meta(ge=0, le=MAX_GENERATED)],
    address: AddressText,
    maxtries: Annotated[int, Meta(ge=0, le=2**40)] = DEFAULT_MAX_TRIES,
) -> list[str]:
    """Mine blocks now, with real proof of work, and return their ids, oldest first.

    Args:
        nblocks: how many.
        address: where their rewards go.
        maxtries: hashes for each block at most; if they do not suffice, fewer blocks come back.
    """
    lock = read_address(services.params, address)
    try:
        mined = await services.generator.generate(nblocks, lock, maxtries)
    except NotYet as error:
        raise RpcError(
            ErrorCode.MISC_ERROR,
            f"Blocks came so fast that their times have run ahead of the clock: wait a little ({error})",
        ) from None
    return [display_hash(block_hash) for block_hash in mined]


@method(Area.MINING, reads=True)
async def getmininginfo(services: Services) -> schema.MiningInfo:
    """Tell how hard mining is, and whether this node does it."""
    tip = services.chain.tip
    bits = services.chain.read_header(services.chain.index.tip).bits
    next_, _ = next_bits(services.params, tip.anchor, tip.height, tip.times[-1])
    return schema.MiningInfo(
        blocks=tip.height,
        bits=f"{bits:08x}",
        difficulty=views.difficulty(bits),
        target=views.target_hex(bits),
        networkhashps=_hash_rate(services, HASHRATE_BLOCKS),
        pooledtx=len(services.mempool),
        chain=services.params.name,
        mining=services.config.mine,
        hashrate=services.config.hashrate,
        next=schema.NextBlock(
            height=tip.height + 1,
            bits=f"{next_:08x}",
            difficulty=views.difficulty(next_),
            target=views.target_hex(next_),
        ),
        warnings=services.chain.warnings,
    )


@method(Area.MINING, reads=True)
async def getnetworkhashps(services: Services, nblocks: Annotated[int, Meta(ge=1, le=100_000)] = 120) -> float:
    """Return how many hashes per second the last blocks took, by their own times.

    Args:
        nblocks: how many blocks to look at.
    """
    return _hash_rate(services, nblocks)


def _hash_rate(services: Services, blocks: int) -> float:
    last = services.chain.index.tip
    first = last.ancestor(max(0, last.height - blocks))
    return (last.work - first.work) / max(1, last.time - first.time)


METHODS = (getblocktemplate, submitblock, generatetoaddress, getmininginfo, getnetworkhashps)
