"""Where calls run that wait for the disk: handed in, so that a slow disk holds up nobody but who asked it (A128).

The daemon has one thread for each database, hence one writer, whose calls run in the order in which they came.
Tests, tools and simulated nodes run them in line; a simulated disk takes virtual time in `Database.commit` itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any, TypeVar

_T = TypeVar("_T")


class InlineExecutor(Executor):
    """Runs each call at once, in the caller's thread."""

    def submit(self, fn: Callable[..., _T], /, *args: Any, **kwargs: Any) -> Future[_T]:
        """Run a call; return its outcome."""
        try:
            result = fn(*args, **kwargs)
        except BaseException as error:  # noqa: BLE001 - whoever asks for the result gets it
            return _failed(error)
        future: Future[_T] = Future()
        future.set_result(result)
        return future


def _failed(error: BaseException) -> Future[Any]:
    # Made here: the frame above is in the error's traceback, and would make a circle of the two.
    future: Future[Any] = Future()
    future.set_exception(error)
    return future


INLINE = InlineExecutor()


def disk_thread(name: str) -> ThreadPoolExecutor:
    """Return one thread for one disk's calls. It starts with the first of them."""
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)


async def run_whole(executor: Executor, work: Callable[[], _T]) -> _T:
    """Run `work` and return what it returns. It always ends before this does.

    A commit cannot be stopped half way. So a task that is cancelled meanwhile waits for the end, and is cancelled
    then; unless `work` failed, which is raised in any case.
    """
    future = executor.submit(work)
    try:
        if future.done():
            return future.result()
        return await to_the_end(asyncio.wrap_future(future))
    finally:
        # Or its exception, whose traceback has this frame, would be in a circle, with all that `work` holds.
        del future


async def to_the_end(waiting: asyncio.Future[_T]) -> _T:
    """Return what something returns that always ends before this does: as `run_whole`, for what runs already."""
    cancelled: tuple[object, ...] | None = None  # what it said; the error itself would be in a circle with this frame
    while not waiting.done():
        try:
            await asyncio.wait((waiting,))
        except asyncio.CancelledError as error:
            cancelled = error.args
    try:
        result = waiting.result()
    finally:
        del waiting  # as in `run_whole`
    if cancelled is not None:
        raise asyncio.CancelledError(*cancelled)
    return result
