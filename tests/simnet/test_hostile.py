"""Every hostile behaviour reaches the code that it attacks, and does no harm there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

import pytest

from node import orphans
from node.peer_settings import PeerSettings
from simnet.bounds import bounds, check_bounds, held
from simnet.errors import InvariantBroken
from simnet.hostile.coalition import Coalition, Machine
from simnet.hostile.library import BEHAVIOURS
from simnet.sim_node import SimNode
from simnet.simulation import Simulation, simulate

SECONDS = 240.0
PEACE = {"low-work-headers": 6 * 3_600.0}
"""Seconds before the attack: what is light depends on how heavy the chain is."""


class Scene(NamedTuple):
    """Two honest nodes, of which one is the victim, and one hostile machine."""

    sim: Simulation
    victim: SimNode
    friend: SimNode
    machine: Machine
    most: Counter[str]
    """The most that the victim ever held at a time, of each thing that is bounded."""

    def reasons(self) -> list[str]:
        """Why the victim closed links, ready or not."""
        said = self.sim.events.of(self.victim.name)
        return [str(entry.facts["reason"]) for entry in said if "reason" in entry.facts]

    def closed(self, why: str) -> bool:
        return any(why in reason for reason in self.reasons())

    def said(self, event: str) -> bool:
        return bool(self.sim.events.of(self.victim.name, event))

    def counted(self, name: str) -> int:
        """What the machine counted."""
        return self.machine.behaviour.totals[name]


def ended_with(reason: str) -> Callable[[Scene], bool]:
    return lambda scene: scene.closed(reason)


def logged(event: str) -> Callable[[Scene], bool]:
    return lambda scene: scene.said(event)


def refused_in_block(rule: str) -> Callable[[Scene], bool]:
    """A lone transaction may be early, and is no fault; in a block it is."""
    return lambda scene: scene.counted("transactions") > 0 and scene.closed(f"an invalid block: {rule}")


def refused_both(rule: str) -> Callable[[Scene], bool]:
    return lambda scene: all(scene.closed(f"an invalid {what}: {rule}") for what in ("transaction", "block"))


# What shows that a behaviour reached the code it attacks; where it is cut off, the victim's own words for why.
REACHES: dict[str, Callable[[Scene], bool]] = {
    # wire
    "garbage": ended_with("bad-frame"),
    "silent": ended_with("handshake-timeout"),
    "slow-loris": ended_with("frame-timeout"),
    "oversized": ended_with("too-large"),
    "malformed": ended_with("malformed"),
    "ping-flood": ended_with("flood message=Ping"),
    "wrong-pong": ended_with("bad-pong"),
    "no-pong": ended_with("no-pong"),
    "unknown-flood": ended_with("flood message=unknown"),
    "second-hello": ended_with("second-hello"),
    "wrong-network": ended_with("wrong-network"),
    "reconnect-storm": lambda scene: scene.machine.dials > 20 and scene.said("peer_connected"),
    "slow-reader": ended_with("slow"),
    # floods
    "inv-flood": lambda scene: scene.counted("GetData") > 0 and scene.most["transactions asked for"] >= 1_000,
    "block-inv-flood": lambda scene: scene.counted("GetHeaders") > 3,
    "getdata-flood": lambda scene: scene.counted("NotFound") > 50,
    "getheaders-flood": lambda scene: scene.counted("Headers") > 300,
    "getaddr-flood": ended_with("flood message=GetAddr"),
    "addr-flood": lambda scene: scene.most["addresses"] > 10,
    "notfound-flood": lambda scene: scene.counted("ticks") > 100 and scene.machine.dials == 1,
    "orphan-flood": lambda scene: scene.most["orphans"] == orphans.MAX_ORPHANS_PER_PEER,
    # transactions
    "bad-signature": ended_with("an invalid transaction"),
    "unreadable-transaction": ended_with("a transaction that cannot be read"),
    "withheld-transactions": lambda scene: scene.counted("asked") > 1,
    "has-nothing": lambda scene: scene.counted("denied") > 0,
    # headers
    "high-hash": ended_with("high-hash"),
    "bad-bits": ended_with("bits"),
    "unconnecting-headers": ended_with("headers that do not connect"),
    "broken-chain": ended_with("headers that are no chain"),
    "lying-height": lambda scene: scene.counted("asked") > 0 and scene.said("peer_connected"),
    "low-work-headers": logged("branch_too_light"),
    # blocks
    "withheld-bodies": ended_with("owes blocks and delivers none"),
    "mutated-bodies": ended_with("a body that is not its header's"),
    "unreadable-bodies": ended_with("a block that cannot be read"),
    "invalid-blocks": ended_with("an invalid block"),
    "invalid-late": logged("reorg_failed"),
    "children-of-invalid": lambda scene: scene.closed("an invalid block") and scene.counted("children") > 0,
    "future-blocks": lambda scene: scene.most["headers too early"] > 0,
    "unasked-blocks": lambda scene: scene.counted("ticks") > 100 and scene.counted("delivered") > 0,
    # assets: as a transaction, where a lone one is surely wrong, and in a block
    "inflated-asset": refused_both("asset-conservation"),
    "doubled-work": refused_both("asset-conservation"),
    "forged-approval": lambda scene: scene.closed("an invalid transaction") and scene.closed("an invalid block"),
    "reissue-without-authority": refused_both("no-authority"),
    "issue-above-reserve": refused_in_block("above-reserve"),
    "replayed-attestation": refused_in_block("attestation-sequence"),
    "mutated-issuance": refused_both("bad-signature"),
    # mining
    "selfish-mining": lambda scene: any(e.event == "secret_blocks_published" for e in scene.sim.events.entries),
    "time-liar": lambda scene: scene.counted("delivered") > 0,
    "twin-blocks": logged("fork_seen"),
}


def test_every_behaviour_of_the_library_is_shown_to_be_hostile() -> None:
    assert set(REACHES) == set(BEHAVIOURS)
    assert len(BEHAVIOURS) >= 20


async def play(sim: Simulation, name: str) -> Scene:
    """A victim, its friend, who is the adversary's eye too, and one hostile machine: some minutes of blocks."""
    friend = await sim.add_node()
    address = sim.host(2)
    settings = PeerSettings(bind=address, add=(friend.address,), discovery=False, max_outbound=0)
    victim = await sim.add_node(settings=settings)
    await friend.mine(12)
    sim.mine_at_random({friend: 1.0})
    await sim.sleep(PEACE.get(name, 1.0))
    await sim.converged()
    begun = sim.time
    coalition = Coalition(sim, friend)
    machine = coalition.add(name, [victim])
    scene = Scene(sim, victim, friend, machine, Counter())
    coalition.start(share=3.0)
    sim.mining.hash_rate *= 4
    while sim.time < begun + SECONDS:
        await sim.sleep(1)
        check_bounds(victim)
        scene.most.update({what: max(0, many - scene.most[what]) for what, many in held(victim).items()})
    await coalition.stop()
    sim.mining.stop()
    await sim.sleep(5)
    await friend.mine()
    await sim.converged(within=30)
    return scene


@pytest.mark.parametrize("name", sorted(REACHES))
def test_a_behaviour_reaches_what_it_attacks_and_does_no_harm(name: str) -> None:
    async def story(sim: Simulation) -> None:
        scene = await play(sim, name)
        assert REACHES[name](scene), (scene.reasons(), scene.machine.behaviour.totals, scene.most)
        assert not sim.events.errors
        assert scene.victim.height >= 15

    simulate(story, log_level="debug")


def test_holding_too_much_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(sim: Simulation) -> None:
        node = await sim.add_node()
        check_bounds(node)
        assert set(held(node)) == set(bounds(1))
        monkeypatch.setattr("node.relay.Relay.orphans", orphans.MAX_ORPHANS + 1)
        with pytest.raises(InvariantBroken, match="orphans"):
            check_bounds(node)

    simulate(story)
