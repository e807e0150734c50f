"""Looking at nodes: what is asked, how often, and what comes of it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from consensus.types import GRAIN_PER_DURE
from devnet.errors import Refused
from devnet.folder import wait_until
from devnet.status import NodeState
from devnet.watch.collector import SILENT_SECONDS, Collector
from devnet.watch.state import BlockView
from devnet.watch.tree import branches
from rpc.encoding import Dure
from tests.support.network import FakeNodes, Refusal, balances_of, chain_info, fake_network
from tests.support.watching import Blocks, block_id

PATIENCE = 60.0
"""Seconds for what takes a few milliseconds."""


class Chain:
    """A tree of blocks that fake nodes tell of, as real ones would."""

    def __init__(self) -> None:
        self.blocks = Blocks()
        self.blocks.add("g a b", finder=1)
        self.tips = {0: "b", 1: "b", 2: "b"}
        self.pool: list[str] = []

    def answers(self) -> dict[str, Any]:
        def chain(node: int, _params: list[Any]) -> Any:
            block = self.blocks.by_name[self.tips[node]]
            return chain_info(block.height, block.id, int(block.chainwork, 16))

        return {
            "getblockchaininfo": chain,
            "getconnectioncount": 2,
            "getmempoolinfo": {
                "loaded": True, "size": 3, "bytes": 0, "usage": 0, "total_fee": 0, "maxmempool": 0,
                "mempoolminfee": 0, "minrelaytxfee": 0,
            },
            "getbalances": lambda node, _params: balances_of(f"{node}.5"),
            "getmininginfo": lambda node, _params: {
                "blocks": 0, "bits": "", "difficulty": 0.0, "target": "", "networkhashps": 1.0, "pooledtx": 0,
                "chain": "local", "mining": node == 0, "hashrate": 20_000, "warnings": [],
            },
            "getblock": lambda _node, params: self.block(self.of(params[0])),
            "getrawtransaction": lambda _node, params: self.coinbase(params[0]),
            "getaddressinfo": lambda node, params: {
                "address": params[0], "scriptPubKey": "", "ismine": params[0] == f"address of {node}",
            },
            "getchaintips": [],
            "getrawmempool": lambda _node, _params: self.pool,
        }  # fmt: skip

    def of(self, wanted: str) -> BlockView:
        return next(block for block in self.blocks.by_name.values() if block.id == wanted)

    def block(self, block: BlockView) -> dict[str, Any]:
        return {
            "hash": block.id, "confirmations": 1, "height": block.height, "version": 1, "versionHex": "",
            "merkleroot": "", "time": block.time, "mediantime": 0, "nonce": 0, "bits": "", "target": "",
            "difficulty": 0.0, "chainwork": block.chainwork, "nTx": 1, "size": 0,
            "tx": [f"reward of {block.finder}", *block.txids],
            **({"previousblockhash": block.previous} if block.previous else {}),
        }  # fmt: skip

    def coinbase(self, txid: str) -> dict[str, Any]:
        finder = txid.removeprefix("reward of ")
        output = {
            "value": Dure(50 * GRAIN_PER_DURE),
            "n": 0,
            "scriptPubKey": {"hex": "", "address": f"address of {finder}"},
        }
        return {
            "txid": txid, "hash": txid, "version": 1, "size": 0, "vsize": 0, "vin": [], "vout": [output], "memo": "",
            "witnesses": [], "hex": "",
        }  # fmt: skip


@pytest.fixture
def chain() -> Chain:
    return Chain()


@pytest.fixture
def nodes(tmp_path: Path, chain: Chain) -> Iterator[FakeNodes]:
    with fake_network(tmp_path / "net", 3, **chain.answers()) as made:
        yield made


@pytest.fixture
def collector(nodes: FakeNodes) -> Iterator[Collector]:
    made = Collector(nodes.folder, nodes.folder.load(), patience=PATIENCE)
    yield made
    made.close()


def test_a_look_shows_what_each_node_told(collector: Collector) -> None:
    view = collector.look()
    first = view.nodes[0]
    assert (first.state, first.height, first.tip) == (NodeState.RUNNING, 2, block_id("b"))
    assert (first.peers, first.mempool, first.balance, first.hashrate) == (2, 3, GRAIN_PER_DURE // 2, 20_000)
    assert view.nodes[1].hashrate is None
    assert {block.height for block in view.blocks.values()} == {0, 1, 2}
    newest = view.blocks[block_id("b")]
    assert (newest.finder, newest.reward) == (1, 50 * GRAIN_PER_DURE)


def test_a_block_is_asked_for_once_and_of_one_node(collector: Collector, nodes: FakeNodes, chain: Chain) -> None:
    collector.look()
    assert len(nodes.calls_of("getblock")) == 3
    chain.blocks.add("b: c", finder=2, txids=("t1", "t2"))
    chain.tips = dict.fromkeys(range(3), "c")
    view = collector.look()
    collector.look()
    assert len(nodes.calls_of("getblock")) == 4
    found = view.blocks[block_id("c")]
    assert (found.finder, found.payments, found.txids) == (2, 2, ("t1", "t2"))


def test_a_finder_that_was_away_is_named_when_it_is_back(collector: Collector, nodes: FakeNodes, chain: Chain) -> None:
    real = nodes.answers["getblockchaininfo"]

    def away(node: int, params: list[Any]) -> Any:
        if node == 1:
            raise Refusal(-28, "starting")
        return real(node, params)

    nodes.answers["getblockchaininfo"] = away
    assert collector.look().blocks[block_id("b")].finder is None
    collector.look()
    assert len(nodes.calls_of("getaddressinfo")) == 2, "no wallet is asked twice"
    nodes.answers["getblockchaininfo"] = real
    assert collector.look().blocks[block_id("b")].finder == 1


def test_branches_that_nobody_stands_on_are_found_at_the_first_look(
    collector: Collector, nodes: FakeNodes, chain: Chain
) -> None:
    chain.blocks.add("a: x", finder=0)
    nodes.answers["getchaintips"] = [
        {"height": 2, "hash": block_id("b"), "branchlen": 0, "status": "active"},
        {"height": 2, "hash": block_id("x"), "branchlen": 1, "status": "valid-fork"},
        {"height": 9, "hash": block_id("y"), "branchlen": 9, "status": "headers-only"},
    ]
    assert [branch.tip.id for branch in branches(collector.look())] == [block_id("b"), block_id("x")]


def test_what_became_of_payments_in_a_losing_branch_is_found_out(collector: Collector, chain: Chain) -> None:
    chain.blocks.add("b: x", finder=0, txids=("again", "never", "both"))
    chain.blocks.add("b: c d", finder=1, txids=("both",))
    chain.tips = {0: "x", 1: "d", 2: "d"}
    chain.pool = ["again", "other"]
    assert collector.look().fates == {"again": "waits", "never": "gone"}


def test_a_node_that_answers_with_an_error_is_starting(collector: Collector, nodes: FakeNodes, chain: Chain) -> None:
    real = nodes.answers["getblockchaininfo"]

    def warming(node: int, params: list[Any]) -> Any:
        if node == 1:
            raise Refusal(-28, "starting")
        return real(node, params)

    nodes.answers["getblockchaininfo"] = warming
    assert [node.state for node in collector.look().nodes] == [NodeState.RUNNING, NodeState.STARTING, NodeState.RUNNING]
    nodes.answers["getblockchaininfo"] = real
    assert collector.look().nodes[1].state is NodeState.RUNNING


def test_a_node_that_falls_silent_holds_nobody_up_and_is_shown_so_before_long(nodes: FakeNodes) -> None:
    now, speaks = [0.0], threading.Event()
    collector = Collector(nodes.folder, nodes.folder.load(), lambda: now[0])
    try:
        assert collector.look().nodes[1].state is NodeState.RUNNING
        real = nodes.answers["getblockchaininfo"]

        def silent(node: int, params: list[Any]) -> Any:
            if node == 1:
                speaks.wait(PATIENCE)
            return real(node, params)

        nodes.answers["getblockchaininfo"] = silent
        assert [node.state for node in collector.look().nodes] == [NodeState.RUNNING] * 3, "what it told last stands"
        now[0] += SILENT_SECONDS + 0.1
        silence = [NodeState.RUNNING, NodeState.STARTING, NodeState.RUNNING]
        assert wait_until(lambda: [node.state for node in collector.look().nodes] == silence, PATIENCE)
    finally:
        speaks.set()
        collector.close()


def test_a_question_that_a_node_does_not_know_costs_one_cell(collector: Collector, nodes: FakeNodes) -> None:
    def unknown(_node: int, _params: list[Any]) -> Any:
        raise Refusal(-18, "no wallet")

    nodes.answers["getbalances"] = unknown
    node = collector.look().nodes[0]
    assert (node.state, node.balance, node.peers) == (NodeState.RUNNING, None, 2)


def test_cuts_are_seen_as_the_folder_says(collector: Collector, nodes: FakeNodes) -> None:
    assert collector.look().groups == ()
    nodes.folder.save(msgspec.structs.replace(nodes.folder.load(), partition=((0,), (1, 2))))
    assert collector.look().groups == ((0,), (1, 2))


def test_a_network_that_is_gone_or_another_ends_the_looking(collector: Collector, nodes: FakeNodes) -> None:
    collector.look()
    nodes.folder.save(msgspec.structs.replace(nodes.folder.load(), tag="11" * 16))
    with pytest.raises(Refused, match="another network"):
        collector.look()
    nodes.folder.record_path.unlink()
    with pytest.raises(Refused, match="There is no network"):
        collector.look()
