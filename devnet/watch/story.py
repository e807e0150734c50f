"""What happened, as plain sentences: from two looks at a network, and from what its nodes wrote to their logs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from consensus.amounts import format_amount
from devnet.faults import format_groups
from devnet.logs import LogLine
from devnet.status import NodeState
from devnet.watch.state import BlockView, Event, NetworkView, NodeView, branch_of
from devnet.watch.tree import Branch, branches, fork_height

MAX_BLOCK_SENTENCES = 6
"""Blocks found between two looks that get a sentence each; more than these share one."""

MAX_FAULT_SENTENCES = 4
"""The same of lines and clocks that are made wrong on purpose."""

_BECAME = {
    NodeState.STARTING: "is starting",
    NodeState.PAUSED: "was paused",
    NodeState.STOPPED: "was stopped",
    NodeState.CRASHED: "is down: it was killed, or ended by itself",
    NodeState.UNREACHABLE: "does not answer",
}


def name(numbers: Sequence[int]) -> str:
    """Return "node 1", "nodes 1 and 3", "nodes 0 to 7 and 9"; the numbers ascend."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    words: list[str] = []
    for run in runs:
        words += [f"{run[0]} to {run[-1]}"] if len(run) > 2 else map(str, run)
    listed = " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))
    return f"node {listed}" if len(numbers) == 1 else f"nodes {listed}"


