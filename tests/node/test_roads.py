"""One catalogue of bad inputs, on every road by which a transaction or a block arrives: each is refused by name.

On each road one node meets all of them in turn, and afterwards still takes what is good: nothing of what it refused has
stuck to it.
"""

from __future__ import annotations

import asyncio
from functools import cache

import pytest

from consensus.errors import EARLY_RULES, Rule
from node.chain import ChainManager
from node.storage.chain_store import ChainStore
from node.storage.memory_store import MemoryDatabase
from node.storage.schema import BODIES, TABLES, block_key, body_record
from p2p.messages import BlockMessage, GetData, Headers, TxMessage
from rpc.errors import ErrorCode, RpcError
from simnet.loop import run_virtual
from tests.support.api import running_api
from tests.support.bad_inputs import (
    UNSIGNED,
    BadBlock,
    BadTransaction,
    bad_blocks,
    bad_transactions,
    entries_of,
)
from tests.support.chain import feed, running, stored_coins
from tests.support.nodes import FakePeer, World, dial, until
from tests.support.stage import HEIGHT, PARAMS, Stage, coins_of


@cache
def stage() -> Stage:
    return Stage()


@cache
def transactions() -> tuple[BadTransaction, ...]:
    return tuple(bad_transactions(stage()))


@cache
def blocks() -> tuple[BadBlock, ...]:
    return tuple(bad_blocks(stage()))


def check_mark(chain: ChainManager, case: BadBlock) -> None:
    """A header is marked for ever if it is to blame, and stays good if only its body was bad."""
    entry = chain.index.get(case.hash)
    if entry is None:
        assert case.rule in {Rule.HIGH_HASH, Rule.BAD_BITS, Rule.TIME_TOO_OLD} or not case.condemns_its_header, (
            case.what
        )
    else:
        assert entry.invalid is case.condemns_its_header, case.what


# Transactions


def test_no_bad_transaction_enters_from_a_peer_and_its_sender_is_told_from_one_who_was_early() -> None:
    """A001-A006, A008, A011, A012, A014, A017, A023, A025-A041, A064-A069, A071-A074, A208: from a peer."""
    sent = [case for case in transactions() if len(case.raw) <= TxMessage.max_body]
    assert len(sent) == len(transactions()) - 1  # a longer one ends with its frame's header: see the tests of framing

    async def story() -> None:
        world = World(params=PARAMS)
        async with world.node() as node:
            await node.feed(stage().trunk)
            for number, case in enumerate(sent):
                peer = await dial(
                    world, node, FakePeer(world, nonce=number), host=f"10.7.{number // 250}.{number % 250}"
                )
                peer.send(TxMessage(case.raw))
                if case.rule in EARLY_RULES or case.what in UNSIGNED:
                    await asyncio.sleep(1)
                    assert peer.closed is None, case.what
                    peer.link.close()
                else:
                    await until(lambda peer=peer: peer.closed is not None)  # type: ignore[misc]
                assert len(node.mempool) == 0, case.what
            good = stage().spend("one key")
            peer = await dial(world, node, FakePeer(world, nonce=9_999), host="10.8.8.8")
            peer.send(TxMessage(good.encoded))
            await until(lambda: good.txid in node.mempool)
            assert node.chain.tip == stage().tip

    run_virtual(story)


async def test_no_bad_transaction_enters_by_rpc_and_each_refusal_names_its_rule() -> None:
    """A001-A006, A008, A011, A012, A014, A017, A023, A025-A041, A064-A069, A071-A074, A208: by `sendrawtransaction`."""
    async with running_api(PARAMS, wallet=False) as api:
        await feed(api.services.chain, stage().trunk)
        for case in transactions():
            with pytest.raises(RpcError) as refused:
                await api.client.call("sendrawtransaction", case.raw.hex())
            undecoded = case.rule is Rule.MALFORMED
            code = ErrorCode.DESERIALIZATION_ERROR if undecoded else ErrorCode.VERIFY_REJECTED
            if case.rule in EARLY_RULES:
                code = ErrorCode.VERIFY_ERROR
            assert (case.what, refused.value.code) == (case.what, code)
            named = "no-signature" if case.what in UNSIGNED else case.rule
            assert undecoded or named in refused.value.message, case.what
            assert len(api.services.mempool) == 0, case.what
        good = stage().spend("one key")
        assert await api.client.call("sendrawtransaction", good.encoded.hex()) == good.txid[::-1].hex()


