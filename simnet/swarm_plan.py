"""What a swarm does to a network: drawn from a seed, and data, so that it can be replayed and made smaller."""

from __future__ import annotations

import random
from enum import StrEnum

import msgspec

from simnet.hostile.library import BEHAVIOURS


class Act(StrEnum):
    """One thing that happens. Which node, which others and how much are in its `Step`."""

    PAY = "pay"
    """`node` pays `amount` DURE to `others[0]`."""
    ISSUE = "issue"
    """`node` issues an asset of the kind that `amount` decides (see `AssetActs`); `others[0]` is to audit it."""
    SEND_ASSET = "send-asset"
    """`node` pays some of its assets number `amount` to `others[0]`; if it has none it issues one."""
    REISSUE = "reissue"
    """`node` issues more of an asset over which it has the authority; if there is none it issues one."""
    ATTEST = "attest"
    """`node` attests another reserve of an asset that it audits; if there is none, `others[0]` issues one."""
    BURN = "burn"
    """`node` destroys some of its assets number `amount`."""
    CLOSE = "close"
    """`node` burns the authority over its assets number `amount`."""
    MINT = "mint"
    """`node` lets a work of which there is one into a collection of its own; without one it opens one."""
    MINE = "mine"
    """`node` finds `amount` blocks at once."""
    PARTITION = "partition"
    """`others` are kept from all the rest."""
    CUT = "cut"
    """Nothing gets from `node` to `others`; the way back is open."""
    BRIDGE = "bridge"
    """`others` are kept from all the rest, but for `node`, which sees both."""
    SHUT_OUT = "shut-out"
    """`node` acts as if it could not reach `others`, as `dure partition` has it do; kept over restarts."""
    HEAL = "heal"
    """All ways are open, and nobody is shut out."""
    HOLD = "hold"
    """What `node` says to `others`, and hears, waits."""
    RELEASE = "release"
    WEATHER = "weather"
    """All ways are as good as the weather of number `amount` in `WEATHERS`."""
    DISCONNECT = "disconnect"
    """`node` closes one of its links."""
    KILL = "kill"
    """The process of `node` is killed."""
    POWER_CUT = "power-cut"
    """The machine of `node` goes off; nobody is told."""
    DIE_IN_WRITE = "die-in-write"
    """The machine of `node` dies within the `amount`-th write from now."""
    DIE_IN_RECOVERY = "die-in-recovery"
    """`node` is killed, started to rebuild its chain, and dies within the `amount`-th write of that."""
    WRITE_FAILS = "write-fails"
    """The `amount`-th write from now of `node` fails."""
    DISK_FULL = "disk-full"
    """The disk of `node` has room for `amount` bytes more."""
    STOP = "stop"
    """`node` is stopped in order."""
    START = "start"
    """Every node that is down is started; full disks have room again."""
    CLOCK = "clock"
    """The clock of `node` is `amount` seconds wrong."""


class Step(msgspec.Struct, frozen=True, array_like=True):
    """One act, and when."""

    at: float
    """Virtual seconds after the beginning of the unrest."""
    act: Act
    node: int = 0
    """A place in the list of nodes; counted round if there are fewer."""
    others: tuple[int, ...] = ()
    amount: int = 0


class Plan(msgspec.Struct, frozen=True):
    """A whole swarm."""

    seed: int
    """Of everything that the simulation draws itself."""
    nodes: int
    steps: tuple[Step, ...]
    spacing: int = 60
    """Seconds between blocks."""
    gossip: bool = False
    """Whether nodes find each other by discovery and address gossip; else each dials two of those before it."""
    sync_seconds: float = 0.0
    """How long a disk takes for a commit."""
    hostile: tuple[tuple[str, ...], ...] = ()
    """Waves of hostile peers, by the names of their behaviours; together they have 40 % of the hash power."""
    miners: tuple[int, ...] = ()
    """Share of each node in the hash power."""


