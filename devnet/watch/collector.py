"""Looking at a network: asks every node the same few things, then what is new about blocks, of one node each.

A look costs one request a node. Nodes are asked at the same time, and one that is slow is not waited for but at first:
it shows what it told last, until it has been silent for so long that this would mislead.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import NamedTuple

import msgspec

from devnet.errors import Refused, Unavailable
from devnet.folder import NetworkFolder, NetworkRecord, NodeRecord
from devnet.lines import tell_clocks, tell_lines
from devnet.status import NodeState, node_state
from devnet.watch.asking import ASK_SECONDS, Line, Question, read
from devnet.watch.state import KEPT, MAX_PAYMENTS, TXID_DIGITS, BlockView, Fate, NetworkView, NodeView, branch_of, prune
from rpc.encoding import Dure
from rpc.schema import Balances

WAIT_SECONDS = 0.4
"""How long a look waits for the slowest node."""

SILENT_SECONDS = 3.0
"""A node that has told nothing for so long is shown as one that does not answer."""

FIRST_FETCHED = 24
"""Blocks of each branch that the first look asks for; later ones ask until they meet what is known."""

MAX_SEARCHED = 5_000
"""Transactions in a mempool beyond which payments of losing branches are not looked for in it."""

MAX_FAULTS = 64
"""Bad lines and wrong clocks that are told one by one."""

ADDRESSES = 1_024
"""Reward addresses whose owner is remembered."""

QUESTIONS: tuple[Question, ...] = (
    ("getblockchaininfo", ()),
    ("getconnectioncount", ()),
    ("getmempoolinfo", ()),
    ("getbalances", ()),
    ("getmininginfo", ()),
)


# What matters of the answers, and no more: nodes elsewhere may be of another version.


class _Chain(msgspec.Struct):
    blocks: int
    bestblockhash: str
    chainwork: str


class _Pool(msgspec.Struct):
    size: int


class _Mining(msgspec.Struct):
    mining: bool
    hashrate: int


class _Owned(msgspec.Struct):
    ismine: bool


class _Block(msgspec.Struct):
    hash: str
    height: int
    time: int
    chainwork: str
    tx: list[str]
    previousblockhash: str = ""


class _Lock(msgspec.Struct):
    address: str


class _Output(msgspec.Struct):
    value: Dure
    scriptPubKey: _Lock  # noqa: N815 (mixedCase where Bitcoin Core has it)


class _Coinbase(msgspec.Struct):
    vout: list[_Output]


class _End(msgspec.Struct):
    height: int
    hash: str
    status: str


class _Owner:
    """Whose an address is."""

    def __init__(self) -> None:
        self.node: int | None = None
        self.strangers: set[int] = set()
        """Nodes whose wallet was asked."""


class _Told(NamedTuple):
    """What a node said of itself at one look."""

    chain: _Chain
    peers: int | None
    mempool: _Pool | None
    balances: Balances | None
    mining: _Mining | None


class Collector:
    """Looks at one network again and again."""

    def __init__(
        self,
        folder: NetworkFolder,
        record: NetworkRecord,
        monotonic: Callable[[], float] = time.monotonic,
        patience: float = WAIT_SECONDS,
    ) -> None:
        """Args:
        folder: the network.
        record: its nodes, which stay the same.
        monotonic: seconds, from any moment on.
        patience: seconds that a look waits for the slowest node; the first one waits until it gives up.
        """
        self._folder = folder
        self._record = record
        self._monotonic = monotonic
        self._patience, self._waits = patience, max(patience, ASK_SECONDS)
        self._lines = {node.id: Line(node, folder) for node in record.nodes}
        self._pool = ThreadPoolExecutor(max_workers=len(record.nodes), thread_name_prefix="watch")
        self._asked: dict[int, Future[_Told | None]] = {}
        self._told: dict[int, tuple[float, _Told]] = {}
        self._stamp: tuple[int, int] | None = None
        self._owners: dict[str, _Owner] = {}
        self._unowned: dict[str, str] = {}
        """The reward addresses of blocks whose finder is not known, by block."""
        self._compared: set[tuple[int, str]] = set()
        """Which nodes have told the ends of their trees at which tip."""
        self.view = NetworkView()
        """What the last look has shown."""

    def look(self) -> NetworkView:
        """Return what the network looks like now."""
        record = self._reload()
        states = {node.id: node_state(node) for node in record.nodes}
        # One whose process is halted would only keep a thread busy.
        up = [node for node in record.nodes if states[node.id] is NodeState.STARTING]
        free = self._ask_all(up)
        nodes = tuple(self._view_of(node, states[node.id]) for node in record.nodes)
        blocks = self._blocks(nodes, free)
        tips = [node.tip for node in nodes if node.tip is not None]
        kept = prune(self._name_finders(blocks, free), tips)
        network = NetworkView(nodes, kept, record.partition, _faults(record))
        self.view = msgspec.structs.replace(network, fates=self._fates(network, free))
        return self.view

    def close(self) -> None:
        """End the threads and connections."""
        for number, line in self._lines.items():
            if number in self._asked:
                line.abort()
        self._pool.shutdown(cancel_futures=True)
        for line in self._lines.values():
            line.close()

    # Nodes

    def _reload(self) -> NetworkRecord:
        """Return the record as the folder has it now; commands in other terminals change it.

        Raises:
            Refused: there is none any more, or it is of another network.
        """
        if self._folder.is_remote:
            return self._record
        try:
            found = self._folder.record_path.stat()
        except OSError:
            return self._folder.load()  # which says in its own words what is missing
        stamp = (found.st_mtime_ns, found.st_ino)
        if stamp != self._stamp:
            record = self._folder.load()
            if (record.tag, len(record.nodes)) != (self._record.tag, len(self._record.nodes)):
                raise Refused(f"There is another network in {self._folder.path} now: watch that one anew.")
            for node in record.nodes:
                self._lines[node.id].move(node)
            self._record, self._stamp = record, stamp
        return self._record

    def _ask_all(self, nodes: Sequence[NodeRecord]) -> list[NodeRecord]:
        """Ask nodes what they do, all at once; return those that answered this time."""
        for node in nodes:
            if node.id not in self._asked:
                self._asked[node.id] = self._pool.submit(_ask, self._lines[node.id])
        wait([self._asked[node.id] for node in nodes if node.id in self._asked], timeout=self._waits)
        self._waits = self._patience
        now = self._monotonic()
        free = []
        for number, future in list(self._asked.items()):
            if not future.done():
                continue
            del self._asked[number]
            told = future.result()
            if told is None:
                self._told.pop(number, None)
            else:
                self._told[number] = (now, told)
                free.append(number)
        return [node for node in nodes if node.id in free]

    def _view_of(self, node: NodeRecord, state: NodeState) -> NodeView:
        when, told = self._told.get(node.id, (0.0, None))
        if told is None or state is not NodeState.STARTING or self._monotonic() - when > SILENT_SECONDS:
            silent = NodeState.UNREACHABLE if node.elsewhere and state is NodeState.STARTING else state
            return NodeView(id=node.id, state=silent)
        mining = told.mining
        return NodeView(
            id=node.id,
            state=NodeState.RUNNING,
            height=told.chain.blocks,
            tip=told.chain.bestblockhash,
            peers=told.peers,
            mempool=told.mempool.size if told.mempool is not None else None,
            balance=told.balances.mine.trusted.grain if told.balances is not None else None,
            hashrate=mining.hashrate if mining is not None and mining.mining else None,
        )

    # Blocks

    def _blocks(self, nodes: Sequence[NodeView], free: Sequence[NodeRecord]) -> dict[str, BlockView]:
        """Return the blocks known before, those that lead to new tips, and those of branches that nobody stands on."""
        blocks = dict(self.view.blocks)
        tips = {node.id: node.tip for node in nodes if node.tip is not None}
        for node in free:
            if (tip := tips.get(node.id)) is not None:
                _fetch(self._lines[node.id], tip, blocks)
        compared = {(node.id, tips[node.id]) for node in free if node.id in tips}
        for number, _ in sorted(compared - self._compared):
            self._fetch_stale(self._lines[number], blocks)
        self._compared = compared
        return blocks

    def _fetch_stale(self, line: Line, blocks: dict[str, BlockView]) -> None:
        """Ask for the branches that this node knows besides the best one."""
        ends = read(_one(line, "getchaintips"), list[_End]) or []
        top = max((block.height for block in blocks.values()), default=0)
        for end in ends:
            if end.status in {"valid-fork", "valid-headers"} and end.height > top - FIRST_FETCHED:
                _fetch(line, end.hash, blocks)

    def _name_finders(self, blocks: dict[str, BlockView], free: Sequence[NodeRecord]) -> dict[str, BlockView]:
        """Find out whose wallet has the rewards of blocks, by asking every wallet once."""
        for block in [block for block in blocks.values() if block.id not in self.view.blocks]:
            coinbase, *txids = block.txids or ("",)
            found = read(_any(self._lines, free, "getrawtransaction", coinbase, True, block.id), _Coinbase)
            reward = 0
            if found is not None and found.vout:
                reward = sum(output.value.grain for output in found.vout)
                self._unowned[block.id] = found.vout[0].scriptPubKey.address
            short = tuple(txid[:TXID_DIGITS] for txid in txids[:MAX_PAYMENTS])
            blocks[block.id] = msgspec.structs.replace(block, reward=reward, txids=short)
        for number, address in list(self._unowned.items()):
            owner = self._owner(address, free)
            if number not in blocks or owner is not None:
                del self._unowned[number]
            if number in blocks and owner is not None:
                blocks[number] = msgspec.structs.replace(blocks[number], finder=owner)
        return blocks

    def _owner(self, address: str, free: Sequence[NodeRecord]) -> int | None:
        """Return the node whose wallet has an address, None as long as none of those that were asked has it."""
        if address not in self._owners:
            if len(self._owners) >= ADDRESSES:
                del self._owners[next(iter(self._owners))]
            self._owners[address] = _Owner()
        owner = self._owners[address]
        for node in free:
            if owner.node is None and node.id not in owner.strangers:
                about = read(_one(self._lines[node.id], "getaddressinfo", address), _Owned)
                if about is not None and about.ismine:
                    owner.node = node.id
                owner.strangers.add(node.id)
        return owner.node

    def _fates(self, network: NetworkView, free: Sequence[NodeRecord]) -> dict[str, Fate]:
        """Find out what became of payments that are in a losing branch and not in the best one."""
        best = max(network.blocks.values(), key=lambda block: block.chainwork, default=None)
        if best is None:
            return {}
        chain = branch_of(network.blocks, best.id)
        on_chain, confirmed = {block.id for block in chain}, {txid for block in chain for txid in block.txids}
        losing = (block for block in network.blocks.values() if block.id not in on_chain)
        sought = {txid for block in losing for txid in block.txids if txid not in confirmed}
        there = [node for node in free if self._told[node.id][1].chain.bestblockhash == best.id]
        if not sought or not there:
            return {}
        pool = self._told[there[0].id][1].mempool
        if pool is None or pool.size > MAX_SEARCHED:
            return {}
        pooled = read(_one(self._lines[there[0].id], "getrawmempool"), list[str]) or []
        waiting = {txid[:TXID_DIGITS] for txid in pooled}
        return {txid: "waits" if txid in waiting else "gone" for txid in sorted(sought)}


def _faults(record: NetworkRecord) -> tuple[str, ...]:
    """Return a sentence for each line and clock that is wrong on purpose."""
    return tuple([*tell_lines(record.lines), *tell_clocks(record)][:MAX_FAULTS])


def _ask(line: Line) -> _Told | None:
    """Ask one node what it does; None if it does not say."""
    try:
        answers = line.ask(QUESTIONS)
    except Unavailable:
        return None
    chain = read(answers[0], _Chain)
    if chain is None:
        return None
    return _Told(
        chain,
        read(answers[1], int),
        read(answers[2], _Pool),
        read(answers[3], Balances),
        read(answers[4], _Mining),
    )


def _one(line: Line, method: str, *params: object) -> msgspec.Raw | None:
    """Ask one thing; None if the node refuses, or has gone meanwhile."""
    try:
        return line.ask([(method, params)])[0]
    except Unavailable:
        return None


def _any(lines: dict[int, Line], nodes: Sequence[NodeRecord], method: str, *params: object) -> msgspec.Raw | None:
    """Ask one node after the other until one has an answer."""
    answers = (_one(lines[node.id], method, *params) for node in nodes)
    return next((answer for answer in answers if answer is not None), None)


def _fetch(line: Line, tip: str, blocks: dict[str, BlockView]) -> None:
    """Ask for a block and those before it until one is known, or genesis is reached, or enough were asked for."""
    wanted = tip
    for _ in range(KEPT if blocks else FIRST_FETCHED):
        if wanted in blocks:
            return
        block = read(_one(line, "getblock", wanted), _Block)
        if block is None:
            return
        blocks[block.hash] = BlockView(
            id=block.hash,
            previous=block.previousblockhash,
            height=block.height,
            time=block.time,
            chainwork=block.chainwork,
            payments=max(0, len(block.tx) - 1),
            txids=tuple(block.tx),  # the coinbase still among them: whose it is, is found out next
        )
        if not block.previousblockhash:
            return
        wanted = block.previousblockhash