def count(number: int, noun: str) -> str:
    """Return "1 block", "2 blocks"."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def coins(grain: int) -> str:
    """Return an amount for a sentence, without zeros that say nothing: "12.5 DURE"."""
    text = format_amount(grain)
    return f"{text.rstrip('0').rstrip('.')} DURE"


def tell(before: NetworkView | None, after: NetworkView, at: float) -> list[Event]:
    """Return what happened between two looks, in the order in which it is best told.

    Args:
        before: None at the first look, which is summed up.
        at: UNIX seconds of the second one.
    """
    if before is None or not before.nodes:
        return [Event(at, "network", _sum_up(after))]
    events = [*_nodes(before, after, at), *_cuts(before, after, at), *_faults(before, after, at)]
    return [*events, *_blocks(before, after, at), *_reorgs(before, after, at), *_forks(before, after, at)]


def _sum_up(network: NetworkView) -> str:
    up = [node for node in network.nodes if node.height is not None]
    said = f"Here are {count(len(network.nodes), 'node')}, of which {len(up)} answer."
    if len(up) == len(network.nodes):
        said = f"Here are {count(len(up), 'node')}." if len(up) > 1 else "Here is 1 node."
    tips = {node.tip for node in up}
    if len(tips) == 1:
        return f"{said} At height {up[0].height}{', all on one tip' if len(up) > 1 else ''}."
    return f"{said} They are on {len(tips)} tips." if tips else said


def _nodes(before: NetworkView, after: NetworkView, at: float) -> Iterator[Event]:
    """Tell which nodes came and went."""
    was = {node.id: node for node in before.nodes}
    changed: dict[NodeState, list[NodeView]] = {}
    for node in after.nodes:
        old = was.get(node.id)
        if old is not None and old.state is not node.state:
            changed.setdefault(node.state, []).append(node)
    for state, nodes in changed.items():
        who = name([node.id for node in nodes]).capitalize()
        if state is NodeState.RUNNING:
            heights = sorted({node.height for node in nodes if node.height is not None})
            where = f" at height {heights[0]}" if len(heights) == 1 else ""
            yield Event(at, "node", f"{who} {'runs' if len(nodes) == 1 else 'run'}{where}.")
        else:
            became = _BECAME[state]
            if len(nodes) > 1:
                became = became.replace("is ", "are ").replace("was ", "were ").replace("it were", "they were")
                became = became.replace("does", "do").replace("ended by itself", "ended by themselves")
            yield Event(at, "node", f"{who} {became}.")


def _cuts(before: NetworkView, after: NetworkView, at: float) -> Iterator[Event]:
    if before.groups == after.groups:
        return
    if after.groups:
        sides = format_groups(after.groups)
        yield Event(at, "network", f"The network is cut into {sides}: nothing passes between these.")
    else:
        yield Event(at, "network", "The network is whole again.")


def _faults(before: NetworkView, after: NetworkView, at: float) -> Iterator[Event]:
    """Tell which lines and clocks were made wrong, or right."""
    new = [said for said in after.faults if said not in before.faults]
    mended = [said for said in before.faults if said not in after.faults]
    if mended and not after.faults:
        yield Event(at, "network", "All lines and clocks are right again.")
    for said in new[:MAX_FAULT_SENTENCES]:
        yield Event(at, "network", said)
    if len(new) > MAX_FAULT_SENTENCES:
        yield Event(at, "network", f"And {len(new) - MAX_FAULT_SENTENCES} more of the kind.")


def _blocks(before: NetworkView, after: NetworkView, at: float) -> Iterator[Event]:
    top = max((block.height for block in before.blocks.values()), default=0)
    new = [block for block in after.blocks.values() if block.id not in before.blocks]
    # One that is older than all we know is no news: a branch has only now been asked for.
    new = sorted(
        (block for block in new if block.height > top - MAX_BLOCK_SENTENCES), key=lambda block: block.chainwork
    )
    if len(new) > MAX_BLOCK_SENTENCES:
        finders = sorted({block.finder for block in new if block.finder is not None})
        by = f" by {name(finders)}" if finders else ""
        yield Event(at, "block", f"{count(len(new), 'block')} were found{by}, up to height {new[-1].height}.")
        return
    for block in new:
        yield Event(at, "block", _found(block))


def _found(block: BlockView) -> str:
    whom = f"Node {block.finder} found block" if block.finder is not None else "Somebody found block"
    with_ = f" with {count(block.payments, 'payment')}" if block.payments else ""
    return f"{whom} {block.height}{with_}."


def _reorgs(before: NetworkView, after: NetworkView, at: float) -> Iterator[Event]:
    """Tell who left blocks for others."""
    was = {node.id: node.tip for node in before.nodes}
    moves: dict[tuple[str, str], list[int]] = {}
    for node in after.nodes:
        old = was.get(node.id)
        if old is not None and node.tip is not None and old != node.tip:
            moves.setdefault((old, node.tip), []).append(node.id)
    known = NetworkView(nodes=after.nodes, blocks={**before.blocks, **after.blocks}, fates=after.fates)
    for (old, new), nodes in moves.items():
        fork = fork_height(known, old, new)
        left = [block for block in branch_of(known.blocks, old) if fork is not None and block.height > fork]
        if fork is None or not left:
            continue
        joined = known.blocks[new].height - fork
        yield Event(at, "reorg", _left(known, name(nodes).capitalize(), left, fork, joined, new))


def _left(known: NetworkView, who: str, left: list[BlockView], fork: int, joined: int, new: str) -> str:
    if not joined:
        return f"{who} went back {count(len(left), 'block')}, to block {fork}."
    said = f"{who} left {count(len(left), 'block')} after block {fork} for {joined} with more work"
    confirmed = {txid for block in branch_of(known.blocks, new) for txid in block.txids}
    fates = [known.fates.get(txid) for block in left for txid in block.txids if txid not in confirmed]
    lost = [f"{coins(sum(block.reward for block in left))} of rewards {'is' if len(left) == 1 else 'are'} lost"]
    if waits := fates.count("waits"):
        lost.append(f"{count(waits, 'payment')} {'waits' if waits == 1 else 'wait'} for a block again")
    if gone := fates.count("gone"):
        lost.append(f"{count(gone, 'payment')} {'is' if gone == 1 else 'are'} gone")
    return f"{said}: {', '.join(lost)}."


def _occupied(network: NetworkView) -> list[Branch]:
    """Return the branches that nodes are on; those on a block before the fork are on none of them yet."""
    there = [branch for branch in branches(network) if branch.nodes]
    if len(there) < 2:
        return there
    fork = fork_height(network, there[0].tip.id, there[1].tip.id)
    return [branch for branch in there if _beyond(branch, fork)]


def _beyond(branch: Branch, fork: int | None) -> list[int]:
    """Return the nodes of a branch that are on a block after the fork."""
    late = [node for node, lacks in branch.behind if fork is None or branch.tip.height - lacks > fork]
    return sorted((*branch.standing, *late))


def _forks(before: NetworkView, after: NetworkView, at: float) -> Iterator[Event]:
    """Tell when nodes part, and when they have come together."""
    was, is_ = _occupied(before), _occupied(after)
    if len(is_) > 1 and len(is_) != len(was):
        fork = fork_height(after, is_[0].tip.id, is_[1].tip.id)
        since = f" since block {fork}" if fork is not None else ""
        sides = ", ".join(f"{name(_beyond(branch, fork))} at height {branch.tip.height}" for branch in is_)
        yield Event(at, "fork", f"There are {len(is_)} branches{since}: {sides}.")
    elif len(is_) == 1 < len(was):
        yield Event(at, "fork", f"All are on one branch again, at height {is_[0].tip.height}.")


# From the logs: what cannot be seen from outside


def tell_line(line: LogLine) -> Event | None:
    """Return what a line of a node's log says that no look at the network shows; None for any other line."""
    fields = line.fields
    event, level = str(fields.get("event", "")), str(fields.get("level", "info"))
    at = _seconds(line.time)
    if event == "payment_made":
        fee = fields.get("fee")
        cost = f", for a fee of {coins(fee)}" if isinstance(fee, int) else ""
        txid = _shown(str(fields.get("txid", ""))[:12])
        return Event(at, "payment", f"Node {line.node} made payment {txid}…{cost}; it waits for a block.")
    if event == "payment_offered_again":
        txid = _shown(str(fields.get("txid", ""))[:12])
        return Event(at, "payment", f"Node {line.node} offers payment {txid}… again.")
    if event == "vault_withdrawal_seen":
        vault, amount = _shown(str(fields.get("vault", ""))), _shown(str(fields.get("amount", "")))
        sees = f"Node {line.node} sees {amount}{'' if 'asset' in amount else ' DURE'} leave the vault {vault}"
        return Event(at, "warning", f"{sees}: if its owner does not, the cold key can take them back.")
    if event == "block_refused":
        why = _shown(str(fields.get("why", "")))
        return Event(at, "warning", f"Node {line.node} refused block {fields.get('height')}: {why}.")
    if level in {"warning", "error", "critical"}:
        what = event.replace("_", " ")
        why = next((str(fields[key]) for key in ("says", "why", "error", "text", "reason") if fields.get(key)), "")
        return Event(at, "warning", _shown(f"Node {line.node} {level}: {what}{f' ({why})' if why else ''}."))
    return None


def _seconds(time: str) -> float:
    try:
        return datetime.fromisoformat(time).replace(tzinfo=UTC).timestamp()
    except ValueError:
        return 0.0


def _shown(text: str) -> str:
    """Return text with what is no letter, sign or blank replaced: a terminal obeys control characters."""
    return "".join(char if char.isprintable() else "\ufffd" for char in text)