WAVES = 4
UNREST_SECONDS = 5_400.0
"""An hour and a half: ninety blocks."""
_WEIGHTS = {
    Act.PAY: 20,
    Act.ISSUE: 6,
    Act.SEND_ASSET: 12,
    Act.REISSUE: 12,
    Act.ATTEST: 12,
    Act.BURN: 8,
    Act.CLOSE: 3,
    Act.MINT: 4,
    Act.MINE: 5,
    Act.PARTITION: 6,
    Act.CUT: 3,
    Act.BRIDGE: 2,
    Act.SHUT_OUT: 3,
    Act.HEAL: 7,
    Act.HOLD: 3,
    Act.RELEASE: 3,
    Act.WEATHER: 4,
    Act.DISCONNECT: 4,
    Act.KILL: 4,
    Act.POWER_CUT: 3,
    Act.DIE_IN_WRITE: 4,
    Act.DIE_IN_RECOVERY: 3,
    Act.WRITE_FAILS: 2,
    Act.DISK_FULL: 1,
    Act.STOP: 2,
    Act.START: 12,
    Act.CLOCK: 3,
}


_ALWAYS = {Act.PAY, Act.ISSUE, Act.SEND_ASSET, Act.HEAL, Act.START, Act.RELEASE}
"""Acts that every swarm has: without the first there is nothing to look at, without the others no end to the faults."""


def draw_plan(seed: int, *, hostile: bool = False) -> Plan:
    """Return the swarm of a seed.

    Args:
        hostile: whether a third of the peers are.
    """
    rng = random.Random(f"swarm {seed}")
    nodes = rng.randrange(5, 10)
    count = rng.randrange(50, 110)
    # A swarm that does a little of everything rarely does much of one thing: so each leaves some acts out.
    acts = [act for act in Act if act in _ALWAYS or rng.random() < 0.6]
    weights = [_WEIGHTS[act] * rng.uniform(0.3, 2.0) for act in acts]
    times = sorted(rng.uniform(0, UNREST_SECONDS) for _ in range(count))
    steps = tuple(_draw_step(rng, at, rng.choices(acts, weights)[0], nodes) for at in times)
    miners = tuple(rng.choice((0, 1, 1, 2, 5)) for _ in range(nodes))
    return Plan(
        seed,
        nodes,
        steps,
        gossip=rng.random() < 0.3,
        sync_seconds=rng.choice((0.0, 0.005, 0.3)),
        miners=miners if any(miners) else (1,) * nodes,
        hostile=_draw_waves(rng, nodes) if hostile else (),
    )


def _draw_waves(rng: random.Random, nodes: int) -> tuple[tuple[str, ...], ...]:
    """Return whom the honest nodes have against them: half as many machines as they are, one after the other."""
    names = rng.sample(sorted(BEHAVIOURS), len(BEHAVIOURS))
    miners = rng.sample(sorted(name for name, kind in BEHAVIOURS.items() if kind.mines), WAVES)
    size = -(-nodes // 2)
    return tuple((miners[wave], *names[wave * size : wave * size + size - 1]) for wave in range(WAVES))


def _draw_step(rng: random.Random, at: float, act: Act, nodes: int) -> Step:
    node = rng.randrange(nodes)
    others = tuple(rng.sample(range(nodes), rng.randrange(1, nodes)))
    amounts = {
        Act.PAY: (1, 40),
        Act.ISSUE: (1, 10_000),
        Act.SEND_ASSET: (1, 10_000),
        Act.REISSUE: (1, 10_000),
        Act.ATTEST: (1, 10_000),
        Act.BURN: (1, 10_000),
        Act.CLOSE: (1, 10_000),
        Act.MINT: (1, 10_000),
        Act.MINE: (1, 9),
        Act.WEATHER: (0, 3),
        Act.DIE_IN_WRITE: (1, 6),
        Act.DIE_IN_RECOVERY: (1, 4),
        Act.WRITE_FAILS: (1, 6),
        Act.DISK_FULL: (0, 3_000),
        Act.CLOCK: (-7_200, 90),
    }
    low, high = amounts.get(act, (0, 0))
    return Step(round(at, 3), act, node, others, rng.randint(low, high))
