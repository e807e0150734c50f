"""docker-compose.yml on a real engine, by the very commands of docs/docker.md, in their order.

The tests of this file share five containers and follow one another: each runs its section of the page, waits for what a
reader would see, and leaves five nodes on one tip. Nothing sleeps to let time pass.
"""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from devnet.folder import wait_until
from tests.support.docker import PORTS, PROJECT, Containers, missing, taken
from tests.support.repository import ROOT
from tests.support.require import require

pytestmark = pytest.mark.e2e

PATIENCE = 120.0
"""Seconds for what takes a few."""

SERVICES = ("seed", "miner1", "miner2", "alice", "bob")
ALICE, BOB = 3, 4


def section(title: str) -> list[str]:
    """Return the commands of one section of the page."""
    text = (ROOT / "docs" / "docker.md").read_text().split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]
    return [line.strip() for line in re.findall(r"^    .+$", text, re.MULTILINE)]


def until(what: str, holds: Callable[[], object]) -> None:
    assert wait_until(lambda: bool(holds()), PATIENCE, step=0.2), f"never: {what}"


@pytest.fixture(scope="module")
def containers() -> Iterator[Containers]:
    if reason := missing():
        require("docker", reason)
    made = Containers()
    made.down()  # what an interrupted run has left
    if ports := taken():
        require("docker", f"something listens already on port {ports} of 127.0.0.1")
    try:
        yield made
    finally:
        made.down()


def nodes(containers: Containers) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = containers.dure("status")["nodes"]
    return found


def settle(containers: Containers) -> list[dict[str, Any]]:
    """Wait until all five answer and have one tip; return their status."""
    found: list[dict[str, Any]] = []

    def agreed() -> bool:
        found[:] = nodes(containers)
        return all(node["state"] == "running" for node in found) and len({node["tip"] for node in found}) == 1

    until("five nodes on one tip", agreed)
    return found


def coins(containers: Containers) -> set[tuple[str, str]]:
    """Return the tips that the nodes are at, each with the hash of all coins there."""
    counted = [containers.dure(f"rpc {node} gettxoutsetinfo") for node in range(5)]
    return {(one["bestblock"], one["state_hash"]) for one in counted}


def held(containers: Containers, node: int) -> float:
    [one] = containers.dure(f"balance {node}")["balances"]
    return float(one["confirmed"])


def test_up_starts_five_nodes_that_find_each_other(containers: Containers) -> None:
    for command in section("Start"):
        containers.run(command)
    for command in section("Talk to them"):
        containers.run(command)
    assert len(settle(containers)) == len(SERVICES)
    until("each is connected to all others", lambda: all(node["peers"] == 4 for node in nodes(containers)))
    known = [containers.dure(f"rpc {node} getnetworkinfo")["known_addresses"] for node in range(5)]
    assert all(count >= 4 for count in known), "they were told of the seed only, so the others were found"
    assert [node["datadir"] for node in nodes(containers)] == [None] * 5


def test_a_container_can_do_little(containers: Containers) -> None:
    for service in SERVICES:
        about = containers.inspect(service)
        host, settings = about["HostConfig"], about["Config"]
        assert about["State"]["Health"]["Status"] == "healthy"
        assert settings["User"] == "10001:10001"
        assert host["ReadonlyRootfs"]
        assert host["CapDrop"] == ["ALL"]
        assert not host["CapAdd"]
        assert host["SecurityOpt"] == ["no-new-privileges:true"]
        assert [mount["Destination"] for mount in about["Mounts"]] == ["/data"]
        published = [port for ports in host["PortBindings"].values() for port in ports]
        assert [(port["HostIp"], int(port["HostPort"])) for port in published] == [
            ("127.0.0.1", PORTS[SERVICES.index(service)])
        ]


def test_no_list_of_processes_shows_the_password(containers: Containers) -> None:
    """A150: a secret is given by environment or file, never by argument."""
    assert "local-only" not in containers.run("docker compose top")
    assert "dured" in containers.run("docker compose top seed")


@pytest.mark.parametrize(("password", "status"), [("local-only", 200), ("wrong-one", 401), ("", 401)])
def test_json_rpc_wants_the_password(containers: Containers, password: str, status: int) -> None:
    body = json.dumps({"method": "getblockcount", "params": [], "id": 1}).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{PORTS[0]}/", body, {"Content-Type": "application/json"})
    request.add_header("Authorization", "Basic " + b64encode(f"dure:{password}".encode()).decode())
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            assert answer.status == status
    except urllib.error.HTTPError as error:
        assert error.code == status
        error.close()


def test_payments_pass_from_node_to_node(containers: Containers) -> None:
    for command in section("Pay"):
        containers.run(command)
        if "send 1 3" in command:
            until("alice has been paid", lambda: held(containers, ALICE) == 12.5)
    until("bob has been paid by alice", lambda: held(containers, BOB) == 2.25)
    assert 10.2 < held(containers, ALICE) < 10.25, "what she had, less the payment and its fee"


def test_a_node_cut_off_mines_on_and_follows_the_others_when_it_is_back(containers: Containers) -> None:
    printed = {}
    for command in section("Cut one off"):
        if "network connect" in command:
            alone = containers.inside("alice", "status")["nodes"][0]
            others = [node for node in nodes(containers) if node["id"] != ALICE]
            assert {node["tip"] for node in others}.isdisjoint({alone["tip"]})
            assert nodes(containers)[ALICE]["state"] == "unreachable", "her port is gone with her network"
        printed[command] = containers.run(command)
        if "network connect" in command:
            settle(containers)
    log = containers.run("docker compose logs --no-log-prefix alice")
    assert "reorg_done" in log
    assert "of mining rewards were lost" in log
    until("all agree on every coin", lambda: len(coins(containers)) == 1)


def test_a_killed_node_catches_up(containers: Containers) -> None:
    before = held(containers, BOB)
    for command in section("Kill one"):
        containers.run(command)
        if "compose kill" in command:
            assert nodes(containers)[BOB]["state"] == "unreachable"
    assert settle(containers)[BOB]["height"] > 0
    assert held(containers, BOB) == before


def test_the_image_explains_its_settings(containers: Containers) -> None:
    for command in section("What the containers may do"):
        assert "rpc_password" in containers.run(command)


def test_down_leaves_nothing_running_and_volumes_until_they_are_named(containers: Containers) -> None:
    plain, thorough = section("End")
    containers.run(plain)
    listed = f"docker volume ls --quiet --filter label=com.docker.compose.project={PROJECT}"
    assert len(containers.run(listed).split()) == len(SERVICES)
    containers.run(thorough)
    assert containers.run(listed) == ""
    assert containers.run("docker compose ps --all --quiet") == ""
