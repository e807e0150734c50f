"""Who gets a slot and who loses it, who is dialled and when, over whole nodes on a network in memory."""

from __future__ import annotations

import asyncio
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from node.gossip_limits import MAX_INBOUND_PER_HOST, REDIAL_CAP_SECONDS
from node.partition import FILE as PARTITION_FILE
from node.peer import Role
from node.storage.errors import DamagedError
from node.storage.files import DirectoryFiles, MemoryFiles
from p2p.address_manager import KnownAddress
from p2p.messages import Addr, GetAddr, Inv, Item, ItemKind, Message, PeerAddress, TxMessage
from p2p.peer_link import PeerLink
from p2p.transport import Address, Link, LinkHandler
from simnet.loop import run_virtual
from simnet.network import HostNetwork, SimNetwork
from tests.support.nodes import FakePeer, RunningNode, World, dial, new_chain, until

DISCOVERING: dict[str, Any] = {"discovery": True, "max_outbound": 8, "connect": ()}


class CountingNetwork(HostNetwork):
    """Counts dials, and when they were."""

    def __init__(self, network: SimNetwork, host: str) -> None:
        super().__init__(network, host)
        self.dials: list[tuple[float, Address]] = []

    async def connect(self, address: Address, handler: LinkHandler) -> Link:
        self.dials.append((asyncio.get_running_loop().time(), address))
        return await super().connect(address, handler)


def reasons(node: RunningNode) -> list[str]:
    return [entry["reason"] for entry in node.logged("peer_disconnected")]


# --- finding each other -------------------------------------------------------------------------------------------


def test_from_one_known_node_ten_nodes_find_each_other() -> None:
    async def story() -> None:
        world = World()
        async with asyncio.TaskGroup() as group:
            done = asyncio.Event()
            nodes: list[RunningNode] = []

            async def run(number: int) -> None:
                seeds = (world.host(200),) if number else ()
                address = world.host(200 + number)
                async with world.node(address=address, seeds=seeds, **DISCOVERING) as node:
                    nodes.append(node)
                    await done.wait()

            for number in range(10):
                group.create_task(run(number))
            await until(lambda: len(nodes) == 10)
            # Each has chosen eight of nine, and none is connected to another twice.
            took = await until(lambda: all(node.peers >= 8 for node in nodes))
            assert took < 5
            for node in nodes:
                hosts = [peer.remote.host for peer in node.node.peers]
                assert len(hosts) == len(set(hosts))
            done.set()

    run_virtual(story)


def test_without_discovery_addresses_come_from_peers() -> None:
    async def story() -> None:
        world = World()
        choosing: dict[str, Any] = {"max_outbound": 8, "connect": ()}
        async with (
            world.node(**choosing) as a,
            world.node(seeds=(a.address,), **choosing) as b,
        ):
            await until(lambda: b.peers == 1)
            async with world.node(seeds=(a.address,), **choosing) as c:
                await until(lambda: c.peers == 2, within=20)

    run_virtual(story)


def test_connect_only_means_only() -> None:
    async def story() -> None:
        world = World()
        async with world.node() as a, world.node() as b, world.node([a.address], seeds=(b.address,)) as c:
            await until(lambda: c.peers == 1)
            fake = await dial(world, c)
            seen = 1_800_000_000
            fake.send(Addr((PeerAddress(bytes(10) + b"\xff\xff" + bytes((10, 0, 0, 2)), b.address.port, seen),)))
            fake.send(GetAddr())
            await asyncio.sleep(60)
            assert b.peers == 0
            assert fake.got(GetAddr) == []
            assert fake.got(Addr) == []

    run_virtual(story)


def test_two_that_dial_each_other_keep_one_link() -> None:
    async def story() -> None:
        for seed in range(6):
            world = World(seed=seed)
            one, other = world.host(1), world.host(2)
            async with world.node([other]) as a, world.node([one]) as b:
                await until(lambda: a.peers == b.peers == 1)
                await asyncio.sleep(30)
                assert a.peers == b.peers == 1
                assert len(a.logged("peer_connected")) <= 2

    run_virtual(story)