# Blocks


def test_no_bad_block_connects_from_a_peer_and_only_bad_headers_are_marked() -> None:
    """A001-A018, A020, A021, A023-A041, A044, A045, A049, A051, A062, A064-A069, A071-A074, A208: from a peer."""

    async def story() -> None:
        world = World(params=PARAMS)
        async with world.node() as node:
            await node.feed(stage().trunk)
            for number, case in enumerate(blocks()):
                if len(case.raw) > BlockMessage.max_body:
                    continue  # such a body ends the connection with its frame's header: see the tests of framing
                peer = await dial(
                    world, node, offering(world, case, number), host=f"10.7.{number // 250}.{number % 250}"
                )
                peer.send(Headers((case.header,)))
                await until(lambda peer=peer: peer.closed is not None)  # type: ignore[misc]
                assert node.chain.tip == stage().tip, case.what
                check_mark(node.chain, case)
            assert stored_coins(ChainStore(node.disk, PARAMS)) == coins_of(stage())
            good = stage().good_block()
            await node.feed([good])
            assert node.chain.tip.hash == good.hash

    run_virtual(story)


def offering(world: World, case: BadBlock, nonce: int) -> FakePeer:
    """A peer that gives a bad block to whoever asks for it by its header."""
    peer = FakePeer(world, nonce=nonce)

    def answer(message: object) -> None:
        if isinstance(message, GetData) and case.hash in {item.hash for item in message.items}:
            peer.send(BlockMessage(case.raw))

    peer.answers.append(answer)
    return peer


async def test_no_bad_block_connects_by_submitblock_and_each_answer_names_its_rule() -> None:
    """A001-A018, A020, A021, A023-A041, A044, A045, A049, A051, A062, A064-A069, A071-A074, A208: by `submitblock`."""
    async with running_api(PARAMS, wallet=False) as api:
        chain = api.services.chain
        await feed(chain, stage().trunk)
        for case in blocks():
            if case.rule in {Rule.MALFORMED, Rule.BLOCK_SIZE}:
                with pytest.raises(RpcError) as refused:
                    await api.client.call("submitblock", case.raw.hex())
                assert (case.what, refused.value.code) == (case.what, ErrorCode.DESERIALIZATION_ERROR)
            else:
                assert (case.what, await api.client.call("submitblock", case.raw.hex())) == (case.what, str(case.rule))
            assert chain.tip == stage().tip, case.what
            check_mark(chain, case)
        good = stage().good_block()
        assert await api.client.call("submitblock", good.encoded.hex()) is None
        assert chain.tip.hash == good.hash


async def test_no_bad_block_connects_by_a_reindex() -> None:
    """A001-A018, A020, A021, A023-A041, A044, A045, A049, A051, A062, A064-A069, A071-A074, A208: from its store.

    Somebody wrote them into the database: nothing that is read from there was judged before.
    """
    database = MemoryDatabase(TABLES)
    async with running(database, PARAMS) as chain:
        await feed(chain, stage().trunk)
    rounds: list[dict[bytes, BadBlock]] = []  # a header has one body at a time
    for case in blocks():
        free = next((each for each in rounds if case.hash not in each), None)
        if free is None:
            rounds.append(free := {})
        free[case.hash] = case
    for stored in rounds:
        for number, case in enumerate(stored.values()):
            database.write([(BODIES, block_key(HEIGHT, case.hash), body_record(1_000 + number, case.raw))])
        async with running(database, PARAMS, reindex=True) as chain:
            assert chain.tip == stage().tip
            for case in stored.values():
                check_mark(chain, case)
                entry = chain.index.get(case.hash)
                reason = None if entry is None else chain.why_invalid(entry)
                assert reason is None or reason.rule is case.rule, case.what
            assert stored_coins(ChainStore(database, PARAMS)) == coins_of(stage())
        database.write([(BODIES, block_key(HEIGHT, case.hash), None) for case in stored.values()])
    good = stage().good_block()
    async with running(database, PARAMS) as chain:
        await feed(chain, [good])
        assert chain.tip.hash == good.hash


def test_these_docstrings_name_what_the_catalogue_is_about() -> None:
    from scripts.attacks import ROOT, cases

    named = {case.name: set(case.entries) for case in cases(ROOT) if case.path.endswith("test_roads.py")}
    for name, entries in named.items():
        assert entries == entries_of(blocks() if "block" in name else transactions()), name
    assert len(named) == 5
