"""A node that reaches nobody where somebody should be there says so in its log (A114)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from structlog.typing import FilteringBoundLogger

from node.gossip_limits import LONELY_AGAIN_SECONDS, LONELY_SECONDS


class Loneliness:
    """Looks once a minute. Lives between `start` and `stop`."""

    def __init__(
        self, peers: Callable[[], int], known: Callable[[], int], named: tuple[str, ...], log: FilteringBoundLogger
    ) -> None:
        """
        Args:
            peers: how many are connected.
            known: how many addresses there are to dial.
            named: whom the operator named, to connect to or to begin with.
        """
        self._peers = peers
        self._known = known
        self._named = named
        self._log = log
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Look from now on."""
        self._timer = self._loop.call_later(LONELY_SECONDS, self._look)

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        wait = LONELY_SECONDS
        if not self._peers() and (self._named or self._known()):
            wait = LONELY_AGAIN_SECONDS
            self._log.warning(
                "no_peers",
                says="nobody is reached: is this machine on line, and is anybody at those addresses?",
                named=list(self._named),
                known=self._known(),
            )
        self._timer = self._loop.call_later(wait, self._look)
