"""Against headers-first: headers without work, without a parent, of the future, too light, or never given."""

from __future__ import annotations

from consensus.pow import next_bits, target_from_bits
from consensus.state import ChainState, genesis_state
from consensus.types import BlockHash, Header
from consensus.validation import check_header
from miner.search import search
from p2p import limits
from p2p.messages import GetHeaders, Headers, Hello, Message
from simnet.hostile.behaviour import Behaviour, hostile
from simnet.hostile.link import HostileLink

_LONG = limits.MAX_HEADERS + 400
"""Headers of a branch that takes more than one message."""


def unworked(state: ChainState, bits: int, previous: bytes, root: bytes) -> Header:
    """Return a header that looks like the next one, and whose id is not below its target."""
    header = Header(1, BlockHash(previous), root, state.times[-1] + 60, bits, 0)
    while int.from_bytes(header.hash, "little") <= target_from_bits(bits):
        header = Header(1, header.previous, root, header.time, bits, header.nonce + 1)
    return header


class _OnTip(Behaviour):
    """Knows what the next header would need."""

    def next_bits(self) -> int:
        tip = self.tip
        return next_bits(self.adversary.params, tip.anchor, tip.height, tip.times[-1])[0]


@hostile("high-hash")
class HighHash(_OnTip):
    """Announces a block without its work (A044)."""

    def tick(self, link: HostileLink) -> None:
        """On the very tip."""
        tip = self.tip
        link.send(Headers((unworked(tip, self.next_bits(), tip.hash, self.random_hash()).encoded,)))


@hostile("bad-bits")
class BadBits(_OnTip):
    """Announces a block with real work, for an easier target than is due (A044, A045)."""

    def tick(self, link: HostileLink) -> None:
        """At the easiest target there is."""
        tip, limit = self.tip, self.adversary.params.limit_bits
        easy = limit if self.next_bits() != limit else limit - 1
        found = search(Header(1, tip.hash, self.random_hash(), tip.times[-1] + 60, easy, 0), 1 << 20)
        if found is not None:
            link.send(Headers((found.encoded,)))


@hostile("unconnecting-headers")
class Unconnecting(_OnTip):
    """Announces headers whose parents nobody has (A054, A055)."""

    def tick(self, link: HostileLink) -> None:
        """Five a second."""
        for _ in range(5):
            header = unworked(self.tip, self.next_bits(), self.random_hash(), self.random_hash())
            link.send(Headers((header.encoded,)))


@hostile("broken-chain")
class BrokenChain(_OnTip):
    """Headers of which none is the parent of the next (A054)."""

    def tick(self, link: HostileLink) -> None:
        """Three."""
        made = [unworked(self.tip, self.next_bits(), self.random_hash(), self.random_hash()) for _ in range(3)]
        link.send(Headers(tuple(header.encoded for header in made)))


@hostile("lying-height")
class LyingHeight(Behaviour):
    """Claims to have four billion blocks, and answers every request for headers with none (A056, A115)."""

    def hello(self) -> Hello:
        """Much promised."""
        return Hello(1, self.adversary.params.genesis_hash, self._nonce, "/dure:0.1/", 0, 2**32 - 1)

    def message(self, link: HostileLink, message: Message) -> None:
        """Nothing given."""
        if isinstance(message, GetHeaders):
            self.totals["asked"] += 1
            link.send(Headers(()))


@hostile("low-work-headers")
class LowWorkHeaders(Behaviour):
    """A long branch from genesis whose headers are as light as can be (A052, A053): cheap to make, dear to store."""

    def __init__(self, *args: object) -> None:
        super().__init__(*args)  # type: ignore[arg-type]
        self._branch: list[bytes] = []
        self._state = genesis_state(self.adversary.params)

    def tick(self, link: HostileLink) -> None:
        """Grow it, for it costs real work; once it is longer than one message, come again and be asked."""
        before = len(self._branch)
        self._grow(200)
        if before <= limits.MAX_HEADERS < len(self._branch):
            link.abort()

    def message(self, link: HostileLink, message: Message) -> None:
        """Give headers as an honest peer would."""
        if isinstance(message, GetHeaders) and len(self._branch) > limits.MAX_HEADERS:
            known = {Header.from_bytes(raw).hash: place for place, raw in enumerate(self._branch)}
            start = next((known[h] + 1 for h in map(BlockHash, message.locator) if h in known), 0)
            link.send(Headers(tuple(self._branch[start : start + limits.MAX_HEADERS])))

    def _grow(self, count: int) -> None:
        params = self.adversary.params
        for _ in range(count if len(self._branch) < _LONG else 0):
            state = self._state
            bits, _ = next_bits(params, state.anchor, state.height, state.times[-1])
            # Far apart in time, so that the target soon is the easiest there is.
            step = 4 * params.half_life if state.height < 20 else params.spacing
            found = search(Header(1, state.hash, self.random_hash(), state.times[-1] + step, bits, 0), 1 << 20)
            if found is None:
                return
            self._state = check_header(params, found, state)
            self._branch.append(found.encoded)
