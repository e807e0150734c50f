"""Against bodies: withheld, mutated, unreadable, invalid early and late, unasked, of the future. All with real work."""

from __future__ import annotations

from collections.abc import Sequence

from consensus.codec import encode
from consensus.state import ChainState
from consensus.types import Amount, Block, BlockHash, Core, OutPoint, Output, Transaction, TxId
from consensus.validation import check_header
from p2p.messages import BlockMessage, GetData, Headers, ItemKind, Message
from simnet.hostile.behaviour import Behaviour, hostile
from simnet.hostile.link import HostileLink

MAX_BODIES = 200
"""Of its own that it keeps."""


class MiningBehaviour(Behaviour):
    """Makes blocks, announces them by their headers, and answers for their bodies as it likes."""

    mines = True

    def __init__(self, *args: object) -> None:
        super().__init__(*args)  # type: ignore[arg-type]
        self.bodies: dict[BlockHash, bytes] = {}
        self.states: dict[BlockHash, ChainState] = {}

    def keep(self, block: Block, parent: ChainState, body: bytes | None = None) -> ChainState:
        """Remember a block of its own, with what it will say is its body; return the state after it."""
        while len(self.bodies) >= MAX_BODIES:
            first = next(iter(self.bodies))
            del self.bodies[first], self.states[first]
        self.bodies[block.hash] = block.encoded if body is None else body
        self.states[block.hash] = check_header(self.adversary.params, block.header, parent)
        return self.states[block.hash]

    def announce(self, blocks: Sequence[Block], links: Sequence[HostileLink] | None = None) -> None:
        """Tell victims of blocks, oldest first."""
        for link in self.ready_links if links is None else links:
            link.send(Headers(tuple(block.header.encoded for block in blocks)))

    def message(self, link: HostileLink, message: Message) -> None:
        """Deliver the bodies that it is asked for."""
        if isinstance(message, GetData):
            for item in message.items:
                if item.kind is ItemKind.BLOCK and item.hash in self.bodies:
                    self.deliver(link, self.bodies[BlockHash(item.hash)])

    def deliver(self, link: HostileLink, body: bytes) -> None:
        """Answer for one body."""
        self.totals["delivered"] += 1
        link.send(BlockMessage(body))


@hostile("withheld-bodies")
class WithheldBodies(MiningBehaviour):
    """Announces valid blocks and never delivers them (A056, A094): its power is spent to make others wait."""

    def found_block(self) -> None:
        """One header."""
        block = self.adversary.build(self.tip)
        self.keep(block, self.tip)
        self.announce([block])

    def deliver(self, link: HostileLink, body: bytes) -> None:
        """Never."""
        self.totals["withheld"] += 1


@hostile("mutated-bodies")
class MutatedBodies(MiningBehaviour):
    """Delivers a valid block to one victim, and other bodies under its header to the rest (A021, A097)."""

    def found_block(self) -> None:
        """Everybody is told at once."""
        payment = self.adversary.own_payment()
        block = self.adversary.build(self.tip, [] if payment is None else [payment])
        self.keep(block, self.tip)
        self.announce([block])

    def deliver(self, link: HostileLink, body: bytes) -> None:
        """Only some get what its header names."""
        if self.rng.random() < 0.7:
            head, coinbase = body[:83], self.adversary.build(self.tip).transactions[0]
            body = head + encode((coinbase,))
            self.totals["mutated"] += 1
        link.send(BlockMessage(body))


@hostile("unreadable-bodies")
class UnreadableBodies(MiningBehaviour):
    """Delivers bodies that are cut, or have a byte too many (A027, A035)."""

    def found_block(self) -> None:
        """A valid block, announced."""
        block = self.adversary.build(self.tip)
        self.keep(block, self.tip, self.rng.choice((block.encoded[:-1], block.encoded + b"\x00", block.encoded[:84])))
        self.announce([block])


@hostile("invalid-blocks")
class InvalidBlocks(MiningBehaviour):
    """Blocks with a good header and a body that breaks a rule: too large a reward, a coin from nowhere (A007, A011)."""

    def found_block(self) -> None:
        """On the tip."""
        block = self.spoil(self.tip)
        self.keep(block, self.tip)
        self.announce([block])

    def spoil(self, parent: ChainState) -> Block:
        """Return an invalid block with valid work."""
        if self.rng.random() < 0.5:
            return self.adversary.build(parent, more_reward=1)
        payment = self.adversary.own_payment()
        if payment is None:
            return self.adversary.build(parent, more_reward=self.rng.randrange(1, 10**12))
        nowhere = OutPoint(TxId(self.random_hash()), 0)
        core = payment.core
        output = Output(Amount(1_000), core.outputs[0].lock, None)
        theft = Transaction(Core(core.version, (nowhere,), (output,), (), (), b""), payment.witnesses[:1])
        return self.adversary.build(parent, [theft])


@hostile("invalid-late")
class InvalidLate(InvalidBlocks):
    """Four blocks in a row of which the last is invalid (A060): victims leave their chain for them, and come back."""

    LENGTH = 4

    def __init__(self, *args: object) -> None:
        super().__init__(*args)
        self._branch: list[Block] = []
        self._end: ChainState | None = None

    def found_block(self) -> None:
        """One block of the branch; the last one shows it."""
        if self._end is None:
            self._branch, self._end = [], self.tip
        last = len(self._branch) + 1 == self.LENGTH
        block = self.spoil(self._end) if last else self.adversary.build(self._end)
        self._branch.append(block)
        self._end = self.keep(block, self._end)
        if last:
            self.announce(self._branch)
            self._end = None


@hostile("children-of-invalid")
class ChildrenOfInvalid(InvalidBlocks):
    """Builds on and on upon a block that is invalid (A057)."""

    def __init__(self, *args: object) -> None:
        super().__init__(*args)
        self._end: ChainState | None = None

    def found_block(self) -> None:
        """An invalid block first, then its descendants; begun anew where the chain has outgrown them."""
        if self._end is None or self._end.work < self.tip.work:
            block, parent = self.spoil(self.tip), self.tip
        else:
            block, parent = self.adversary.build(self._end), self._end
            self.totals["children"] += len(self.ready_links)
        self._end = self.keep(block, parent)
        self.announce([block])


@hostile("future-blocks")
class FutureBlocks(MiningBehaviour):
    """Valid blocks that claim to be of an hour from now (A049, A191): to be kept, and taken when they are due."""

    def found_block(self) -> None:
        """An hour ahead."""
        block = self.adversary.build(self.tip, seconds_ahead=3_600)
        self.keep(block, self.tip)
        self.announce([block])


@hostile("unasked-blocks")
class UnaskedBlocks(MiningBehaviour):
    """Sends bodies that nobody asked for, of blocks that everybody has, or that nobody knows (A099)."""

    def tick(self, link: HostileLink) -> None:
        """An old one."""
        chain = self.adversary.chain
        entry = None if chain is None else chain.index.at(self.rng.randrange(self.tip.height + 1))
        raw = None if chain is None or entry is None else chain.read_raw_block(entry.hash)
        if raw is not None:
            link.send(BlockMessage(raw))

    def found_block(self) -> None:
        """A new one, beside the chain, without its header first."""
        chain = self.adversary.chain
        entry = None if chain is None else chain.index.at(max(0, self.tip.height - 5))
        if chain is not None and entry is not None:
            block = self.adversary.build(chain.state_of(entry))
            for link in self.ready_links:
                self.deliver(link, block.encoded)
