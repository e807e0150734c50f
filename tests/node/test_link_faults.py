"""Bad lines between whole nodes: they are late, not apart, and a restart does not mend them."""

from __future__ import annotations

import asyncio

import pytest

from node.link_faults import FILE, MAX_LINKS, LinkFaultError
from node.storage.errors import DamagedError
from node.storage.files import MemoryFiles
from p2p.link_conditions import LinkConditions
from p2p.transport import Address
from simnet.loop import run_virtual
from tests.support.nodes import World, converged, new_chain, until


def test_a_block_takes_as_long_as_the_line_makes_it() -> None:
    async def story() -> None:
        world = World()
        _, blocks = new_chain(3)
        async with world.node() as a, world.node([a.address]) as b:
            await until(lambda: a.peers == b.peers == 1)
            await a.feed(blocks[:1])
            assert await until(lambda: b.height == 1) < 0.5
            for one, other in ((a, b), (b, a)):
                one.node.link_faults.replace({other.address: LinkConditions(delay_ms=2_000)})
            await a.feed(blocks[1:2])
            assert 1.5 < await until(lambda: b.height == 2) < 3  # its outline: one way
            for node in (a, b):
                node.node.link_faults.replace({})
            await a.feed(blocks[2:])
            assert await until(lambda: b.height == 3) < 0.5

    run_virtual(story)


def test_nodes_behind_lossy_lines_agree_in_the_end() -> None:
    async def story() -> None:
        world = World()
        _, blocks = new_chain(60)
        async with world.node() as a, world.node([a.address]) as b, world.node([a.address, b.address]) as c:
            nodes = (a, b, c)
            for one in nodes:
                one.node.link_faults.replace(
                    {
                        other.address: LinkConditions(delay_ms=50, loss_ppm=200_000)
                        for other in nodes
                        if other is not one
                    }
                )
            await a.feed(blocks)
            await converged(nodes, within=120)
            assert {node.height for node in nodes} == {60}
            assert {node.peers for node in nodes} == {2}

    run_virtual(story)


def test_bad_lines_outlive_a_restart() -> None:
    async def story() -> None:
        world = World()
        files, address = MemoryFiles(), world.host(77)
        conditions = {world.host(78): LinkConditions(delay_ms=10, bits_per_second=5_000)}
        async with world.node(files=files, address=address) as node:
            node.node.link_faults.replace(conditions)
        async with world.node(files=files, address=address) as node:
            assert node.node.link_faults.conditions == conditions

    run_virtual(story)


def test_too_many_lines_are_refused_and_nothing_changes() -> None:
    async def story() -> None:
        async with World().node() as node:
            faults = node.node.link_faults
            faults.replace({Address("10.1.1.1", port): LinkConditions(delay_ms=1) for port in range(1, MAX_LINKS + 1)})
            with pytest.raises(LinkFaultError):
                faults.replace({Address("10.1.1.1", p): LinkConditions(delay_ms=2) for p in range(1, MAX_LINKS + 2)})
            assert len(faults.conditions) == MAX_LINKS
            assert {each.delay_ms for each in faults.conditions.values()} == {1}
            await asyncio.sleep(0)

    run_virtual(story)


@pytest.mark.parametrize("raw", [b"{", b"[]", b'{"nowhere": {}}', b'{"10.0.0.1:5": {"delay_ms": 99999999}}'])
def test_a_damaged_file_is_an_error_and_not_a_mended_line(raw: bytes) -> None:
    async def story() -> None:
        files = MemoryFiles()
        files.write(FILE, raw)
        with pytest.raises(DamagedError, match="damaged"):
            async with World().node(files=files):
                pass

    run_virtual(story)
