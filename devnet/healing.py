"""Mending a network: whole again, every line good, every clock right; and who then follows whom."""

from __future__ import annotations

import time
from collections.abc import Mapping

import msgspec

from consensus.params import LOCAL
from devnet.calls import Calls
from devnet.control import bring_faults
from devnet.errors import Refused
from devnet.faults import find_groups
from devnet.folder import NetworkFolder, NetworkRecord
from devnet.funding import wait_for_one_tip
from devnet.payments import running
from devnet.status import require_network_up, require_unpaused
from devnet.telling import Heard, hear
from rpc.schema import BlockchainInfo

HEAL_SECONDS = 15.0
"""How long `heal` waits for the side with less work to follow; it takes well under three seconds."""


class Healed(msgspec.Struct, frozen=True):
    """How a network stood when it was healed."""

    groups: tuple[tuple[int, ...], ...]
    """The sides, each with the nodes of it that run; only those with a node that runs. One if it was not cut."""
    heights: tuple[int, ...]
    """The height of each side's best tip."""
    tips: tuple[str, ...]
    """The id of each side's best tip."""
    winners: tuple[int, ...]
    """Places in `groups` of the sides with the most work: more than one if several tips are equal."""
    cut: bool
    """Whether any node refused another; the nodes in between may still have held all together."""
    lines: int
    """How many lines were bad, each direction counted."""
    clocks: tuple[int, ...]
    """The nodes whose clocks were wrong."""
    early: int
    """Seconds for which the most work is dated too far ahead to be taken by a clock that is right."""
    one_tip: bool
    """Whether all running nodes were on one tip when this was written."""
    seconds: float
    """How long that took."""

    @property
    def same_tip(self) -> bool:
        """Whether all sides had the same tip, so that there is nobody to follow."""
        return len(set(self.tips)) == 1

    @property
    def undecided(self) -> bool:
        """Whether different tips have equal work, so that the next block decides."""
        return len(self.winners) > 1


def heal(folder: NetworkFolder, now: int) -> Healed:
    """Join what was cut, mend all lines, set all clocks right, and wait until all are on the tip with the most work.

    A node that was told of its faults by `dure rpc` is mended as well.

    Where several sides have equal work there is nothing to wait for: the next block decides. Nor where the most work
    is dated too far ahead, by a clock that was wrong: time decides.

    Args:
        now: UNIX seconds.

    Raises:
        Refused: there is nothing to heal.
        Unavailable: a node is paused or does not answer; then nothing is healed.
    """
    with folder.locked():
        record = folder.load()
        require_network_up(folder, record)
        calls = Calls(folder)
        require_unpaused(folder, record)
        nodes = running(record)
        heard = hear(calls, nodes)
        if not record.is_disturbed and not heard.is_any:
            raise Refused("The network is whole: there is nothing to heal.")
        infos = calls.of_each(nodes, lambda node: calls.ask(node, BlockchainInfo, "getblockchaininfo"))
        started = time.monotonic()
        bring_faults(folder, record, record.healed(), only_changes=False)
    found = _weigh(record, heard, {node.id: info for node, info in zip(nodes, infos, strict=True)}, now)
    patience = 0.0 if found.undecided or found.early else HEAL_SECONDS
    one_tip = wait_for_one_tip(calls, nodes, patience)
    return msgspec.structs.replace(found, one_tip=one_tip, seconds=round(time.monotonic() - started, 3))


def _weigh(record: NetworkRecord, heard: Heard, chains: Mapping[int, BlockchainInfo], now: int) -> Healed:
    """Return how the sides of a network stood, before anybody has followed anybody."""
    sides = record.partition or find_groups(record, heard.refused)
    groups = tuple(alive for group in sides if (alive := tuple(number for number in group if number in chains)))
    best = [max((chains[number] for number in group), key=_work) for group in groups]
    most = max(map(_work, best))
    winners = [place for place, chain in enumerate(best) if _work(chain) == most]
    if len({best[place].bestblockhash for place in winners}) == 1:
        winners = winners[:1]  # they are on one tip already
    return Healed(
        groups=groups,
        heights=tuple(chain.blocks for chain in best),
        tips=tuple(chain.bestblockhash for chain in best),
        winners=tuple(winners),
        cut=bool(record.partition) or any(heard.refused.values()),
        lines=max(len(record.lines), heard.lines),
        clocks=tuple(node.id for node in record.nodes if node.skew or node.id in heard.clocks),
        early=max(0, best[winners[0]].time - now - (LOCAL.max_future_seconds or 0)),
        one_tip=False,
        seconds=0.0,
    )


def _work(chain: BlockchainInfo) -> int:
    return int(chain.chainwork, 16)