def test_a_node_that_dials_itself_forgets_the_address() -> None:
    """A081"""

    async def story() -> None:
        world = World()
        network = CountingNetwork(world.network, "10.0.0.1")
        async with world.node([world.host(1)], network=network) as node:
            await asyncio.sleep(120)
            assert len(network.dials) == 1
            assert node.peers == 0
            assert node.logged("peer_connected") == []
            assert world.host(1) not in node.node.addresses.table

    run_virtual(story)


def test_a_dead_address_is_dialled_ever_more_rarely_and_with_jitter() -> None:
    """A085"""

    async def story() -> None:
        world = World()
        network = CountingNetwork(world.network, "10.0.0.1")
        async with world.node([world.host(99)], network=network):
            await asyncio.sleep(300)
            times = [when for when, _ in network.dials]
            gaps = [later - sooner for sooner, later in pairwise(times)]
            assert gaps[0] < 0.4
            assert all(gap <= REDIAL_CAP_SECONDS * 1.5 + 0.1 for gap in gaps)
            assert len(times) < 50
            assert len({round(gap, 3) for gap in gaps[-10:]}) > 5

    run_virtual(story)


def test_a_peer_that_shuts_the_door_again_and_again_is_not_stormed() -> None:
    """A085: one flap after the other."""

    async def story() -> None:
        world = World()
        network = CountingNetwork(world.network, "10.0.0.1")
        doors: list[FakePeer] = []

        def accept() -> LinkHandler:
            peer = FakePeer(world, dialled=False, nonce=len(doors) + 1)
            peer.answers.append(lambda _: peer.link.close())
            doors.append(peer)
            return peer.link

        await world.network.listen(world.host(99), accept)
        async with world.node([world.host(99)], network=network) as node:
            await asyncio.sleep(300)
            assert 20 < len(doors) < 60
            assert not node.node._tasks
            assert not node.node.peer_manager._dialer._dials

    run_virtual(story)


def test_a_lost_peer_is_dialled_again() -> None:
    async def story() -> None:
        world = World()
        async with world.node() as a, world.node([a.address]) as b:
            await until(lambda: a.peers == 1)
            await asyncio.sleep(60)
            a.node.peer_manager.disconnect(a.node.peers[0], "a test")
            await until(lambda: a.peers == 0)
            assert await until(lambda: a.peers == b.peers == 1) < 1.0

    run_virtual(story)


def test_known_addresses_outlive_a_restart() -> None:
    async def story() -> None:
        world = World()
        files = MemoryFiles()
        address = world.host(50)
        choosing: dict[str, Any] = {"max_outbound": 8, "connect": ()}
        async with world.node(**choosing) as a:
            async with world.node(files=files, address=address, seeds=(a.address,), **choosing) as b:
                await until(lambda: b.peers == 1)
            async with world.node(files=files, address=address, **choosing) as b:
                await until(lambda: b.peers == 1)

    run_virtual(story)


def test_a_node_whose_seeds_are_gone_says_so_and_its_table_suffices() -> None:
    """A114: seeds that are down, that lie, and that all stand in one place."""

    async def story() -> None:
        world = World()
        files = MemoryFiles()
        address, gone = world.host(50), tuple(world.host(300 + number) for number in range(8))
        choosing: dict[str, Any] = {"max_outbound": 8, "connect": ()}
        async with world.node(address=address, seeds=gone, **choosing) as lost:
            await asyncio.sleep(90)
            (warning,) = lost.logged("no_peers")
            assert warning["named"] == [str(each) for each in gone]
        async with world.node(**choosing) as honest:
            async with world.node(files=files, address=address, seeds=(honest.address, *gone), **choosing) as node:
                await until(lambda: node.peers == 1)
            # All its seeds are liars now: each tells of a thousand nodes that are not there, all of one group.
            for nonce, liar in enumerate(gone):
                await world.network.listen(liar, lambda nonce=nonce: _liar(world, nonce).link)  # type: ignore[misc]
            async with world.node(files=files, address=address, seeds=gone, **choosing) as node:
                await until(lambda: honest.address.host in [peer.remote.host for peer in node.node.peers], within=600)
                assert node.logged("no_peers") == []

    run_virtual(story)


