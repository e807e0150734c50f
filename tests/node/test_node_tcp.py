"""Whole nodes over real sockets of this machine: few, because the rest is the same as over a network in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from node.clock import SystemClock
from p2p.tcp import TcpNetwork
from p2p.transport import Address
from tests.node.test_node_relay import PARAMS, funded, payment
from tests.support.nodes import World

ANYWHERE = Address("127.0.0.1", 0)


async def until(true: Callable[[], bool]) -> None:
    """No test fails by the machine's speed: half a minute is never needed."""
    async with asyncio.timeout(30):
        while not true():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("discovery", [False, True])
async def test_nodes_on_real_sockets_sync_and_pay(discovery: bool) -> None:
    chain, blocks, coins = funded(40)
    tx = payment(chain, blocks[-1], coins[0])
    world = World(params=PARAMS)
    network, clock = TcpNetwork(), SystemClock()
    more: dict[str, Any] = {"network": network, "clock": clock, "address": ANYWHERE}
    async with world.node(**more, discovery=discovery, max_outbound=8) as a:
        await a.feed(blocks)
        known: dict[str, Any] = {"seeds": (a.address,)} if discovery else {"connect": (a.address,)}
        async with world.node(**more, discovery=discovery, max_outbound=8, **known) as b:
            await until(lambda: b.height == 40)
            await b.node.submit_transaction(tx)
            await until(lambda: tx.txid in a.mempool)
            b.node.set_partition([a.address])
            await until(lambda: a.peers == b.peers == 0)
            await a.feed([chain.mine(blocks[-1])])
            b.node.set_partition([])
            await until(lambda: b.height == 41)
