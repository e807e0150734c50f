"""Entries kept in the order of a score that changes, so that the best is at hand however many there are."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Container, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from node.mempool_graph import Entry

Ranked = tuple[int, int, "Entry"]
"""A score, negative where the best comes first; then the order of coming. No two entries have the same."""

CHUNK = 512
"""Entries of a run when it is split in two. Moving some hundred references costs less than a microsecond."""


class ScoreOrder:
    """A sorted list in runs: adding and removing cost a search and the moving of one short run.

    A heap would leave behind what is removed or scored anew; one long list moves a megabyte at each change.
    """

    def __init__(self) -> None:
        self._runs: list[list[Ranked]] = []
        self._lasts: list[Ranked] = []
        """The last of each run: where to look."""

    def __iter__(self) -> Iterator[Ranked]:
        """From the lowest. Nothing may change meanwhile."""
        for run in self._runs:
            yield from run

    def first(self) -> Ranked | None:
        """Return the lowest."""
        return self._runs[0][0] if self._runs else None

    def add(self, item: Ranked) -> None:
        """Add an item that is not there."""
        if not self._runs:
            self._runs.append([item])
            self._lasts.append(item)
            return
        place = min(bisect_left(self._lasts, item), len(self._runs) - 1)
        run = self._runs[place]
        insort(run, item)
        if len(run) >= CHUNK:
            half = len(run) // 2
            self._runs.insert(place + 1, run[half:])
            del run[half:]
            self._lasts.insert(place + 1, self._runs[place + 1][-1])
        self._lasts[place] = run[-1]

    def remove(self, item: Ranked) -> None:
        """Remove an item that is there.

        Raises:
            KeyError: it is not.
        """
        place = bisect_left(self._lasts, item)
        run = self._runs[place] if place < len(self._runs) else []
        at = bisect_left(run, item)
        if at == len(run) or run[at] != item:
            raise KeyError(item)
        del run[at]
        if run:
            self._lasts[place] = run[-1]
        else:
            del self._runs[place], self._lasts[place]

    def remove_all(self, places: Container[int]) -> None:
        """Remove the items of these places in the order of coming: one pass, for very many at once."""
        kept = ([item for item in run if item[1] not in places] for run in self._runs)
        self._runs = [run for run in kept if run]
        self._lasts = [run[-1] for run in self._runs]
