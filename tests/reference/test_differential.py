"""The rules of `consensus`, held against a validator that was written from docs/protocol.md alone."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from random import Random

import msgspec
import pytest

from consensus import pow as work
from consensus.errors import BODY_RULES, Rule
from consensus.merkle import merkle_proof, proves
from consensus.params import NETWORKS, Params
from consensus.pow import Anchor, bits_from_target, next_bits, target_from_bits
from consensus.subsidy import block_subsidy
from node.storage.memory_store import MemoryDatabase
from node.storage.schema import TABLES
from tests.reference import blocks, chain, headers
from tests.reference.campaign import repeat, tell
from tests.reference.differential import Disagreement, Pair, read_script
from tests.reference.encoding import Refused, encode
from tests.reference.stories import Story
from tests.reference.subject import PARAMS, network_of
from tests.support.chain import running
from tests.support.repository import ROOT
from tests.support.rules import coinbase

PAGE = (ROOT / "docs" / "protocol.md").read_text()


async def test_both_say_the_same_of_a_story() -> None:
    verdicts = await tell(1, blocks=10)
    assert {"block accept", "transaction accept", "header accept", "transaction malformed"} <= verdicts.keys()


@pytest.mark.slow
async def test_both_say_the_same_of_many_stories() -> None:
    told: Counter[str] = Counter()
    for seed in range(40):
        told += await tell(seed)
    refused = {name.partition(" ")[2] for name in told} - {"accept"}
    # What a story does not come by is tested below, at its edge.
    assert len(refused & set(Rule)) > 40
    assert min(told["block accept"], told["transaction accept"], told["header accept"]) > 300


async def test_a_disagreement_is_found_written_down_and_repeated(tmp_path: Path) -> None:
    async with running(MemoryDatabase(TABLES), PARAMS) as manager:
        pair = Pair(manager, PARAMS)
        pair.reference.network = pair.reference.network._replace(maturity=PARAMS.coinbase_maturity - 1)
        with pytest.raises(Disagreement, match="consensus says immature-spend, reference accept") as found:
            for seed in range(100):
                await Story(pair, seed).tell(10)
    path = tmp_path / "disagreement.json"
    found.value.write(path)
    assert read_script(path) == found.value.script
    # What was wrong is put right here, so that the same script finds them of one mind.
    assert (await repeat(read_script(path)))["block immature-spend"] >= 1


@pytest.mark.parametrize("params", NETWORKS.values(), ids=lambda params: params.name)
def test_the_networks_of_the_page_are_those_of_the_code(params: Params) -> None:
    network = chain.NETWORKS[params.name]
    assert network_of(params)._replace(tag=network.tag) == network
    genesis = chain.genesis_header(network)
    assert genesis.raw == params.genesis.header.encoded
    assert encode([genesis.raw, [chain.genesis_coinbase(network)]]) == params.genesis.encoded
    assert genesis.id[::-1].hex() in PAGE


@pytest.mark.parametrize("params", NETWORKS.values(), ids=lambda params: params.name)
def test_both_pay_the_same_subsidy(params: Params) -> None:
    network = chain.NETWORKS[params.name]
    heights = [era * network.interval + near for era in range(67) for near in (-1, 0, 1) if era or near >= 0]
    assert [blocks.subsidy(network, height) for height in heights] == [
        block_subsidy(params, height) for height in heights
    ]


def test_the_page_names_every_rule_and_no_other() -> None:
    tables = "\n".join(line for line in PAGE.splitlines() if line.startswith("|"))
    named = set(re.findall(r"`([a-z]+(?:-[a-z0-9]+)+|malformed|older|pays)`", tables))
    assert named == set(Rule)
    assert blocks.BODY_RULES == BODY_RULES


def test_both_read_the_same_compact_forms() -> None:
    random = Random(6)
    near = [
        size << 24 | mantissa for size in range(256) for mantissa in (0, 1, 0xFF, 0x7FFF, 0x8000, 0x7FFFFF, 0x800000)
    ]
    for bits in [*near, *(random.getrandbits(32) for _ in range(20_000))]:
        assert (headers.target_of(bits) or 0) == target_from_bits(bits), f"{bits:08x}"
    for _ in range(5_000):
        target = random.getrandbits(random.randint(1, 256)) or 1
        assert headers.bits_of(target) == bits_from_target(target), target
        bits = headers.bits_of(target)
        assert headers.work_of(headers.target_at(bits)) == work.work_of_bits(bits)


@pytest.mark.parametrize("name", ["main", "local"])
def test_both_demand_the_same_bits(name: str) -> None:
    """Also where the clock is far ahead or behind, and just around the limit."""
    random = Random(7)
    params, network = NETWORKS[name], chain.NETWORKS[name]
    limit = headers.target_at(network.limit_bits)
    moved = 0
    for _ in range(10_000):
        anchor = Anchor(
            random.randint(1, 1000),
            random.randint(0, 2**32 - 1),
            headers.bits_of(random.choice([limit, limit >> 1, random.randint(1, limit)])),
        )
        height = anchor.height + random.choice([0, 1, 2, random.randint(0, 100_000)])
        due = anchor.time + params.spacing * (height - anchor.height)
        late = random.choice([0, 1, params.half_life, random.randint(-1000, 1000), random.randint(-(2**22), 2**22)])
        time = max(0, min(2**32 - 1, random.choice([due + late, due - late, random.randint(0, 2**31)])))
        parent = headers.Place(
            headers.read_header(bytes(68) + time.to_bytes(4, "little") + bytes(8)),
            height,
            [time],
            0,
            headers.Anchor(anchor.height, anchor.time, headers.target_at(anchor.bits)),
        )
        bits, moved_to = headers.next_bits(network, parent)
        ours, our_anchor = next_bits(params, anchor, height, time)
        assert bits == ours, (anchor, height, time)
        expected = moved_to or parent.anchor
        assert our_anchor is not None
        assert expected is not None
        assert expected == (our_anchor.height, our_anchor.time, headers.target_at(our_anchor.bits))
        moved += moved_to is not None
    assert 100 < moved < 9_900


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 7, 8, 9, 33])
def test_both_prove_the_same(count: int) -> None:
    random = Random(count)
    transactions = [coinbase(height) for height in range(1, count + 1)]
    root = blocks.merkle_root([tx.wtxid for tx in transactions])
    for index, tx in enumerate(transactions):
        proof = merkle_proof(transactions, index)
        raw = msgspec.msgpack.encode(proof)
        assert blocks.check_proof(raw, root).raw == tx.encoded
        for changes in (
            {"index": random.randint(0, count + 1)},
            {"count": random.randint(0, 2 * count)},
            {"hashes": proof.hashes[1:]},
        ):
            spoilt = msgspec.structs.replace(proof, **changes)
            try:
                blocks.check_proof(msgspec.msgpack.encode(spoilt), root)
                holds = True
            except Refused:
                holds = False
            assert holds == proves(spoilt, root), changes
