"""Swaps over the API: four nodes, two networks, and base64 that goes between two people."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import pytest
from msgspec.structs import replace

from consensus.params import REGTEST, sim_params
from rpc import schema
from rpc.encoding import Dure
from rpc.errors import ErrorCode
from tests.support.api import Api, refused
from tests.support.pair import Pair, running_pair

ELSEWHERE = replace(REGTEST, genesis=sim_params(60, REGTEST.start_bits, REGTEST.limit_bits).genesis)
MARGIN = 24 * 120


class Shores(NamedTuple):
    north: Pair
    south: Pair


@pytest.fixture
async def shores() -> AsyncIterator[Shores]:
    """Ann has rewards on both, and Bob 20 DURE on the south shore, 1 on the north."""
    async with running_pair() as north, running_pair(ELSEWHERE, seed=11) as south:
        for pair, amount in ((north, 1), (south, 20)):
            await pair.pay(await pair.bob.client.call("getnewaddress"), amount)
        yield Shores(north, south)


async def key_of(api: Api) -> schema.SwapKey:
    return await api.client.call("getswapkey", result=schema.SwapKey)


async def seen(api: Api, swap: str) -> schema.Swap:
    return await api.client.call("decodeswap", swap, result=schema.Swap)


async def stage(api: Api, swap: str) -> str:
    here = (await seen(api, swap)).here
    assert isinstance(here, schema.SwapHere)
    return here.stage


async def step(pair: Pair, api: Api, method: str, *params: object) -> schema.SwapStep:
    """A step, twice, and a block with it."""
    done = await api.client.call(method, *params, result=schema.SwapStep)
    again = await api.client.call(method, *params, result=schema.SwapStep)
    assert (done.again, again.again, again.txid) == (False, True, done.txid)
    await pair.pass_on(done.txid)
    return done


async def agreed(shores: Shores, asset: str) -> str:
    """100 of Ann's asset in the north for 5 DURE of Bob's in the south."""
    north, south = shores
    key = await key_of(south.ann)
    until = key.now + 8 * MARGIN
    wanted: dict[str, Any] = {
        "genesis": key.genesis, "spacing": key.spacing, "amount": 5 * 10**8, "receiver": key.pubkey,
        "refund_at": until, "hash": key.hash,
    }  # fmt: skip
    proposal = await north.ann.client.call("proposeswap", 100, 2 * until - key.now, wanted, asset)
    assert not (await seen(north.bob, proposal)).accepted
    accepted: str = await south.bob.client.call("acceptswap", proposal, (await key_of(north.bob)).pubkey)
    for api in (north.ann, north.bob, south.ann):
        assert await api.client.call("watchswap", accepted) is True
    assert await south.bob.client.call("watchswap", accepted) is False
    return accepted


async def test_two_swap_over_the_api_and_every_step_can_be_asked_for_twice(shores: Shores) -> None:
    north, south = shores
    asset = await shores.north.issue("reissuable", 500)
    swap = await agreed(shores, asset)
    said = await seen(north.bob, swap)
    assert (said.first.asset, said.first.amount, said.second.asset, said.second.amount) == (asset, 100, None, 5 * 10**8)
    assert (said.accepted, said.margin) == (True, MARGIN)
    before = await south.ann.client.call("getbalance", result=Dure)
    await step(north, north.ann, "lockswap", swap)
    assert await stage(north.bob, swap) == "locked"
    await step(south, south.bob, "lockswap", swap)
    early = await refused(south.ann, "claimswap", swap)
    assert "swap-early" in early.message
    await south.mine(2)
    claim = await step(south, south.ann, "claimswap", swap, None, 3)
    here = (await seen(south.bob, swap)).here
    assert isinstance(here, schema.SwapHere)
    assert (here.leg, here.gives, here.stage, here.spender) == ("second", True, "claimed", claim.txid)
    assert "swap-secret" in (await refused(north.bob, "claimswap", swap)).message
    await step(north, north.bob, "claimswap", swap, here.secret)
    assert await stage(north.ann, swap) == "claimed"
    (held,) = (await north.bob.client.call("getassetbalances", result=schema.AssetBalances)).assets
    assert (held.asset, held.trusted) == (asset, 100)
    gained = (await south.ann.client.call("getbalance", result=Dure)).grain - before.grain
    # The block rewards of those that she mined meanwhile have matured too, whole ones.
    assert (gained + claim.fee.grain - 5 * 10**8) % (25 * 10**8) < 2_000


async def test_what_nobody_claimed_is_taken_back_by_the_chains_clock(shores: Shores) -> None:
    north, _ = shores
    swap = await agreed(shores, await shores.north.issue("reissuable", 500))
    await step(north, north.ann, "lockswap", swap)
    assert "swap-early" in (await refused(north.ann, "refundswap", swap)).message
    assert "swap-not-yours" in (await refused(north.bob, "refundswap", swap)).message
    await north.ann.client.call("setclockskew", 17 * MARGIN)
    await north.mine(11)
    await step(north, north.ann, "refundswap", swap)
    assert await stage(north.bob, swap) == "refunded"
    assert "swap-done" in (await refused(north.bob, "claimswap", swap, "00" * 32)).message


async def test_what_is_no_swap_or_is_nobodys_here_is_refused_by_name(shores: Shores) -> None:
    north, south = shores
    swap = await agreed(shores, await shores.north.issue("reissuable", 500))
    raw = b64decode(swap)
    for text, word in (("?", "base64"), ("AAAA", "swap-size"), (b64encode(raw[:-1] + b"\0").decode(), "swap-checksum")):
        error = await refused(north.ann, "decodeswap", text)
        assert (error.code, word in error.message) == (ErrorCode.DESERIALIZATION_ERROR, True)
    assert "swap-not-yours" in (await refused(north.bob, "lockswap", swap)).message
    assert (
        "swap-not-accepted" in (await refused(south.bob, "acceptswap", swap, (await key_of(north.bob)).pubkey)).message
    )
    error = await refused(south.bob, "acceptswap", swap, "zz" * 33)
    assert (error.code, "public key" in error.message) == (ErrorCode.INVALID_PARAMETER, True)


async def test_a_node_of_neither_network_says_so(shores: Shores) -> None:
    swap = await agreed(shores, await shores.north.issue("reissuable", 500))
    third = replace(REGTEST, genesis=sim_params(60, 0x207FFFFE, 0x207FFFFE).genesis)
    async with running_pair(third, seed=21) as other:
        said = await seen(other.ann, swap)
        assert isinstance(said.problem, str)
        assert "swap-network" in said.problem
        for method in ("lockswap", "claimswap", "refundswap", "watchswap"):
            assert "swap-network" in (await refused(other.ann, method, swap)).message


async def test_a_controlled_asset_is_a_problem_that_both_are_told_of(shores: Shores) -> None:
    north = shores.north
    address = await north.ann.client.call("getnewaddress")
    share = await shores.north.issue("reissuable", 500, 0, None, None, None, None, address)
    key = await key_of(shores.south.ann)
    wanted = {"genesis": key.genesis, "spacing": 60, "amount": 10**8, "receiver": key.pubkey,
              "refund_at": key.now + 8 * MARGIN, "hash": key.hash}  # fmt: skip
    error = await refused(north.ann, "proposeswap", 100, key.now + 16 * MARGIN, wanted, share)
    assert "swap-asset" in error.message
