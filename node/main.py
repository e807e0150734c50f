"""dured, the daemon: the one place that makes the real clock, entropy, disk and network, and puts the parts together.

exit status    0   stopped as asked
              69   something it needs is not to be had: a port is taken, the folder is in use
              74   the disk failed, or what is on it is damaged
              78   a setting is wrong, or the folder belongs to another network or a newer program
"""

from __future__ import annotations

import asyncio
import faulthandler
import gc
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Self

from node.config import ConfigError, NodeConfig, read_config, sample_file
from node.version import VERSION

if TYPE_CHECKING:
    from node.daemon import Daemon

EXIT_UNAVAILABLE = 69
EXIT_DISK = 74
EXIT_CONFIG = 78


class Failed(Exception):
    """The daemon cannot go on; the message is a sentence for whoever started it."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(status, sentence)
        self.status = status
        self.sentence = sentence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the daemon until it is told to stop; return its exit status."""
    try:
        config = _settle(sys.argv[1:] if arguments is None else arguments)
        if config is None:
            return 0
        # What it writes is its owner's alone, from the first byte on (A150).
        os.umask(0o077)
        _drop_core_dumps()
        _fill_standard_streams()
        _tell_where_it_ended()
        _spare_imports()
        import uvloop

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve(config))
    except ConfigError as error:
        return _give_up(EXIT_CONFIG, str(error))
    except Failed as failure:
        return _give_up(failure.status, failure.sentence)
    return 0


def _settle(arguments: Sequence[str]) -> NodeConfig | None:
    """Return the settings, or None if only something was to be printed.

    Raises:
        ConfigError: a setting is wrong.
    """
    from node.flags import parse_flags

    command = parse_flags(arguments)
    if command.version:
        sys.stdout.write(f"dured {VERSION}\n")
        return None
    if command.print_config:
        sys.stdout.write(sample_file())
        return None
    return read_config(command.flags, os.environ)


def _give_up(status: int, sentence: str) -> int:
    sys.stderr.write(f"dured: {sentence}\n")
    return status


def _drop_core_dumps() -> None:
    """Write no memory to disk if the process crashes: the wallet's keys are in it (A150)."""
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))


def _fill_standard_streams() -> None:
    """Have descriptors 0 to 2 open, if only to nowhere.

    Else the next file to be opened gets one of these numbers, such as a database, and whoever writes an error to
    number 2 writes into it.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free: this one
            setattr(sys, name, os.fdopen(number, "w" if number else "r", closefd=False))


def _tell_where_it_ended() -> None:
    """Have the place on standard error if the system ends the process, as LMDB may be on a damaged page (A125)."""
    with suppress(RuntimeError, OSError):  # there is no standard error, or it is no file
        faulthandler.enable()


def _spare_imports() -> None:
    """Keep what the daemon imports small and quick: together half of its start.

    Nothing that imports make is garbage, so looking for garbage meanwhile is time lost; and structlog takes in all of
    rich, where it is installed, to draw tracebacks that our log never asks for.
    """
    gc.disable()
    sys.modules["rich"] = None  # type: ignore[assignment] # so that importing it fails
    import structlog  # noqa: F401

    del sys.modules["rich"]


async def serve(config: NodeConfig) -> None:
    """Start a node, run it until a signal or `stop` ends it, and stop it in order.

    A second signal hastens the stop: calls and peers are cut off. What is on disk is whole in any case.

    Raises:
        ConfigError: a setting turned out to be wrong.
        Failed: with the exit status.
    """
    signals = _Signals()
    with signals:
        await _serve(config, signals)


class _Signals:
    """Turns signals into events."""

    _NUMBERS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

    def __init__(self) -> None:
        self.stop = asyncio.Event()
        self.hasten = asyncio.Event()

    def __enter__(self) -> Self:
        loop = asyncio.get_running_loop()
        for number in self._NUMBERS:
            loop.add_signal_handler(number, self._arrived)
        return self

    def __exit__(self, *_: object) -> None:
        loop = asyncio.get_running_loop()
        for number in self._NUMBERS:
            loop.remove_signal_handler(number)

    def _arrived(self) -> None:
        if self.stop.is_set():
            self.hasten.set()
        self.stop.set()


async def _serve(config: NodeConfig, signals: _Signals) -> None:
    # Imported here, where signals are heard already: so a stop during the slowest part of the start is a clean one.
    from node.daemon import Daemon
    from node.garbage import collecting_seldom
    from node.storage.errors import FolderInUseError, NewerStorageError, OtherNetworkError, StorageError
    from wallet.errors import WalletError

    try:
        with collecting_seldom():
            daemon = Daemon(config, stop=signals.stop.set)
            try:
                await _run(daemon, signals)
            finally:
                await daemon.close()
    except (FolderInUseError, OSError) as error:
        raise Failed(EXIT_UNAVAILABLE, str(error)) from error
    except (NewerStorageError, OtherNetworkError, WalletError) as error:
        raise Failed(EXIT_CONFIG, str(error)) from error
    except StorageError as error:
        raise Failed(EXIT_DISK, str(error)) from error


async def _run(daemon: Daemon, signals: _Signals) -> None:
    """Start, wait, stop. Whatever goes wrong on the way, all that runs is stopped first, then it is raised."""
    stop = asyncio.create_task(signals.stop.wait(), name="stop")
    life = asyncio.create_task(_live(daemon), name="life")
    try:
        await asyncio.wait((stop, life), return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (stop, life):
            task.cancel()
        await asyncio.wait((stop, life))
        await daemon.stop(signals.hasten)
    if not life.cancelled() and (error := life.exception()) is not None:
        raise error


async def _live(daemon: Daemon) -> None:
    await daemon.start()
    await daemon.wait_failed()


if __name__ == "__main__":
    sys.exit(main())
