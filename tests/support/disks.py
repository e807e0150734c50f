"""Disks that are slow or fail: for tests of what the node does meanwhile, and afterwards."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

from node.storage.errors import StorageError
from node.storage.memory_store import MemoryDatabase

_T = TypeVar("_T")


class SlowDatabase(MemoryDatabase):
    """Commits at once; but the first commit inside `slow` waits for its end."""

    def __init__(self, tables: Sequence[str]) -> None:
        super().__init__(tables)
        self.fails: StorageError | None = None
        """Raised by the next commits, which then change nothing."""
        self.commits = 0
        """How many were begun."""
        self.begun = asyncio.Event()
        """Set when one waits."""
        self._go = asyncio.Event()
        self._go.set()

    @contextmanager
    def slow(self) -> Iterator[None]:
        """Hold up commits until the block ends."""
        self._go.clear()
        try:
            yield
        finally:
            self._go.set()
            self.begun.clear()

    async def commit(self, changes: Iterable[tuple[str, bytes, bytes | None]]) -> None:
        changes = list(changes)
        self.commits += 1
        cancelled: asyncio.CancelledError | None = None
        while not self._go.is_set():
            self.begun.set()
            try:
                await self._go.wait()
            except asyncio.CancelledError as error:
                cancelled = error
        if self.fails is not None:
            raise self.fails
        self.write(changes)
        if cancelled is not None:
            raise cancelled


class LateExecutor(Executor):
    """A thread that has done its work, and tells of it only when it is let go."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1)
        self.late = False
        self.done, self.tell = threading.Event(), threading.Event()

    def submit(self, fn: Callable[..., _T], /, *args: Any, **kwargs: Any) -> Future[_T]:
        # The first of a commit's two calls is waited for by the loop, which could not let it go.
        late = self.late and not args

        def work() -> _T:
            try:
                return fn(*args, **kwargs)
            finally:
                if late:
                    self.done.set()
                    self.tell.wait()

        return self._pool.submit(work)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self._pool.shutdown(wait, cancel_futures=cancel_futures)
