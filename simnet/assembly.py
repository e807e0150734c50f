"""The parts of one node, put together as `node.daemon` does it, on whatever world they are handed."""

from __future__ import annotations

import random
from typing import NamedTuple

from structlog.typing import FilteringBoundLogger

from consensus.params import Params
from node.block_template import BlockTemplates
from node.chain import ChainManager
from node.clock import Clock
from node.mempool import Mempool
from node.mining import Generator
from node.node import Node
from node.peer_settings import PeerSettings
from node.storage.chain_store import ChainStore
from node.storage.files import Files
from node.storage.store import Database
from node.workers import InlineWorkers
from p2p.transport import Network


class Parts(NamedTuple):
    """A node that is not running yet: start `chain`, then `node`."""

    store: ChainStore
    chain: ChainManager
    mempool: Mempool
    node: Node
    templates: BlockTemplates
    generator: Generator


def assemble(
    params: Params,
    settings: PeerSettings,
    *,
    database: Database,
    files: Files,
    network: Network,
    clock: Clock,
    rng: random.Random,
    log: FilteringBoundLogger,
    reindex: bool = False,
) -> Parts:
    """Make a node of real parts; only its workers work on the loop itself.

    Args:
        reindex: rebuild the chain from its bodies when it starts.

    Raises:
        StorageError: what is in the database cannot be used.
    """
    workers = InlineWorkers()
    store = ChainStore(database, params, reindex=reindex)
    chain = ChainManager(params, store, workers, clock, log)
    mempool = Mempool(params, chain, clock, workers, log)
    node = Node(
        settings,
        params=params,
        clock=clock,
        rng=rng,
        network=network,
        chain=chain,
        mempool=mempool,
        files=files,
        log=log,
    )
    templates = BlockTemplates(params, chain, mempool, clock)
    node.on_tip_changed(lambda _change: templates.on_tip_changed())
    return Parts(store, chain, mempool, node, templates, Generator(templates, chain, workers, rng))
