"""Who else is here: questions and answers by UDP, as a state machine without I/O, and its thin edge.

All integers are big-endian; `magic` is the network's; every datagram is one of these:

    query       magic 4 | 01 | token 8 | cookie 16 | port 2                     31 bytes
    challenge   magic 4 | 02 | token 8 | cookie 16                              29 bytes
    answer      magic 4 | 03 | token 8 | up to 64 of (host 16 | port 2)       13..1165 bytes

A first query carries a cookie of zeros and is answered with a challenge, which is smaller. The same query with the
cookie of that challenge is answered with addresses: only then is it sure that the asker receives at the address it
sends from. So nobody can make a node throw a large answer at a third party. The cookie is a keyed hash of the source
address and the minute, so a node remembers nothing of who asks.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from p2p import limits
from p2p.address_rules import address_group, may_learn, pack_host, unpack_host
from p2p.rate import TokenBucket
from p2p.transport import Address, DatagramEndpoint, Network

_QUERY: Final = 1
_CHALLENGE: Final = 2
_ANSWER: Final = 3
_HEAD: Final = 13
_COOKIE: Final = 16
_NO_COOKIE: Final = bytes(_COOKIE)
_QUERY_SIZE: Final = _HEAD + _COOKIE + 2
_CHALLENGE_SIZE: Final = _HEAD + _COOKIE
_ENTRY: Final = 18
_MAX_PENDING: Final = 64
"""Open questions of ours: a lookup asks three, and they are dropped after two seconds."""


@dataclass(frozen=True, slots=True)
class AddressesFound:
    """Somebody told us of nodes, or of itself by asking."""

    addresses: tuple[Address, ...]
    """Each one that `address_rules.may_learn`; the teller vouches for nothing else."""
    source: Address
    """Who told, proven to receive where it sends from."""


@dataclass(slots=True)
class _Question:
    target: Address
    deadline: float
    challenged: bool


class DiscoveryCore:
    """Asks and answers; given datagrams and the time, it gives back datagrams and what it found.

    `now` is monotonic seconds from any origin.
    """

    def __init__(
        self,
        *,
        magic: bytes,
        port: int,
        secret: bytes,
        rng: random.Random,
        sample: Callable[[int], Sequence[Address]],
        private_allowed: bool,
        now: float,
    ) -> None:
        """
        Args:
            magic: the network's four bytes; datagrams with others are dropped.
            port: where this node listens for peers; 0 if it does not. Told to whom we ask.
            secret: 32 random bytes of this run; whoever knows them can forge cookies.
            rng: draws tokens and whom to ask. Tokens must be unpredictable to others.
            sample: draws at most so many known addresses, to tell or to ask.
            private_allowed: see `address_rules.may_learn`.
            now: when the first lookup is due.
        """
        self._magic = magic
        self._port = port
        self._secret = secret
        self._rng = rng
        self._sample = sample
        self._private_allowed = private_allowed
        self._seeds: dict[Address, None] = {}
        self._questions: dict[bytes, _Question] = {}
        self._out: list[tuple[bytes, Address]] = []
        self._found: list[AddressesFound] = []
        self._sources: dict[bytes, TokenBucket] = {}
        self._total = TokenBucket(limits.DISCOVERY_TOTAL_RATE, limits.DISCOVERY_TOTAL_BURST, now)
        self._lookup_due = now
        self._interval = limits.DISCOVERY_FIRST_SECONDS
        self._answered = False
        self.dropped = 0
        """Datagrams dropped unread or unanswered, for whatever reason."""

    # --- what the edge calls ----------------------------------------------------------------------------------

    def add_seeds(self, seeds: Sequence[Address]) -> None:
        """Add known nodes (IP addresses) that lookups start from; past `limits.MAX_SEEDS` they are dropped."""
        for seed in seeds:
            if len(self._seeds) < limits.MAX_SEEDS:
                self._seeds[seed] = None

    def receive(self, datagram: bytes, source: Address, now: float) -> None:
        """Take one datagram. Never raises: what is wrong with it is nobody's provable fault."""
        if not self._read(datagram, source, now):
            self.dropped += 1

    def handle_timer(self, now: float) -> None:
        """Start a lookup if one is due, and give up on questions without an answer."""
        overdue = [token for token, question in self._questions.items() if now >= question.deadline]
        for token in overdue:
            del self._questions[token]
        if now >= self._lookup_due:
            self._look_up(now)
            self._lookup_due = now + self._interval
            cap = limits.DISCOVERY_CAP_SECONDS if self._answered else limits.DISCOVERY_ALONE_SECONDS
            self._interval = min(self._interval * 2, cap)

    def hurry(self, now: float) -> None:
        """Look up soon and often again: the node lacks peers."""
        self._interval = limits.DISCOVERY_FIRST_SECONDS
        self._lookup_due = min(self._lookup_due, now + self._interval)

    def next_timer(self) -> float:
        """When `handle_timer` wants to be called, in the caller's `now`."""
        return min([self._lookup_due, *(question.deadline for question in self._questions.values())])

    def datagrams_to_send(self) -> list[tuple[bytes, Address]]:
        """Return the datagrams to be sent now, and forget them."""
        out, self._out = self._out, []
        return out

    def found(self) -> list[AddressesFound]:
        """Return what was found since the last call."""
        found, self._found = self._found, []
        return found

    # --- receiving --------------------------------------------------------------------------------------------

    def _read(self, datagram: bytes, source: Address, now: float) -> bool:
        size = len(datagram)
        if not _HEAD <= size <= limits.MAX_DATAGRAM or datagram[:4] != self._magic:
            return False
        kind, token = datagram[4], datagram[5:_HEAD]
        if kind == _QUERY and size == _QUERY_SIZE:
            return self._answer(token, datagram[_HEAD:-2], int.from_bytes(datagram[-2:], "big"), source, now)
        question = self._questions.get(token)
        # Only whom we asked may answer, only with the token we drew, and only once.
        if question is None or question.target != source:
            return False
        if kind == _CHALLENGE and size == _CHALLENGE_SIZE and not question.challenged:
            question.challenged = True
            self._out.append((self._query(token, datagram[_HEAD:]), source))
            return True
        if kind == _ANSWER and question.challenged and (size - _HEAD) % _ENTRY == 0:
            del self._questions[token]
            self._answered = True
            self._take_answer(datagram, source)
            return True
        return False

    def _answer(self, token: bytes, cookie: bytes, port: int, source: Address, now: float) -> bool:
        if not self._within_rate(source, now):
            return False
        minute = int(now // limits.COOKIE_SECONDS)
        head = self._magic + bytes((_CHALLENGE,)) + token
        if not any(hmac.compare_digest(cookie, self._cookie(source, age)) for age in (minute, minute - 1)):
            self._out.append((head + self._cookie(source, minute), source))
            return True
        told = [address for address in self._sample(limits.DISCOVERY_ADDRESSES) if address != source]
        entries = b"".join(pack_host(one.host) + one.port.to_bytes(2, "big") for one in told)
        self._out.append((self._magic + bytes((_ANSWER,)) + token + entries, source))
        asker = Address(source.host, port)
        if may_learn(asker, private_allowed=self._private_allowed):
            self._found.append(AddressesFound((asker,), asker))
        return True

    def _take_answer(self, datagram: bytes, source: Address) -> None:
        told = []
        for at in range(_HEAD, len(datagram), _ENTRY):
            host, port = datagram[at : at + 16], int.from_bytes(datagram[at + 16 : at + _ENTRY], "big")
            address = Address(unpack_host(host), port)
            if may_learn(address, private_allowed=self._private_allowed):
                told.append(address)
        if told:
            self._found.append(AddressesFound(tuple(told), source))

    def _within_rate(self, source: Address, now: float) -> bool:
        # The total comes last, so that one loud source uses up its own allowance and not that of all.
        key = address_group(source) if self._private_allowed else source.host.encode()
        bucket = self._sources.pop(key, None) or TokenBucket(limits.DISCOVERY_RATE, limits.DISCOVERY_BURST, now)
        if len(self._sources) >= limits.DISCOVERY_SOURCES:
            del self._sources[next(iter(self._sources))]
        self._sources[key] = bucket
        return bucket.take(now) and self._total.take(now)

    def _cookie(self, source: Address, minute: int) -> bytes:
        said = pack_host(source.host) + source.port.to_bytes(2, "big") + minute.to_bytes(8, "big", signed=True)
        return hashlib.blake2b(said, key=self._secret, digest_size=_COOKIE).digest()

    # --- asking -----------------------------------------------------------------------------------------------

    def _look_up(self, now: float) -> None:
        """Ask one known node and some that we heard of; all known nodes while we know no others."""
        heard = [address for address in self._sample(limits.DISCOVERY_PARALLEL) if address not in self._seeds]
        seeds = list(self._seeds)
        self._rng.shuffle(seeds)
        wanted_seeds = max(1, limits.DISCOVERY_PARALLEL - len(heard))
        targets = seeds[:wanted_seeds] + heard
        for target in targets[: limits.DISCOVERY_PARALLEL]:
            if len(self._questions) >= _MAX_PENDING:
                return
            token = self._rng.randbytes(8)
            self._questions[token] = _Question(target, now + limits.DISCOVERY_WAIT_SECONDS, challenged=False)
            self._out.append((self._query(token, _NO_COOKIE), target))

    def _query(self, token: bytes, cookie: bytes) -> bytes:
        return self._magic + bytes((_QUERY,)) + token + cookie + self._port.to_bytes(2, "big")


class Discovery:
    """The edge: a socket, the loop's clock, and names that must be looked up. It decides nothing."""

    def __init__(
        self,
        core: DiscoveryCore,
        network: Network,
        seeds: Sequence[Address],
        on_found: Callable[[AddressesFound], None],
    ) -> None:
        """
        Args:
            core: made with the running loop's time.
            network: where datagrams go, and who knows names.
            seeds: known nodes, by IP address or by name; names are tried again until they are known.
            on_found: told at once, from the loop's callbacks: it must not block.
        """
        self._core = core
        self._network = network
        self._names = list(seeds[: limits.MAX_SEEDS])
        self._on_found = on_found
        self._loop = asyncio.get_running_loop()
        self._endpoint: DatagramEndpoint | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._armed_for = 0.0
        self._resolver: asyncio.Task[None] | None = None
        self._quiet = False

    async def start(self, bind: Address) -> Address:
        """Bind and begin; return where it is bound.

        Raises:
            OSError: the port is taken, or the host is not one of this machine.
        """
        self._endpoint = await self._network.open_datagram(bind, self)
        self._resolver = asyncio.create_task(self._resolve_names(), name="discovery-names")
        self._pump()
        return self._endpoint.address

    async def stop(self) -> None:
        """End; returns when nothing of it runs any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        endpoint, self._endpoint = self._endpoint, None
        if endpoint is not None:
            endpoint.close()
            await endpoint.wait_closed()
        if self._resolver is not None:
            self._resolver.cancel()
            await asyncio.gather(self._resolver, return_exceptions=True)
            self._resolver = None

    def hurry(self) -> None:
        """Look up soon and often again: the node lacks peers."""
        self._core.hurry(self._loop.time())
        self._pump()

    def set_quiet(self, quiet: bool) -> None:
        """Neither send nor hear anything, or do so again."""
        self._quiet = quiet
        if not quiet:
            self.hurry()

    def datagram_received(self, data: bytes, source: Address) -> None:
        """Feed the core; awaits nothing."""
        if self._quiet:
            return
        self._core.receive(data, source, self._loop.time())
        self._pump()

    def _pump(self) -> None:
        if self._endpoint is None:
            return
        for datagram, target in self._core.datagrams_to_send():
            if not self._quiet:
                self._endpoint.send(datagram, target)
        for found in self._core.found():
            self._on_found(found)
        when = self._core.next_timer()
        if self._timer is not None:
            if when == self._armed_for:
                return
            self._timer.cancel()
        self._armed_for = when
        self._timer = self._loop.call_at(when, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self._core.handle_timer(self._loop.time())
        self._pump()

    async def _resolve_names(self) -> None:
        """Turn names into addresses; in a network that is just starting, some do not exist yet."""
        while self._names:
            unknown = []
            for name in self._names:
                try:
                    async with asyncio.timeout(limits.RESOLVE_SECONDS):
                        known = await self._network.resolve(name)
                except OSError:  # a timeout is one
                    known = ()
                if known:
                    self._core.add_seeds(known[:1])
                    self.hurry()
                else:
                    unknown.append(name)
            self._names = unknown
            if unknown:
                await asyncio.sleep(limits.RESOLVE_SECONDS)
