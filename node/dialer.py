"""Whom to dial, and when again: addresses that the operator wants for ever, and others for free outbound slots.

It decides and waits; opening a link is the peer manager's. Waits double with each failure and carry jitter, so that
nodes which lost each other at the same moment do not come back at the same moment (A085).
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Final, Protocol

from node import gossip_limits as limits
from node.clock import Clock
from node.peer import Role
from p2p.address_manager import AddressManager
from p2p.address_rules import address_group
from p2p.transport import Address

_DOUBLINGS: Final = 16
"""Past so many failures a wait is at its cap anyway; keeps the power small."""


class Slots(Protocol):
    """What the dialer asks of the peer manager."""

    def is_taken(self, address: Address) -> bool:
        """Whether there is a link to this address already, or one is being opened."""

    def may_dial(self, address: Address) -> bool:
        """Whether it may be dialled at all: it is not partitioned off."""

    def free_outbound(self) -> int:
        """Return how many outbound peers are still wanted, not counting links being opened."""

    def is_suspect(self, address: Address) -> bool:
        """Whether we would not choose it ourselves: discouraged."""

    def outbound_groups(self) -> Iterable[bytes]:
        """Return the groups that outbound peers stand in, see `address_rules.address_group`."""


@dataclass(slots=True, eq=False)
class _Wanted:
    """An address to be dialled until it is there, or until its tries are used up."""

    role: Role
    tries: int | None
    """How many are left; None for ever."""
    failures: int = 0
    timer: asyncio.TimerHandle | None = None


class Dialer:
    """Keeps wanted addresses connected and outbound slots filled."""

    def __init__(
        self,
        addresses: AddressManager,
        slots: Slots,
        clock: Clock,
        rng: random.Random,
        connect: Callable[[Address, Role], Awaitable[None]],
        *,
        choose: bool,
    ) -> None:
        """
        Args:
            addresses: whom to choose among.
            slots: who is connected, and how many more may be.
            clock: UNIX time, for the address table.
            rng: draws the jitter.
            connect: opens a link; returns when it is there, raises OSError if it cannot be.
            choose: whether to fill slots by ourselves; False in connect-only mode.
        """
        self._addresses = addresses
        self._slots = slots
        self._clock = clock
        self._rng = rng
        self._connect = connect
        self._choose = choose
        self._wanted: dict[Address, _Wanted] = {}
        self._dials: dict[Address, asyncio.Task[None]] = {}
        self._loop = asyncio.get_running_loop()
        self._fill_timer: asyncio.TimerHandle | None = None
        self._fill_delay = limits.FILL_SECONDS
        self._running = False

    @property
    def wanted(self) -> tuple[Address, ...]:
        """Addresses that are dialled for ever."""
        return tuple(address for address, wanted in self._wanted.items() if wanted.tries is None)

    @property
    def groups(self) -> tuple[bytes, ...]:
        """The groups of those that a link is being opened to."""
        return tuple(map(address_group, self._dials))

    def is_dialling(self, address: Address) -> bool:
        """Whether a link to it is being opened now."""
        return address in self._dials

    def start(self) -> None:
        """Begin to dial."""
        self._running = True
        for address in list(self._wanted):
            self._try(address)
        self.fill()

    async def stop(self) -> None:
        """Dial no more; returns when nothing of it runs."""
        self._running = False
        self._cancel(self._fill_timer)
        for wanted in self._wanted.values():
            self._cancel(wanted.timer)
        dials = list(self._dials.values())
        for dial in dials:
            dial.cancel()
        await asyncio.gather(*dials, return_exceptions=True)

    def want(self, address: Address, role: Role = Role.ADDED, tries: int | None = None) -> None:
        """Dial an address now and, while it is not there, again; for ever unless `tries` says otherwise.

        Raises:
            ValueError: too many addresses are wanted already.
        """
        wanted = self._wanted.get(address)
        if wanted is None:
            if tries is None and len(self.wanted) >= limits.MAX_ADDED:
                raise ValueError(f"no more than {limits.MAX_ADDED} addresses can be added")
            wanted = self._wanted[address] = _Wanted(role, tries)
        elif tries is None:
            wanted.role, wanted.tries = role, None
        wanted.failures = 0
        self._try(address)

    def forget(self, address: Address) -> bool:
        """Dial it no more of ourselves; return whether it was wanted."""
        wanted = self._wanted.pop(address, None)
        if wanted is not None:
            self._cancel(wanted.timer)
        return wanted is not None

    def hurry(self) -> None:
        """The world has changed (a partition healed, addresses were learned): dial now what is waited for."""
        for wanted in self._wanted.values():
            wanted.failures = 0
        for address in list(self._wanted):
            self._try(address)
        self._fill_delay = limits.FILL_SECONDS
        self.fill()

    def learned(self) -> None:
        """New addresses are known: look at once whether one fills a free slot."""
        self._cancel(self._fill_timer)
        self._fill_timer = None
        self.fill()

    def connected(self, address: Address) -> None:
        """The handshake with a dialled address is done."""
        wanted = self._wanted.get(address)
        if wanted is not None and wanted.timer is not None:
            wanted.timer.cancel()
            wanted.timer = None

    def lost(self, address: Address, held_seconds: float) -> None:
        """A link to an address that we dialled, or might dial, has ended."""
        wanted = self._wanted.get(address)
        if held_seconds < limits.STEADY_SECONDS:
            self._addresses.mark_attempt(address, self._clock.time())
        elif wanted is not None:
            wanted.failures = 0
            if wanted.tries is not None:
                self.forget(address)
        self._wait(address)
        self.fill_soon()

    def fill_soon(self) -> None:
        """Look for outbound peers after a while, if it is not planned already."""
        if self._running and self._choose and self._fill_timer is None:
            self._fill_timer = self._loop.call_later(self._jitter(self._fill_delay), self._fill_again)

    def fill(self) -> None:
        """Dial as many known addresses as there are free outbound slots."""
        if not self._running or not self._choose:
            return
        free = self._slots.free_outbound() - len(self._dials)
        free = min(free, limits.MAX_PARALLEL_DIALS - len(self._dials))
        found = False
        for _ in range(free):
            address = self._addresses.select(self._clock.time(), _Unsuitable(self, self._slots))
            if address is None:
                break
            found = True
            self._dial(address, Role.OUTBOUND)
        self._fill_delay = limits.FILL_SECONDS if found else min(self._fill_delay * 2, limits.FILL_CAP_SECONDS)
        if self._slots.free_outbound() > 0:
            self.fill_soon()

    # --- inside -----------------------------------------------------------------------------------------------

    def _fill_again(self) -> None:
        self._fill_timer = None
        self.fill()

    def _try(self, address: Address) -> None:
        wanted = self._wanted.get(address)
        if wanted is None or not self._running:
            return
        self._cancel(wanted.timer)
        wanted.timer = None
        # Partitioned off or connected already: `hurry` or `lost` comes back here.
        if self._slots.may_dial(address) and not self._slots.is_taken(address) and address not in self._dials:
            self._dial(address, wanted.role)

    def _dial(self, address: Address, role: Role) -> None:
        self._addresses.mark_attempt(address, self._clock.time())
        self._dials[address] = self._loop.create_task(self._run(address, role), name=f"dial {address}")

    async def _run(self, address: Address, role: Role) -> None:
        try:
            await self._connect(address, role)
        except OSError:
            self._wait(address)
            self.fill_soon()
        finally:
            self._dials.pop(address, None)

    def _wait(self, address: Address) -> None:
        """Plan the next try of a wanted address that failed."""
        wanted = self._wanted.get(address)
        if wanted is None or not self._running or wanted.timer is not None:
            return
        if wanted.tries is not None:
            wanted.tries -= 1
            if wanted.tries <= 0:
                self.forget(address)
                return
        delay = min(limits.REDIAL_CAP_SECONDS, limits.REDIAL_SECONDS * 2 ** min(wanted.failures, _DOUBLINGS))
        wanted.failures += 1
        wanted.timer = self._loop.call_later(self._jitter(delay), self._try, address)

    def _jitter(self, seconds: float) -> float:
        """Half to one and a half of it."""
        return seconds * (0.5 + self._rng.random())

    @staticmethod
    def _cancel(timer: asyncio.TimerHandle | None) -> None:
        if timer is not None:
            timer.cancel()


class _Unsuitable:
    """The addresses not to be chosen now, as a container that asks instead of being filled."""

    def __init__(self, dialer: Dialer, slots: Slots) -> None:
        self._dialer = dialer
        self._slots = slots
        # Of each owner of a network one at most: who has all addresses of a few networks gets few of our slots (A113).
        self._groups = {*slots.outbound_groups(), *dialer.groups}

    def __contains__(self, address: object) -> bool:
        if not isinstance(address, Address):
            return False
        slots = self._slots
        return (
            slots.is_taken(address)
            or not slots.may_dial(address)
            or slots.is_suspect(address)
            or self._dialer.is_dialling(address)
            or address_group(address) in self._groups
        )
