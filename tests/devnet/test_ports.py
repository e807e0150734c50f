"""Ports: free, in a row, and out of the way of outgoing connections."""

from __future__ import annotations

import os
import random
import socket

import pytest

from devnet.folder import HOST
from devnet.ports import FIRST, LAST, RESERVED, STEP, choose_ports, taken


def test_each_node_gets_two_free_ports_in_a_row() -> None:
    pairs = choose_ports(32, random.Random(1))
    ports = [port for pair in pairs for port in pair]
    assert ports == list(range(ports[0], ports[0] + 64))
    assert ports[0] >= FIRST
    assert ports[-1] < LAST + STEP < 32_768
    assert RESERVED.isdisjoint(ports)


def occupied(kind: socket.SocketKind) -> tuple[int, socket.socket]:
    """A seed by which a port is chosen, and a socket that has that port; somebody else may be quicker with one."""
    for seed in range(os.getpid(), os.getpid() + 9):  # whoever runs the same tests beside us looks elsewhere
        other = socket.socket(socket.AF_INET, kind)
        try:
            other.bind((HOST, choose_ports(1, random.Random(seed))[0][0]))
        except OSError:
            other.close()
        else:
            return seed, other
    raise AssertionError("no port is free")


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_a_port_in_use_is_noticed_and_avoided(kind: socket.SocketKind) -> None:
    seed, other = occupied(kind)
    first = other.getsockname()[1]
    with other:
        if kind == socket.SOCK_STREAM:
            other.listen()
        assert list(taken([first])) == [first]
        assert first not in choose_ports(1, random.Random(seed))[0]
    assert list(taken([first])) == []
