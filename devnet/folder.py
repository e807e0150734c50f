"""A network's folder: what is on disk, and who may change it.

D/network.json      the network: its tag, shape and ports, and which process each node last was (this module)
D/.lock             held by the one command that is changing the network
D/.loading/         a network that is about to take this one's place (devnet.staging)
D/snapshots/        whole networks, each in a file (devnet.archive)
D/watch.jsonl       what `dure watch` saw; watch.jsonl.1 the older part, watch.jsonl.lock held by who records
D/node<N>/          the data directory of node N: dured.toml (written by the launcher), chain, wallet, cookie, debug.log
D/node<N>/output.log   what the daemon wrote to its terminal: empty unless it could not start
"""

from __future__ import annotations

import fcntl
import os
import shlex
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import msgspec

from devnet import staging
from devnet.errors import Misconfigured, Misused, Refused, Unavailable
from devnet.processes import Process
from devnet.topology import Topology
from p2p.link_conditions import LinkConditions

VERSION = 2
"""The layout of network.json. A program refuses one that is newer than it knows, and takes up an older one: 1 had
neither lines nor skew."""

LOCK_SECONDS = 15.0
"""How long a command waits for another one that is changing the same network."""

HOST = "127.0.0.1"
"""Every node of a network listens here, and nowhere else."""


class NodeRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A node as the network's folder remembers it."""

    id: int
    port: int
    """Where it listens for peers (TCP)."""
    rpc_port: int
    mines: bool
    dials: tuple[int, ...]
    """The nodes that it keeps a connection to by itself."""
    wanted: Literal["running", "stopped"]
    """What the last command wanted it to be: one that should run and does not has crashed, or was killed."""
    process: Process | None
    """The daemon that was started last."""
    skew: int = 0
    """Seconds by which its clock is set ahead."""

    @property
    def peer_address(self) -> str:
        """Where its peers find it."""
        return f"{HOST}:{self.port}"

    @property
    def elsewhere(self) -> bool:
        """Whether it runs out of sight, so that only asking it tells whether it runs (devnet/remote.py)."""
        return False

    @property
    def host(self) -> str:
        """Where it is called."""
        return HOST

    @property
    def rpc_url(self) -> str:
        """Where its JSON-RPC answers."""
        return f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{self.rpc_port}/"

    def credentials(self, folder: NetworkFolder) -> bytes:
        """Return the `user:password` that its JSON-RPC wants to see: the cookie of its data directory in `folder`.

        Raises:
            OSError: there is none (yet), or it cannot be read.
        """
        return (folder.node_path(self.id) / ".cookie").read_bytes().strip()


class LineRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One direction of a bad line between two nodes."""

    source: int
    """The node that sends."""
    target: int
    """The node that receives."""
    conditions: LinkConditions


class NetworkRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A network as its folder remembers it (network.json)."""

    version: int
    tag: str
    """16 random bytes in hex: they are in the genesis block, so that no two networks ever merge. Empty if not known."""
    topology: Topology
    hashrate: int
    """Hashes per second of each miner."""
    created: int
    """UNIX seconds."""
    funded: bool
    """Whether the wallets have had their first coins."""
    partition: tuple[tuple[int, ...], ...]
    """The groups that the network is cut into; none if it is whole."""
    nodes: tuple[NodeRecord, ...]
    lines: tuple[LineRecord, ...] = ()
    """The bad ones, in ascending order of their ends; all others are as they are."""

    def node(self, number: int) -> NodeRecord:
        """Return node `number`.

        Raises:
            Misused: there is no such node.
        """
        if not 0 <= number < len(self.nodes):
            one = "Its only node is 0." if len(self.nodes) == 1 else f"Its nodes are 0 to {len(self.nodes) - 1}."
            raise Misused(f"This network has no node {number}. {one}")
        return self.nodes[number]

    @property
    def is_disturbed(self) -> bool:
        """Whether there is anything to heal."""
        return bool(self.partition or self.lines or any(node.skew for node in self.nodes))

    def healed(self) -> NetworkRecord:
        """Return this network whole, its lines good and its clocks right."""
        nodes = tuple(msgspec.structs.replace(node, skew=0) for node in self.nodes)
        return msgspec.structs.replace(self, partition=(), lines=(), nodes=nodes)

    def with_skew(self, numbers: Iterable[int], seconds: int) -> NetworkRecord:
        """Return this network with the clocks of some nodes ahead by so many seconds.

        Raises:
            Misused: there is no such node.
        """
        changed = self
        for number in numbers:
            changed = changed.with_node(msgspec.structs.replace(changed.node(number), skew=seconds))
        return changed

    def with_node(self, changed: NodeRecord) -> NetworkRecord:
        """Return this network with one node's record exchanged."""
        nodes = tuple(changed if node.id == changed.id else node for node in self.nodes)
        return msgspec.structs.replace(self, nodes=nodes)


