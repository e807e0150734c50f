"""Carrying out a plan under simnet: the same steps, on the same node code, in virtual time.

The network is like that of `dure up`: the same shape, wallets with their first coins, two miners that together find a
block every five seconds. What a fault does is what the nodes themselves do: they are told whom to refuse and how bad
their lines are, as `dure` tells them. A killed process leaves its disk as it is; a paused one is not heard.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

from consensus.codec import decode_transaction, display_hash, parse_hash
from consensus.errors import ConsensusError, NotYet
from consensus.params import Params
from consensus.types import Transaction, TxId
from devnet.double_spend import DoubleSpend, KnownTransaction, depth_of, spend_again
from devnet.errors import DevnetError, Refused, Unavailable
from devnet.faults import group_of
from devnet.folder import NetworkRecord
from devnet.funding import PAID_BY_BLOCKS
from devnet.healing import HEAL_SECONDS
from devnet.launcher import DEFAULT_MINERS
from devnet.lines import describe_skew
from devnet.plan_model import Expected, network_of
from devnet.plan_run import Done, StepFailed
from devnet.plan_steps import (
    Action,
    Agree,
    ChangeLines,
    Heal,
    Mine,
    Partition,
    Process,
    Reorg,
    Schedule,
    Send,
    Skew,
)
from devnet.reorg import MAX_EXTRA
from devnet.topology import default_topology, edges, spread
from node.block_index import BlockEntry
from node.branch_mining import BranchMiner
from node.chain_events import BlockResult
from node.relay_policy import PolicyError
from node.workers import InlineWorkers
from p2p.transport import Address
from simnet.errors import NotReached
from simnet.mining import simulated_params
from simnet.sim_node import SimNode
from simnet.simulation import Simulation, simulate
from wallet.errors import UnknownTransactionError, WalletError

SPACING = 5
"""Seconds between blocks, as on a network of `dure up`."""
FOLLOW_SECONDS = 2.0
"""Virtual seconds that nodes get to follow a branch, before it gets another block."""
GIFT = 5 * 10**8
"""Grain that a wallet is paid for which there is no block of its own."""


class Result:
    """What came of a simulated plan."""

    def __init__(self, done: list[Done], heights: dict[int, int], tips: int, seconds: float, digest: str) -> None:
        self.done = done
        self.heights = heights
        """Of the nodes that run."""
        self.tips = tips
        """How many different ones there are."""
        self.seconds = seconds
        """Virtual ones, from the first step to the last."""
        self.digest = digest
        """Of all that happened: equal if and only if two runs were the same."""


def carry_out(plan: Schedule, size: int, report: Callable[[Done], None]) -> Result:
    """Do all steps of a plan on a simulated network of `size` nodes; everything is drawn from the plan's seed.

    Args:
        report: told of each step when it is done.

    Raises:
        StepFailed: a step was refused, or the nodes did not agree in time.
    """

    async def story(sim: Simulation) -> Result:
        network = _SimulatedNetwork(sim, network_of(size))
        await network.bring_up()
        began = sim.time
        done: list[Done] = []
        for place, step in enumerate(plan.steps):
            due = began + step.at_ms / 1_000
            await sim.sleep(max(0.0, due - sim.time))
            started = sim.time
            try:
                told = await network.act(step.action)
            except DevnetError as error:
                raise StepFailed(step, len(plan.steps) - place - 1, error) from error
            done.append(Done(step, round(started - due, 3), round(sim.time - started, 3), told))
            report(done[-1])
        up = network.running
        heights = {number: sim.nodes[number].height for number in up}
        tips = len({sim.nodes[number].tip for number in up})
        return Result(done, heights, tips, sim.time - began, sim.events.digest)

    return simulate(story, seed=plan.seed, params=simulated_params(SPACING))


class _SimulatedNetwork:
    """Does in a simulation what the commands do to processes."""

    def __init__(self, sim: Simulation, record: NetworkRecord) -> None:
        self._sim = sim
        self._expected = Expected(record, [node.id for node in record.nodes])
        self._last_payment: str | None = None

    @property
    def running(self) -> list[int]:
        """The nodes that run and are not paused."""
        return self._expected.up

    def _node(self, number: int) -> SimNode:
        return self._sim.nodes[number]

    # --- at first ---------------------------------------------------------------------------------------------

    async def bring_up(self) -> None:
        """Start all nodes, and give every wallet its first coins."""
        sim, size = self._sim, self._expected.size
        links = edges(default_topology(size), size, b"")
        for number in range(size):
            await sim.add_node([self._node(low) for low, high in links if high == number])
        paid = min(size, PAID_BY_BLOCKS)
        for number in range(paid + sim.params.coinbase_maturity):
            await self._node(number % size if number < paid else 0).mine()
            await sim.sleep(SPACING)
            await sim.converged()
        for number in range(paid, size):
            await self._node(number % paid).pay([(await self._node(number).new_lock(), GIFT)])
        self._let_mine()

    def _let_mine(self) -> None:
        """Let those miners work whose nodes run."""
        size = self._expected.size
        miners = spread(min(DEFAULT_MINERS, size), size)
        self._sim.mine_at_random({self._node(number): 1.0 for number in miners if number in self.running})

    # --- steps ------------------------------------------------------------------------------------------------

    async def act(self, action: Action) -> str:
        """Do one step; return what came of it.

        Raises:
            DevnetError: it was refused, or did not come true in time.
        """
        self._expected.check_and_apply(action)
        match action:
            case Partition() | ChangeLines():
                self._tell_all()
            case Skew(_, seconds):
                self._tell_all()
                return describe_skew(seconds)
            case Heal():
                self._tell_all()
                return await self._heal()
            case Process():
                await self._process(action)
            case Mine(node, blocks):
                return await self._mine(self._node(node), blocks)
            case Send(sender, receiver, grain):
                return await self._send(self._node(sender), self._node(receiver), grain)
            case Reorg():
                return await self._reorg(action)
            case Agree(within):
                return await self._agree(within / 1_000)
        return ""

    def _tell_all(self) -> None:
        for number in self.running:
            self._tell(number)

    def _tell(self, number: int, groups: tuple[tuple[int, ...], ...] | None = None) -> None:
        """Tell a node all its faults, as `devnet.telling` does.

        Args:
            groups: another cut than the plan's.
        """
        record, node = self._expected.record, self._node(number)
        mine = group_of(record.partition if groups is None else groups, number)
        others = [each for each in range(self._expected.size) if mine is not None and each not in mine]
        node.node.set_partition([self._address(each) for each in others])
        node.node.link_faults.replace(
            {self._address(line.target): line.conditions for line in record.lines if line.source == number}
        )
        if node.clock.skew != record.node(number).skew:
            node.clock.skew = record.node(number).skew
            node.node.clock_was_set()

    def _address(self, number: int) -> Address:
        return self._node(number).address

    async def _process(self, action: Process) -> None:
        for number in action.nodes:
            node = self._node(number)
            match action.verb:
                case "kill":
                    node.crash()
                case "stop":
                    await node.stop()
                case "start":
                    await node.start()
                    self._tell(number)
                case "pause":
                    self._sim.pause(node)
                case "resume":
                    self._sim.release(node)
        self._let_mine()

    async def _mine(self, node: SimNode, blocks: int) -> str:
        found = node.tip
        for _ in range(blocks):
            while True:
                try:
                    found = await node.mine()
                    break
                except NotYet:  # they came so fast that their times ran ahead of the clock
                    await self._sim.sleep(1.0)
        return f"block {display_hash(found)[:12]}…"

    async def _send(self, sender: SimNode, receiver: SimNode, grain: int) -> str:
        try:
            sent = await sender.pay([(await receiver.new_lock(), grain)])
        except (WalletError, ConsensusError, NotYet, PolicyError) as error:
            raise Refused(f"The payer refused: {error}") from None
        self._last_payment = display_hash(sent.transaction.txid)
        return f"transaction {self._last_payment[:12]}…"

    async def _heal(self) -> str:
        began = self._sim.time
        if await self._on_one_tip(HEAL_SECONDS):
            return f"one tip after {self._sim.time - began:.1f} s"
        return "not on one tip yet"

    async def _agree(self, seconds: float) -> str:
        began = self._sim.time
        if not await self._on_one_tip(seconds):
            raise Unavailable(f"the nodes were not on one tip within {seconds:g} s.")
        height = self._node(self.running[0]).height
        return f"one tip at height {height} after {self._sim.time - began:.1f} s"

    async def _on_one_tip(self, seconds: float) -> bool:
        try:
            await self._sim.converged([self._node(number) for number in self.running], seconds)
        except NotReached:
            return False
        return True

    # --- reorganizations --------------------------------------------------------------------------------------

    async def _reorg(self, action: Reorg) -> str:
        """See `devnet.reorg`: the same, step by step."""
        await self._agree(HEAL_SECONDS)
        up = [self._node(number) for number in self.running]
        depth = max(action.depth, self._depth_of_last() if action.drop_last else 0)
        fork_height = up[0].height - depth
        if fork_height < 1:
            raise Refused(f"The chain has {up[0].height} blocks: it can be undone {up[0].height - 1} deep at most.")
        double = self._double_spend(fork_height) if action.drop_last else None
        number = action.node
        if number is None:
            number = double.payer if double is not None else self.running[-1]
        builder = self._node(number)
        others = [node for node in up if node is not builder]
        apart = ((number,), tuple(each for each in range(self._expected.size) if each != number))
        for each in self.running:
            self._tell(each, apart)
        branch = _Branch(self._sim.params, builder, fork_height, double)
        for _ in range(depth + MAX_EXTRA):
            await branch.extend()
            if branch.is_ahead(others):
                break
        undone = others[0].height - fork_height
        self._tell_all()
        await self._carry_through(branch, up)
        dropped = f", {double.dropped[:12]}… dropped" if double is not None else ""
        blocks = f"{undone} block{'' if undone == 1 else 's'}"
        return f"{blocks} undone by {branch.length} of node {number}{dropped}"

    async def _carry_through(self, branch: _Branch, nodes: list[SimNode]) -> None:
        for _ in range(MAX_EXTRA):
            try:
                await self._sim.until(lambda: all(map(branch.is_in, nodes)), FOLLOW_SECONDS)
                return
            except NotReached:
                if not branch.leads(nodes):
                    await branch.extend()
        raise Unavailable("The nodes did not follow the branch.")

    @property
    def _wallets(self) -> dict[int, _SimBooks]:
        return {number: _SimBooks(self._node(number)) for number in self.running}

    def _depth_of_last(self) -> int:
        return depth_of(self._wallets, self._last_payment) if self._last_payment is not None else 0

    def _double_spend(self, fork_height: int) -> DoubleSpend:
        if self._last_payment is None:
            raise Refused("There is no payment yet that could be dropped.")
        return spend_again(self._sim.params, self._wallets, self._last_payment, fork_height)


class _Branch:
    """The blocks that one node finds on a block below its tip."""

    def __init__(self, params: Params, builder: SimNode, fork_height: int, double: DoubleSpend | None) -> None:
        self._builder = builder
        self._double = double
        self._tip = builder.chain.index.tip.ancestor(fork_height)
        self._first: BlockEntry | None = None
        self.length = 0
        self._miner = BranchMiner(
            params,
            builder.chain,
            InlineWorkers(),
            builder.clock,
            random.Random(f"branch {builder.number} {builder.height}"),
        )

    async def extend(self) -> None:
        """Find one block more."""
        transactions: list[Transaction] = []
        if self._first is None and self._double is not None:
            transactions = [decode_transaction(bytes.fromhex(self._double.raw))]
        result = await self._find(transactions)
        if result.entry is None or result.error is not None:
            raise Refused(f"The branch is not valid: {result.error or result.status}")
        self._tip = result.entry
        self._first = self._first or result.entry
        self.length += 1

    async def _find(self, transactions: list[Transaction]) -> BlockResult:
        while True:
            try:
                return await self._miner.mine_on(self._tip, await self._builder.mining_lock(), transactions)
            except NotYet:
                await asyncio.sleep(1.0)

    def is_ahead(self, others: list[SimNode]) -> bool:
        """Tell whether the builder is on the branch, and has more work than any of the others."""
        work = self._builder.chain.index.tip.work
        return self.is_in(self._builder) and work > max(node.chain.index.tip.work for node in others)

    def leads(self, nodes: list[SimNode]) -> bool:
        """Tell whether nobody has more work than a chain with the branch in it: then it is a matter of time."""
        return self.is_in(max(nodes, key=lambda node: node.chain.index.tip.work))

    def is_in(self, node: SimNode) -> bool:
        """Tell whether the branch is in a node's best chain."""
        first = self._first
        if first is None:
            return False
        entry = node.chain.index.at(first.height)
        return entry is not None and entry.hash == first.hash


class _SimBooks:
    """Satisfies `devnet.double_spend.Books` with the wallet of a simulated node."""

    def __init__(self, node: SimNode) -> None:
        self._wallet = node.wallet.wallet

    def look_up(self, txid: str) -> KnownTransaction | None:
        """Return what the wallet knows of a transaction."""
        try:
            made = self._wallet.transaction(TxId(parse_hash(txid)))
        except UnknownTransactionError:
            return None
        return KnownTransaction(
            transaction=made.transaction,
            fee=None if made.fee is None else -made.fee,
            state=made.state.value,
            height=made.block_height,
            confirmations=made.confirmations,
        )

    def new_address(self) -> str:
        """Return a new address of the wallet."""
        return self._wallet.new_address()

    def export_key(self, address: str) -> str:
        """Return the key of one of its addresses."""
        return self._wallet.export_key(address)
