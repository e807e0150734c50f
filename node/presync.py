"""A long branch whose first headers alone have too little work: added up first, fetched again and kept afterwards.

Headers are stored only if their chain has work enough to matter. A branch that parts from ours far back is longer than
one message, and its first message has not. So the work is counted without keeping anything but the last state and the
id that each message ended with; those ids commit to everything before them. If the sum suffices, the same messages are
asked for again, and taken where they end in the same ids. (Bitcoin Core: HeadersSyncState.)
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

from consensus.params import Params
from consensus.state import ChainState
from consensus.types import BlockHash, Header
from consensus.validation import check_header
from node.gossip_limits import MAX_PRESYNC_BATCHES


class Count(Enum):
    """What is known of a branch after one more message of its headers."""

    MORE = "more"
    """Ask for the headers after these."""
    ENOUGH = "enough"
    """Its work suffices: ask for it again, from the beginning."""
    LIGHT = "light"
    """It has ended, and its work does not suffice."""


class Presync:
    """One branch of one peer."""

    def __init__(self, params: Params, fork: ChainState) -> None:
        """
        Args:
            fork: the last block before the branch, one that we know.
        """
        self._params = params
        self._fork = fork
        self._state = fork
        self._ends: list[tuple[int, BlockHash]] = []
        """Of each message its number of headers and its last id."""
        self._taken = 0
        self.enough = False
        """Whether the work suffices, so that the headers are taken from now on."""

    @property
    def counted(self) -> int:
        """How many headers were counted."""
        return self._state.height - self._fork.height

    @property
    def wanted_after(self) -> BlockHash:
        """The block after which headers are to be asked for next."""
        if not self.enough:
            return self._state.hash
        return self._ends[self._taken - 1][1] if self._taken else self._fork.hash

    @property
    def done(self) -> bool:
        """Whether all that was counted was taken."""
        return self._taken == len(self._ends)

    def count(self, headers: Sequence[Header], goal: int, latest_time: int | None, *, full: bool) -> Count:
        """Add the work of the headers after `wanted_after`.

        Args:
            goal: work that the branch must have, counted from genesis.
            latest_time: no header above it is counted, UNIX seconds; None for no limit.
            full: whether the message held as many headers as fit, so that more may follow.

        Raises:
            ConsensusError: one of them breaks a rule, or is no child of the one before.
        """
        state = self._state
        for header in headers:
            if latest_time is not None and header.time > latest_time:
                full = False
                break
            state = check_header(self._params, header, state)
        if state.height > self._state.height:
            self._ends.append((state.height - self._state.height, state.hash))
        self._state = state
        if state.work >= goal:
            self.enough = True
            return Count.ENOUGH
        return Count.MORE if full and len(self._ends) < MAX_PRESYNC_BATCHES else Count.LIGHT

    def take(self, headers: Sequence[Header]) -> Sequence[Header] | None:
        """Return those of the headers after `wanted_after` that were counted; None if they are others than then."""
        length, end = self._ends[self._taken]
        if len(headers) < length or headers[length - 1].hash != end:
            return None
        self._taken += 1
        return headers[:length]
