"""Nodes that run elsewhere, in containers or on other machines, named by $DURE_NODE: they are known by their JSON-RPC.

They are shown as a network, so that every command that asks nodes works as it does on a network in a folder. What
needs their processes, data directories or logs is refused with a sentence.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NoReturn
from urllib.parse import SplitResult, unquote, urlsplit

from consensus.params import LOCAL
from devnet.errors import Misconfigured, Refused
from devnet.folder import VERSION, NetworkFolder, NetworkRecord, NodeRecord
from devnet.topology import MAX_NODES, Topology

NODE_VARIABLE = "DURE_NODE"
"""Names the nodes: http://USER:PASSWORD@HOST:PORT, several with blanks or commas between them."""

PASSWORD_VARIABLE = "DURE_RPC_PASSWORD"  # noqa: S105 (the name of a variable)
"""The password of those whose URL has none: docker-compose.yml takes it from the same variable."""

DEFAULT_USER = "dure"


class RemoteNode(NodeRecord, frozen=True, kw_only=True):
    """A node of which only its JSON-RPC is known. It is never written to a disk."""

    at: str
    """The name or address of its host."""
    secret: bytes
    """`user:password`."""

    def __repr__(self) -> str:
        return f"RemoteNode({self.rpc_url!r})"

    @property
    def elsewhere(self) -> bool:
        """Yes: whether its process runs cannot be seen here."""
        return True

    @property
    def host(self) -> str:
        """Where it is called."""
        return self.at

    def credentials(self, folder: NetworkFolder) -> bytes:  # noqa: ARG002 (they came with its URL)
        """Return what its JSON-RPC wants to see."""
        return self.secret


class RemoteNetwork(NetworkFolder):
    """The nodes that $DURE_NODE names, in the order in which it names them."""

    def __init__(self, text: str, password: str | None, program: str = "dure") -> None:
        """Args:
        text: the value of $DURE_NODE.
        password: the value of $DURE_RPC_PASSWORD.
        program: how the user calls the `dure` command, for hints.

        Raises:
            Misconfigured: it names no node, or one in another form; the sentence repeats no password.
        """
        super().__init__(Path(), program)
        urls = [word for word in re.split(r"[\s,]+", text) if word]
        if not 1 <= len(urls) <= MAX_NODES:
            raise Misconfigured(f"${NODE_VARIABLE} names {len(urls)} nodes: it must be 1 to {MAX_NODES}.")
        self._record = NetworkRecord(
            version=VERSION,
            tag="",
            topology=Topology.FULL,
            hashrate=0,
            created=0,
            funded=True,
            partition=(),
            nodes=tuple(_read_url(number, url, password) for number, url in enumerate(urls)),
        )

    @property
    def is_remote(self) -> bool:
        """Yes."""
        return True

    def exists(self) -> bool:
        """Tell that there is a network: whether its nodes answer is seen when they are asked."""
        return True

    def load(self) -> NetworkRecord:
        """Return the nodes. Their links, and which of them mine, are not known here."""
        return self._record

    def node_path(self, number: int) -> NoReturn:
        """Refuse: a data directory elsewhere cannot be read."""
        raise _only_here(f"the data directory of node {number}")

    def datadir(self, number: int) -> None:  # noqa: ARG002 (of no node is it known)
        """Return nothing: where a node elsewhere keeps its data is not known."""
        return

    def locked(self, *, create: bool = False) -> NoReturn:  # noqa: ARG002 (refused in any case)
        """Refuse: whoever takes the lock wants to change processes, which can only be done where they run."""
        raise _only_here("a network's processes and its folder")


def _only_here(what: str) -> Refused:
    return Refused(
        f"This command works on {what}, and ${NODE_VARIABLE} names nodes that run elsewhere. Use what runs them, such "
        f"as docker compose; or, for a network in a folder, unset {NODE_VARIABLE} or name the folder with --dir."
    )


def _read_url(number: int, url: str, password: str | None) -> RemoteNode:
    """Read the URL of one node."""

    def refuse(why: str) -> Misconfigured:
        return Misconfigured(f"${NODE_VARIABLE}: {why}. Write it as http://{DEFAULT_USER}:PASSWORD@HOST:PORT.")

    try:
        parts = urlsplit(url)
        port = parts.port or LOCAL.rpc_port
    except ValueError:
        raise refuse(f"node {number} has no proper host and port") from None
    if parts.scheme != "http" or not parts.hostname or parts.path not in {"", "/"} or parts.query or parts.fragment:
        raise refuse(f"node {number} is not given as an http:// URL of just a host and a port")
    secret = unquote(parts.password) if parts.password else password
    if not secret:
        raise refuse(f"node {number} has no password, and ${PASSWORD_VARIABLE} gives none")
    return RemoteNode(
        id=number,
        port=0,
        rpc_port=port,
        mines=False,
        dials=(),
        wanted="running",
        process=None,
        at=parts.hostname,
        secret=f"{_user(parts)}:{secret}".encode(),
    )


def _user(parts: SplitResult) -> str:
    return unquote(parts.username) if parts.username else DEFAULT_USER