def _liar(world: World, nonce: int) -> FakePeer:
    """A peer that tells of nodes which are not there to whoever asks, and often."""
    peer = FakePeer(world, dialled=False, nonce=1_000 + nonce)
    hosts = [bytes(10) + b"\xff\xff" + bytes([10, 77, number // 250, number % 250 + 1]) for number in range(1_000)]

    def answer(message: object) -> None:
        if isinstance(message, GetAddr):
            peer.send(Addr(tuple(PeerAddress(host, 7340, 1_800_000_000) for host in hosts)))

    peer.answers.append(answer)
    return peer


def test_no_two_outbound_peers_stand_in_one_network() -> None:
    """A110, A113: who has all addresses of a network gets one of our connections at most."""

    async def story() -> None:
        world = World()
        here = [Address(f"9.{group}.0.{number}", 7340) for group in range(4) for number in range(1, 11)]

        def polite(nonce: int) -> PeerLink:
            peer = FakePeer(world, dialled=False, nonce=2_000 + nonce)
            peer.serve_headers(())
            return peer.link

        for nonce, address in enumerate(here):
            await world.network.listen(address, partial(polite, nonce))
        async with world.node(seeds=tuple(here), max_outbound=8) as node:
            await asyncio.sleep(300)
            groups = [peer.remote.host.split(".")[1] for peer in node.node.peers]
            assert sorted(groups) == ["0", "1", "2", "3"]

    run_virtual(story)


def test_a_damaged_address_file_costs_a_warning_and_no_more() -> None:
    """A111, A134"""

    async def story() -> None:
        world = World()
        files = MemoryFiles()
        files.write("peers.dat", b"nonsense" * 100)
        async with world.node(files=files) as node:
            assert len(node.node.addresses.table) == 0
            assert node.logged("addresses_unreadable")

    run_virtual(story)


def test_a_huge_address_file_is_not_even_read(tmp_path: Path) -> None:
    """A134"""
    with (tmp_path / "peers.dat").open("wb") as file:
        file.truncate(1 << 40)

    async def story() -> None:
        async with World().node(files=DirectoryFiles(tmp_path)) as node:
            assert len(node.node.addresses.table) == 0
            assert len(node.logged("addresses_unreadable")) == 1

    run_virtual(story)


def test_an_address_file_that_the_disk_refuses_costs_a_warning_and_no_more(tmp_path: Path) -> None:
    """A134"""
    (tmp_path / "peers.dat").mkdir()

    async def story() -> None:
        async with World().node(files=DirectoryFiles(tmp_path)) as node:
            assert len(node.node.addresses.table) == 0
            assert len(node.logged("addresses_unreadable")) == 1

    run_virtual(story)


def test_getaddr_is_answered_once_and_only_to_who_dialled_us() -> None:
    """A105, A107"""

    async def story() -> None:
        world = World()
        async with world.node(max_outbound=8) as node:
            await dial(world, node, FakePeer(world, port=7340, nonce=5), host="10.7.7.7")
            peer = await dial(world, node)
            peer.send(GetAddr(), GetAddr())
            await asyncio.sleep(1)
            assert len(peer.got(Addr)) == 1

    run_virtual(story)


def test_if_all_outbound_peers_are_stuck_on_an_old_tip_another_is_tried() -> None:
    """A115: an attacker has all outbound slots, and tells nothing."""
    _, blocks = new_chain(3)

    async def story() -> None:
        world = World()
        stuck = [world.host(150 + number) for number in range(3)]
        for nonce, address in enumerate(stuck):
            await world.network.listen(address, lambda nonce=nonce: FakePeer(world, dialled=False, nonce=nonce).link)  # type: ignore[misc]
        async with world.node() as honest:
            await honest.feed(blocks)
            async with world.node(seeds=stuck, max_outbound=3) as node:
                await until(lambda: node.peers == 3)
                now = 1_800_000_000
                node.node.addresses.table.add([KnownAddress(honest.address, now)], honest.address, now)
                await asyncio.sleep(600)
                assert node.peers == 3
                await until(lambda: node.height == 3, within=1800)
                await until(lambda: node.peers == 3)
                # The one that was of use stays; of the others one has gone.
                assert honest.peers == 1

    run_virtual(story)


# --- slots --------------------------------------------------------------------------------------------------------


def test_when_inbound_slots_are_full_a_newcomer_evicts_one_and_outbound_goes_on() -> None:
    """A079, A112"""

    async def story() -> None:
        world = World()
        async with world.node() as friend, world.node(max_inbound=40) as node:
            for number in range(40):
                await dial(world, node, FakePeer(world, nonce=number + 100), host=f"10.8.0.{number}")
            assert node.peers == 40
            late = await dial(world, node, FakePeer(world, nonce=999), host="10.8.1.1")
            assert late.ready
            await until(lambda: node.peers == 40)
            assert reasons(node) == ["evicted"]
            node.node.peer_manager.add_node(friend.address)
            await until(lambda: friend.peers == 1 and node.peers == 41)
            assert {peer.role for peer in node.node.peers} == {Role.INBOUND, Role.ADDED}

    run_virtual(story)


def test_one_public_host_gets_few_slots() -> None:
    """A079"""

    async def story() -> None:
        world = World()
        async with world.node(private_addresses=False) as node:
            for number in range(20):
                await dial(world, node, FakePeer(world, nonce=number + 100), host="8.8.8.8")
            assert node.peers == MAX_INBOUND_PER_HOST
            await dial(world, node, FakePeer(world, nonce=500), host="9.9.9.9")
            assert node.peers == MAX_INBOUND_PER_HOST + 1

    run_virtual(story)


# --- misbehaviour -------------------------------------------------------------------------------------------------


def misbehave(peer: FakePeer) -> None:
    peer.send(TxMessage(b"\x00 no transaction"))


def test_a_host_that_misbehaved_may_come_again_only_while_slots_are_free() -> None:
    """A101"""

    async def story() -> None:
        world = World()
        async with world.node(max_inbound=8) as node:
            bad = await dial(world, node, host="10.6.6.6")
            misbehave(bad)
            await until(lambda: bad.closed is not None)
            again = await dial(world, node, FakePeer(world, nonce=2), host="10.6.6.6")
            assert again.ready
            for number in range(3):
                await dial(world, node, FakePeer(world, nonce=number + 10), host=f"10.6.7.{number}")
            refused = await dial(world, node, FakePeer(world, nonce=3), host="10.6.6.6")
            assert not refused.ready
            assert node.node.peer_manager.is_suspect(Address("10.6.6.6", 1234))

    run_virtual(story)


def test_on_loopback_nobody_pays_for_his_neighbour() -> None:
    """A101: all nodes of one machine share an address."""

    async def story() -> None:
        world = World()
        async with world.node(max_inbound=8) as node:
            for number in range(6):
                bad = await dial(world, node, FakePeer(world, nonce=number + 1), host="127.0.0.1")
                misbehave(bad)
                await until(lambda bad=bad: bad.closed is not None)  # type: ignore[misc]
            for number in range(6):
                good = await dial(world, node, FakePeer(world, nonce=number + 20), host="127.0.0.1")
                assert good.ready
            assert node.peers == 6

    run_virtual(story)


def test_a_mistake_of_ours_costs_one_connection_and_is_in_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        world = World()
        async with world.node() as node:
            peer = await dial(world, node)

            def broken(*_: object) -> None:
                raise KeyError("a mistake")

            monkeypatch.setattr(node.node, "_route", broken)
            peer.send(Inv((Item(ItemKind.TX, bytes(32)),)))
            await until(lambda: peer.closed is not None)
            assert node.logged("event_not_handled")
            node.entries.clear()

    run_virtual(story)


def test_messages_of_a_later_version_are_skipped() -> None:
    """A077"""

    class Later(Message, frozen=True, array_like=True, gc=False):
        number = 99
        max_body = 10

    async def story() -> None:
        world = World()
        async with world.node() as node:
            peer = await dial(world, node)
            peer.send(Later())
            await asyncio.sleep(1)
            assert peer.closed is None

    run_virtual(story)


# --- partition ----------------------------------------------------------------------------------------------------


def test_a_partition_outlives_a_restart_and_refuses_both_ways() -> None:
    async def story() -> None:
        world = World()
        files, address = MemoryFiles(), world.host(77)
        async with world.node() as a:
            async with world.node([a.address], files=files, address=address) as b:
                await until(lambda: b.peers == 1)
                b.node.set_partition([a.address])
                assert b.node.partition.blocked == (a.address,)
                await until(lambda: b.peers == a.peers == 0)
            async with world.node([a.address], files=files, address=address) as b:
                # Neither do we dial, nor is its Hello taken when it dials us.
                a.node.peer_manager.add_node(b.address)
                await asyncio.sleep(30)
                assert b.peers == 0
                assert b.logged("peer_connected") == []
                b.node.set_partition([])
                await until(lambda: b.peers == 1)

    run_virtual(story)


def test_a_damaged_partition_file_is_an_error_and_not_a_healing() -> None:
    files = MemoryFiles()
    files.write(PARTITION_FILE, b"[1, 2")

    async def story() -> None:
        world = World()
        try:
            async with world.node(files=files):
                raise AssertionError("it started")
        except DamagedError as error:
            assert "damaged" in str(error)

    run_virtual(story)


# --- the end ------------------------------------------------------------------------------------------------------


def test_a_stopped_node_leaves_no_task_and_no_link() -> None:
    """A085"""

    async def story() -> None:
        world = World()
        before = asyncio.all_tasks()
        async with world.node(**DISCOVERING) as a, world.node(seeds=(a.address,), **DISCOVERING) as b:
            await until(lambda: a.peers == b.peers == 1)
        assert asyncio.all_tasks() == before
        assert not world.network.bound
        assert not a.logged("links_left_open")

    run_virtual(story)


# --- switched off -------------------------------------------------------------------------------------------------


def test_switched_off_a_node_has_no_peers_looks_for_none_and_answers_nobody_until_it_is_on_again() -> None:
    async def story() -> None:
        world = World()
        async with (
            world.node(**DISCOVERING) as a,
            world.node(seeds=(a.address,), **DISCOVERING) as b,
            world.node([a.address]) as fixed,
        ):
            await until(lambda: a.peers == 2 and b.peers >= 1)
            a.node.set_network_active(False)
            await until(lambda: a.peers == 0)
            assert set(reasons(a)) == {"the network is switched off"}
            stranger = await dial(world, a)
            async with world.node(seeds=(a.address,), **DISCOVERING) as late:
                await asyncio.sleep(300)
                assert (a.peers, late.peers) == (0, 0)
            assert fixed.peers == 0
            assert not stranger.ready
            a.node.set_network_active(False)  # once more changes nothing
            a.node.set_network_active(True)
            await until(lambda: a.peers >= 2 and fixed.peers == 1, within=REDIAL_CAP_SECONDS * 2)
            assert [line["on"] for line in a.logged("network_switched")] == [False, True]

    run_virtual(story)
