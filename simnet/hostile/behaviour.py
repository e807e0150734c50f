"""What every way to be hostile has in common: by default it is a polite peer that has nothing to offer."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from typing import ClassVar, Protocol

from consensus.params import Params
from consensus.state import ChainState
from consensus.types import Block, LockId, Transaction
from node.chain import ChainManager
from p2p.messages import Hello, Message
from simnet.hostile.link import HostileLink
from simnet.hostile.treasury import Treasury


class Adversary(Protocol):
    """Who is behind hostile peers: it knows the chain as anybody does, and has hash power."""

    params: Params
    rng: random.Random
    lock: LockId
    """Where its rewards go."""

    @property
    def chain(self) -> ChainManager | None:
        """What a node of its own knows of the chain; None while that node is down."""

    @property
    def now(self) -> int:
        """UNIX seconds."""

    def build(self, parent: ChainState, transactions: Sequence[Transaction] = (), **odd: int) -> Block:
        """Return a block with real work; see `simnet.hostile.coalition.build_block`."""

    def own_payment(self) -> Transaction | None:
        """Return a valid payment of its own that nobody has seen; None if it has no coins."""

    @property
    def treasury(self) -> Treasury:
        """What it owns: coins and assets that it can spend at will."""

    def say(self, event: str, **facts: object) -> None:
        """Put something into the log of the simulation."""


class Behaviour:
    """One hostile peer. Subclasses override what they do differently."""

    name: ClassVar[str] = ""
    """As plans name it; set by `hostile`."""
    mines: ClassVar[bool] = False
    """Whether it makes use of hash power: `found_block` is then called."""
    answers_pings: ClassVar[bool] = True

    def __init__(self, adversary: Adversary, number: int) -> None:
        """
        Args:
            number: of the peer, for its nonce.
        """
        self.adversary = adversary
        self.rng = random.Random(f"{adversary.rng.random()} {number}")
        self.links: list[HostileLink] = []
        """That are open now."""
        self.totals: Counter[str] = Counter()
        """What came of each kind of message, ticks, and whatever a behaviour counts, over all links."""
        self._nonce = self.rng.randbytes(8)

    @property
    def ready_links(self) -> list[HostileLink]:
        """The links on which messages may flow."""
        return [link for link in self.links if link.ready and not link.gone]

    def hello(self) -> Hello:
        """Return how it introduces itself."""
        height = self.tip.height if self.adversary.chain else 0
        return Hello(1, self.adversary.params.genesis_hash, self._nonce, "/dure:0.1/", 0, height)

    @property
    def tip(self) -> ChainState:
        """The best block, as everybody knows it."""
        chain = self.adversary.chain
        if chain is None:
            raise LookupError("nothing is known of the chain now")
        return chain.tip

    # --- events -----------------------------------------------------------------------------------------------

    def connected(self, link: HostileLink) -> None:
        """It has dialled a victim."""
        self.links.append(link)
        link.send(self.hello())

    def ready(self, link: HostileLink) -> None:
        """The victim has answered."""

    def message(self, link: HostileLink, message: Message) -> None:
        """The victim says something."""

    def closed(self, link: HostileLink) -> None:
        """The link is gone."""
        if link in self.links:
            self.links.remove(link)

    def tick(self, link: HostileLink) -> None:
        """A second has passed, on a link that is ready."""

    def early_tick(self, link: HostileLink) -> None:
        """A second has passed, on a link without a handshake."""

    def found_block(self) -> None:
        """It may make one block now, with the work that is due."""

    # --- helpers ----------------------------------------------------------------------------------------------

    def world_says(self, event: str, **facts: object) -> None:
        """Put something into the log of the simulation."""
        self.adversary.say(event, behaviour=self.name, **facts)

    def random_hash(self) -> bytes:
        """Return the id of nothing."""
        return self.rng.randbytes(32)


BEHAVIOURS: dict[str, type[Behaviour]] = {}
"""All there are, by name."""


def hostile(name: str) -> Callable[[type[Behaviour]], type[Behaviour]]:
    """Enter a behaviour into the library."""

    def enter(kind: type[Behaviour]) -> type[Behaviour]:
        if name in BEHAVIOURS:
            raise ValueError(f"two behaviours are called {name}")
        kind.name = name
        BEHAVIOURS[name] = kind
        return kind

    return enter
