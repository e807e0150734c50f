"""What a test does with a network, whether its nodes are simulated or processes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from typing import Any

Amount = Decimal | int | str
"""In DURE, with at most eight decimals. Floats are not taken: 0.1 is none of them."""


class CallRefused(Exception):
    """A node refused a call, in its own words.

    Attributes:
        code: Bitcoin Core's error code.
    """

    def __init__(self, node: int, code: int, message: str) -> None:
        super().__init__(f"node {node} refused: {message}")
        self.code = code
        self.message = message


class NotConverged(AssertionError):
    """Nodes do not agree; the message says who stands where."""


class TookTooLong(AssertionError):
    """What was waited for did not happen in time."""


class Node(ABC):
    """One node of a network, with a wallet that has coins."""

    number: int

    def __repr__(self) -> str:
        return f"node {self.number}"

    @abstractmethod
    def call(self, method: str, *params: Any) -> Any:
        """Call a method of its JSON-RPC (docs/rpc.md) and return the result: dicts, lists, text, numbers as Decimal.

        Raises:
            CallRefused: with the node's own words and Bitcoin Core's code.
        """

    @property
    @abstractmethod
    def running(self) -> bool:
        """Whether it runs."""

    @property
    def height(self) -> int:
        """The height of its tip."""
        return int(self.call("getblockcount"))

    @property
    def tip(self) -> str:
        """The id of its tip."""
        return str(self.call("getbestblockhash"))

    @property
    def mempool(self) -> list[str]:
        """The txids of what waits for a block."""
        return list(self.call("getrawmempool"))

    def balance(self) -> Decimal:
        """Return what its wallet can spend now, in DURE."""
        return Decimal(self.call("getbalances")["mine"]["trusted"])

    def new_address(self, label: str = "") -> str:
        """Return an address of its wallet that was never handed out."""
        return str(self.call("getnewaddress", label))


class Network(ABC):
    """Nodes that are connected and whose wallets have coins. Blocks come only when `mine` is called."""

    nodes: Sequence[Node]

    def __getitem__(self, number: int) -> Node:
        return self.nodes[number]

    def __len__(self) -> int:
        return len(self.nodes)

    @property
    def running(self) -> list[Node]:
        """The nodes that run."""
        return [node for node in self.nodes if node.running]

    # --- what happens -----------------------------------------------------------------------------------------

    def mine(self, node: int = 0, count: int = 1) -> str:
        """Let a node find blocks by real proof of work; return its tip. Others hear of it: see `wait_for_tip`."""
        address = self[node].new_address("mining")
        for _ in range(count):
            self._find_block(node, address)
        return self[node].tip

    @abstractmethod
    def _find_block(self, node: int, address: str) -> None: ...

    def send(self, sender: int, to: int | str, amount: Amount) -> str:
        """Pay out of a node's wallet to another node, or to an address; return the txid."""
        address = self[to].new_address() if isinstance(to, int) else to
        return str(self[sender].call("sendtoaddress", address, str(amount)))

    @abstractmethod
    def partition(self, *groups: Iterable[int]) -> None:
        """Keep groups of nodes from each other; nodes that are not named form a group of their own."""

    @abstractmethod
    def heal(self) -> None:
        """Join what was cut."""

    @abstractmethod
    def kill(self, node: int) -> None:
        """End a node at this very moment, as `kill -9` does."""

    @abstractmethod
    def start(self, node: int) -> None:
        """Start a node again, on what is on its disk."""

    @abstractmethod
    def pass_time(self, seconds: float) -> None:
        """Let time pass: real time for processes, virtual time in a simulation."""

    # --- what is waited for and held to -----------------------------------------------------------------------

    @abstractmethod
    def wait_for(self, reached: Callable[[], object], within: float = 60.0, what: str = "") -> None:
        """Wait until something is true.

        Args:
            within: seconds: real ones for processes, virtual ones in a simulation.
            what: for the message, if it is not.

        Raises:
            TookTooLong: it is not.
        """

    def wait_for_tip(self, tip: str | None = None, within: float = 60.0, nodes: Iterable[int] | None = None) -> str:
        """Wait until nodes, by default all that run, are on one tip; return its id.

        Args:
            tip: which one; None for any.
        """
        chosen = self.running if nodes is None else [self[number] for number in nodes]

        def reached() -> bool:
            tips = {node.tip for node in chosen}
            return len(tips) == 1 and (tip is None or tip in tips)

        self.wait_for(reached, within, f"all on one tip; {self._standing(chosen)}")
        return chosen[0].tip

    def wait_for_mempool(self, txid: str, within: float = 60.0, nodes: Iterable[int] | None = None) -> None:
        """Wait until a payment waits for a block at nodes, by default at all that run."""
        chosen = self.running if nodes is None else [self[number] for number in nodes]
        self.wait_for(lambda: all(txid in node.mempool for node in chosen), within, f"{txid} in all mempools")

    def assert_converged(self) -> None:
        """Hold all running nodes to one tip, the same coins to the byte, and no coin too many.

        Raises:
            NotConverged: with where each of them stands.
        """
        found = {node.number: node.call("gettxoutsetinfo") for node in self.running}
        if len({info["bestblock"] for info in found.values()}) > 1:
            raise NotConverged(f"nodes are on several tips: {self._standing(self.running)}")
        if len({info["state_hash"] for info in found.values()}) > 1:
            hashes = ", ".join(f"node {number} {info['state_hash']}" for number, info in found.items())
            raise NotConverged(f"nodes are on one tip with different coins: {hashes}")
        for number, info in found.items():
            if Decimal(info["total_amount"]) > Decimal(info["supply"]):
                raise NotConverged(f"node {number} has {info['total_amount']} DURE of {info['supply']}")

    @staticmethod
    def _standing(nodes: Iterable[Node]) -> str:
        return ", ".join(f"node {node.number} at {node.height} ({node.tip[:8]}…)" for node in nodes)

    @abstractmethod
    def close(self) -> None:
        """End all of it."""
