"""What methods act on: the parts of a running node, handed to every method as its first argument."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

    from consensus.params import Params
    from consensus.types import LockId
    from node.api.method import Method
    from node.block_template import BlockTemplates
    from node.branch_mining import BranchMiner
    from node.chain import ChainManager
    from node.config import NodeConfig
    from node.mempool import Mempool
    from node.mining import Generator
    from node.node import Node
    from node.skewed_clock import SkewedClock
    from node.storage.chain_store import ChainStore
    from node.storage.errors import StorageError
    from node.storage.files import Files
    from node.wallet_place import WalletPlace
    from node.wallet_service import WalletService


class RunningCall(NamedTuple):
    """A call that is being answered."""

    method: str
    since: float
    """Monotonic seconds."""


@dataclass(kw_only=True)
class Services:
    """One node's parts."""

    params: Params
    config: NodeConfig
    clock: SkewedClock
    log: FilteringBoundLogger
    store: ChainStore
    chain: ChainManager
    mempool: Mempool
    node: Node
    templates: BlockTemplates
    generator: Generator
    branches: BranchMiner
    wallet: WalletService | None
    """None while there is none, or while one gives way to another."""
    backups: Files
    """The folder that backups of the wallet are written into."""
    fail: Callable[[StorageError], None]
    """Told that the disk failed; stops the node."""
    stop: Callable[[], None]
    """Asks the node to stop in order."""
    started: float
    """By the clock's `monotonic`."""
    version: str
    agent: str
    """What peers are told that this program is."""
    disk_size: Callable[[], int]
    """Bytes that the chain takes on disk."""
    mining_lock: Callable[[], Awaitable[LockId]]
    """Returns where rewards go that nobody named an address for: the same all the time."""
    wallet_place: WalletPlace | None = None
    """Where a wallet may be put; None if the settings want none."""
    starting: str | None = None
    """Why most calls are refused yet; None once the node runs."""
    methods: Mapping[str, Method] = field(default_factory=dict)
    running_calls: dict[int, RunningCall] = field(default_factory=dict)

    @property
    def is_private(self) -> bool:
        """Whether the network is one of the operator's own machines."""
        return self.params.name in {"local", "regtest"}