class NetworkFolder:
    """One network's place on disk."""

    def __init__(self, path: Path, program: str = "dure", given: str | None = None) -> None:
        """Args:
        path: the folder; it need not exist yet.
        program: how the user calls the `dure` command, for hints.
        given: the folder as the user has to name it with each command; None if it is found without that.
        """
        self.path = path
        self.program = program
        self._given = given

    @property
    def is_remote(self) -> bool:
        """Whether this stands for nodes elsewhere, of which no process and no data directory is here."""
        return False

    @property
    def record_path(self) -> Path:
        """Where the record is."""
        return self.path / staging.RECORD

    def node_path(self, number: int) -> Path:
        """Return the data directory of node `number`."""
        return self.path / f"node{number}"

    def datadir(self, number: int) -> str | None:
        """Return the data directory of node `number` for people and programs; None if it is not on this machine."""
        return str(self.node_path(number).absolute())

    def hint(self, command: str) -> str:
        """Return `command` of dure as the user has to type it to mean this network."""
        return f"{self.program} {command}" + (f" --dir {shlex.quote(self._given)}" if self._given else "")

    def exists(self) -> bool:
        """Tell whether there is a network here."""
        return self.record_path.exists()

    def load(self) -> NetworkRecord:
        """Read the record.

        Raises:
            Refused: there is no network in this folder.
            Misconfigured: the record is damaged, unreadable, or of a newer program.
        """
        try:
            raw = self.record_path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            raise Refused(f"There is no network in {self.path}. Start one: {self.hint('up')}") from None
        except OSError as error:
            raise Misconfigured(f"{self.record_path} cannot be read: {error.strerror}.") from None
        try:
            version = msgspec.json.decode(raw, type=_VersionOnly).version
            if version > VERSION:
                raise Misconfigured(
                    f"{self.record_path} was written by a newer version of this program (layout {version}; this one "
                    f"knows {VERSION}). Use that version, or another folder."
                )
            record = msgspec.json.decode(raw, type=NetworkRecord)
            return msgspec.structs.replace(record, version=VERSION)
        except msgspec.MsgspecError as error:
            raise Misconfigured(
                f"{self.record_path} is damaged ({error}). The nodes' data are untouched; "
                f"start a new network in another folder: {self.program} up --dir OTHER"
            ) from None

    def save(self, record: NetworkRecord) -> None:
        """Write the record, whole or not at all. The caller holds the lock.

        Raises:
            Misconfigured: the folder cannot be written to.
        """
        temporary = self.record_path.with_suffix(".new")
        try:
            with temporary.open("wb") as file:
                file.write(msgspec.json.format(msgspec.json.encode(record), indent=2) + b"\n")
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self.record_path)
        except OSError as error:
            raise Misconfigured(f"{self.record_path} cannot be written: {error.strerror}.") from None

    @contextmanager
    def locked(self, *, create: bool = False) -> Iterator[None]:
        """Hold the network against other commands that change it; waits up to `LOCK_SECONDS` for one that does.

        Args:
            create: make the folder if it is not there.

        Raises:
            Refused: there is no such folder (and `create` is false).
            Unavailable: another command is still at it.
            Misconfigured: the folder cannot be made or written to.
        """
        try:
            if create:
                self.path.mkdir(parents=True, exist_ok=True)
            elif not self.exists():
                self.load()  # says in its own words what is missing
            lock = os.open(self.path / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise Misconfigured(f"{self.path} cannot be used as a network's folder: {error.strerror}.") from None
        try:
            if not wait_until(lambda: _try_lock(lock), LOCK_SECONDS):
                raise Unavailable(f"Another command is changing the network in {self.path}. Try again when it is done.")
            self._finish_loading()
            yield
        finally:
            os.close(lock)  # which unlocks

    def is_busy(self) -> bool:
        """Tell whether a command is changing the network now."""
        try:
            lock = os.open(self.path / ".lock", os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            return not _try_lock(lock)
        finally:
            os.close(lock)

    def _finish_loading(self) -> None:
        """Go on with what a command that was killed had begun."""
        try:
            staging.roll_forward(self.path)
        except OSError as error:
            raise Misconfigured(
                f"{self.path / staging.STAGING} cannot be put in its place: {error.strerror}."
            ) from None

    def remove(self, record: NetworkRecord) -> None:
        """Delete the network: the record and its nodes' folders, and nothing else that may lie beside them.

        The caller holds the lock, and no node of the network runs.
        """
        for node in record.nodes:
            shutil.rmtree(self.node_path(node.id), ignore_errors=True)
        self.record_path.unlink(missing_ok=True)


class _VersionOnly(msgspec.Struct):
    """The one field that every layout of network.json has."""

    version: int


def _try_lock(lock: int) -> bool:
    """Take the lock unless another process holds it."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def wait_until(holds: Callable[[], bool], seconds: float, *, step: float = 0.02) -> bool:
    """Ask every `step` seconds whether something holds, for at most `seconds`; return the last answer."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(step)
    return True
