"""Watching a network that runs: looks, and what happened between them."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from devnet.errors import DevnetError
from devnet.folder import NetworkFolder, NetworkRecord
from devnet.logs import LogFollower
from devnet.watch.collector import Collector
from devnet.watch.recording import FILE, Moment, Recorder, last_events
from devnet.watch.state import Event, NetworkView
from devnet.watch.story import tell, tell_line

LOOK_SECONDS = 0.5
"""How long from one look to the next."""


class LiveWatch:
    """Looks at a network, tells what happened, and records both."""

    def __init__(
        self,
        folder: NetworkFolder,
        record: NetworkRecord,
        file: Path | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        """Args:
        folder: the network.
        record: what the folder says of it.
        file: where to record; by default the network's folder, if it has one.
        now: UNIX seconds.

        Raises:
            Refused: another program is recording to `file`.
            Misconfigured: it cannot be written.
        """
        self._now = now
        self._recorder: Recorder | None = None
        self.note = ""
        """What to know of the recording, in a few words."""
        home = None if folder.is_remote else folder.path / FILE
        self.past = last_events(home, record.tag) if home is not None else []
        """What an earlier watch of this network told last."""
        if file is not None:
            self._recorder = Recorder(file, record.tag)
            self.note = f"recorded in {file}"
        elif home is not None:
            try:
                self._recorder = Recorder(home, record.tag)
                self.note = f"recorded in {home}"
            except DevnetError as error:  # it is there to be looked at in any case
                self.note = f"not recorded: {error}"
        self._collector = Collector(folder, record)
        self._logs = None if folder.is_remote else LogFollower(folder, [node.id for node in record.nodes])
        self._before: NetworkView | None = None

    def look(self) -> Moment:
        """Return what the network looks like now, and what happened since the last look.

        Raises:
            Refused: the network is gone, or is another one.
        """
        view = self._collector.look()
        at = self._now()
        said = [] if self._logs is None else [tell_line(line) for line in self._logs.new_lines()]
        events: list[Event] = [event for event in said if event is not None]
        events += tell(self._before, view, at)
        self._before = view
        if self._recorder is not None:
            try:
                self._recorder.write(at, view, events)
            except DevnetError as error:
                self._recorder.close()
                self._recorder, self.note = None, f"no longer recorded: {error}"
        return Moment(at, view, tuple(events))

    def close(self) -> None:
        """End the looking and the recording."""
        self._collector.close()
        if self._logs is not None:
            self._logs.close()
        if self._recorder is not None:
            self._recorder.close()
