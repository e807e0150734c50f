"""Nodes that run elsewhere: what $DURE_NODE may be."""

from __future__ import annotations

import pytest

from devnet.errors import Misconfigured, Refused
from devnet.folder import NetworkFolder
from devnet.launcher import is_alive, is_paused
from devnet.remote import RemoteNetwork


def test_one_url_is_a_network_of_one_node() -> None:
    network = RemoteNetwork("http://dure:local-only@127.0.0.1:27413", None)
    [node] = network.load().nodes
    assert (node.id, node.host, node.rpc_port, node.rpc_url) == (0, "127.0.0.1", 27413, "http://127.0.0.1:27413/")
    assert node.credentials(network) == b"dure:local-only"
    assert is_alive(node), "whether it runs is seen when it is asked"
    assert not is_paused(node)


def test_several_are_numbered_in_their_order() -> None:
    text = "http://a:secret-a@alice:1 , http://b:secret-b@[::1]:2,\nhttp://c:p%40ss%3A@carol"
    network = RemoteNetwork(text, None)
    nodes = network.load().nodes
    assert [node.rpc_url for node in nodes] == ["http://alice:1/", "http://[::1]:2/", "http://carol:27341/"]
    assert nodes[2].credentials(network) == b"c:p@ss:"


def test_user_and_password_have_a_default() -> None:
    network = RemoteNetwork("http://127.0.0.1:1 http://me@127.0.0.1:2 http://me:mine@127.0.0.1:3", "given")
    assert [node.credentials(network) for node in network.load().nodes] == [b"dure:given", b"me:given", b"me:mine"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("http://dure@127.0.0.1:1", "node 0 has no password"),
        ("https://dure:secret@127.0.0.1:1", "node 0 is not given as an http:// URL"),
        ("127.0.0.1:27413", "node 0 is not given as an http:// URL"),
        ("http://dure:secret@127.0.0.1:1/wallet", "of just a host and a port"),
        ("http://dure:secret@:1", "node 0 is not given as an http:// URL"),
        ("http://dure:secret@127.0.0.1:99999", "no proper host and port"),
        ("http://dure:secret@127.0.0.1:x", "no proper host and port"),
        ("http://dure:secret@[::1:1", "no proper host and port"),
        (" , ", "names 0 nodes"),
        ("http://dure:secret@a:1 " * 65, "names 65 nodes"),
    ],
)
def test_anything_else_is_refused_without_repeating_the_password(text: str, words: str) -> None:
    """A150: no secret in an error."""
    with pytest.raises(Misconfigured) as refused:
        RemoteNetwork(text, None)
    assert words in str(refused.value)
    assert "secret" not in str(refused.value)


def test_a_node_does_not_show_its_password() -> None:
    """A150: no secret in what tracebacks and logs show of a value."""
    network = RemoteNetwork("http://dure:secret@127.0.0.1:1", None)
    assert "secret" not in repr(network.load())


def test_what_is_not_here_is_refused() -> None:
    network: NetworkFolder = RemoteNetwork("http://dure:secret@127.0.0.1:1", None)
    with pytest.raises(Refused, match="run elsewhere"):
        network.node_path(0)
    with pytest.raises(Refused, match="run elsewhere"), network.locked():
        pass
    assert network.datadir(0) is None
