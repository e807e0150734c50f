"""A template becomes headers and blocks that the rules know."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.codec import decode_block, decode_transaction
from consensus.hashing import hash256
from consensus.merkle import merkle_root
from consensus.types import BlockHash
from miner.work import Work, coinbase_branch, root_of_branch, with_extranonce
from node.block_template import BlockTemplates, coinbase_with, make_coinbase
from tests.support.pool import PARAMS, NodeInMemory, Pool, forward, template_answer
from tests.support.rules import find_nonce, lock


@given(count=st.integers(0, 40))
def test_the_branch_leads_from_the_coinbase_to_the_root(count: int) -> None:
    coinbase = make_coinbase(5, 1_000, lock(1)).encoded
    others = [hash256(n.to_bytes(2, "big")) for n in range(count)]
    assert root_of_branch(coinbase, coinbase_branch(others)) == merkle_root([hash256(coinbase), *others])


@pytest.mark.parametrize("value", [0, 5_000])
@pytest.mark.parametrize("extranonce", [0, 1, 2**64 - 1])
def test_the_extranonce_stands_at_the_end_of_the_memo(value: int, extranonce: int) -> None:
    coinbase = make_coinbase(300, value, lock(1))
    changed = with_extranonce(coinbase.encoded, extranonce)
    assert decode_transaction(changed) == coinbase_with(coinbase, extranonce)
    assert decode_transaction(changed).core.memo.endswith(extranonce.to_bytes(8, "big"))


@pytest.mark.parametrize("coinbase", [b"", b"\x90", bytes(40), make_coinbase(1, 5, lock(1)).encoded + b"\x00"])
def test_a_coinbase_of_another_shape_is_left_alone(coinbase: bytes) -> None:
    with pytest.raises(ValueError, match="memo"):
        with_extranonce(coinbase, 1)


def test_a_block_from_a_template_is_the_nodes_own() -> None:
    from miner.miner import work_of

    pool = Pool()
    for height in (1, 2, 3):
        pool.mempool.add(pool.mempool.check(forward(pool.reward(height))))
    template = BlockTemplates(PARAMS, pool.ledger, pool.mempool, pool.clock).create(lock(2))
    work = work_of(template_answer(template))
    header = work.header(77, template.time)
    assert header == template.block(77).header
    found = find_nonce(header)
    block = decode_block(work.block(found, 77))
    assert block.header == found
    assert block.transactions == template.block(77).transactions
    pool.ledger.connect(block)


def test_time_may_follow_the_clock() -> None:
    work = Work(1, 1, BlockHash(bytes(32)), 1_000, 0x207FFFFF, make_coinbase(1, 5, lock(1)).encoded, (), ())
    assert [work.header(0, time).time for time in (1_000, 1_007)] == [1_000, 1_007]


def test_the_support_node_answers_as_the_schema_says() -> None:
    node = NodeInMemory(Pool())
    assert template_answer(node.templates.create(lock(1))).height == node.pool.ledger.tip.height + 1
