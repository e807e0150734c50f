"""The log: a line for people on the terminal, and the same as JSON in D/debug.log, within bounds.

    2026-01-31T12:00:00.123Z INFO node.chain block_connected height=1042 hash=0000a3f1… txs=17 took_ms=12
    {"time":"2026-01-31T12:00:00.123Z","level":"info","logger":"node.chain","event":"block_connected","height":1042,…}

What peers send may stand in a value, so nothing in a value can end a line, move a cursor or turn text around.
"""

from __future__ import annotations

import json
import logging
import os
import time
import traceback
from collections.abc import Callable, Mapping, MutableMapping
from pathlib import Path
from typing import Any, NoReturn, Protocol, TextIO, cast

import structlog
from structlog.typing import FilteringBoundLogger

FILE_NAME = "debug.log"
MAX_FILE = 16 * 1024 * 1024
"""Bytes of debug.log; then it becomes debug.log.1, and the one before is dropped: 32 MiB at most."""
MAX_VALUE = 2_000
"""Characters of one value: a line stays readable whatever is in it."""
WINDOW_SECONDS = 60.0
MAX_PER_WINDOW = 1_000
"""Lines of one event in a minute; the others are counted and told of once. A long sync stays below (A138)."""

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}

Facts = MutableMapping[str, Any]


class Sink(Protocol):
    """Where lines go."""

    def write(self, level: str, facts: Mapping[str, Any]) -> None:
        """Take one event. Never raises: a node does not end because its log cannot be written."""
        ...


class TerminalSink:
    """Lines for people; in colour if they go to a terminal."""

    _COLOURS = {"DEBUG": "\x1b[2m", "INFO": "\x1b[32m", "WARNING": "\x1b[33m", "ERROR": "\x1b[31m"}  # noqa: RUF012

    def __init__(self, stream: TextIO, *, colour: bool | None = None) -> None:
        """
        Args:
            stream: usually standard error.
            colour: by default, whether the stream is a terminal and NO_COLOR is not set.
        """
        self._stream = stream
        self._colour = stream.isatty() and "NO_COLOR" not in os.environ if colour is None else colour

    def write(self, level: str, facts: Mapping[str, Any]) -> None:
        """Write one line, and the traceback under it if there is one."""
        line = format_line(level, facts)
        if self._colour:
            line = line.replace(f" {level.upper()} ", f" {self._COLOURS[level.upper()]}{level.upper()}\x1b[0m ", 1)
        try:
            self._stream.write(line + "\n")
            self._stream.flush()
        except (OSError, ValueError):
            pass  # The terminal is gone; the file has it.


class FileSink:
    """One JSON object a line, in a file that only its owner reads; it begins anew when it is full."""

    def __init__(self, path: Path, max_bytes: int = MAX_FILE) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._descriptor = self._open()
        self._size = os.fstat(self._descriptor).st_size

    def _open(self) -> int:
        return os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def write(self, level: str, facts: Mapping[str, Any]) -> None:
        """Append one line."""
        line = json_line(level, facts).encode() + b"\n"
        try:
            if self._size and self._size + len(line) > self._max_bytes:
                self._rotate()
            self._size += os.write(self._descriptor, line)
        except OSError:
            pass  # The disk is full, or the file was taken away. What matters stops the node elsewhere.

    def _rotate(self) -> None:
        self._path.replace(self._path.with_name(self._path.name + ".1"))
        fresh = self._open()
        os.close(self._descriptor)
        self._descriptor, self._size = fresh, 0

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)


def json_line(level: str, facts: Mapping[str, Any]) -> str:
    """Return the line for programs: one JSON object, whose every character can be printed."""
    first = {"time": facts["time"], "level": level, "logger": facts["logger"], "event": facts["event"]}
    rest = {name: value.hex() if isinstance(value, bytes) else value for name, value in facts.items()}
    whole = first | {name: rest[name] for name in rest if name not in first}
    text = json.dumps(whole, ensure_ascii=False, separators=(",", ":"), default=str)
    if text.isprintable():
        return text
    # Only in strings can such characters stand, and there they may be written so.
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text)


def format_line(level: str, facts: Mapping[str, Any]) -> str:
    """Return the line for people: time, level, logger, event, then key=value."""
    facts = dict(facts)
    trace = facts.pop("traceback", None)
    head = f"{facts.pop('time')} {level.upper()} {facts.pop('logger')} {_text(facts.pop('event'))}"
    line = " ".join([head, *(f"{name}={_text(value)}" for name, value in facts.items())])
    return line if trace is None else f"{line}\n{trace}"


def _text(value: object) -> str:
    """Write a value as one word, or in quotes; what cannot be printed is escaped (A082, A173, A174)."""
    text = value if isinstance(value, str) else _plain(value)
    if len(text) > MAX_VALUE:
        text = text[:MAX_VALUE] + "…"
    if not text.isprintable():
        text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
    return f'"{text}"' if isinstance(value, str) and (not text or any(c in text for c in ' "=')) else text


def _plain(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.3f}"
    if isinstance(value, int | bytes | None):
        return value.hex() if isinstance(value, bytes) else str(value)
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_text(item) if not isinstance(item, str) else item for item in value) + "]"
    return str(value)


class _Fan:
    """The last of the processors: completes an event, and gives it to every sink."""

    def __init__(self, sinks: tuple[Sink, ...], now: Callable[[], float]) -> None:
        self._sinks = sinks
        self._now = now
        self._windows: dict[str, tuple[float, int]] = {}

    def __call__(self, _logger: object, method: str, facts: Facts) -> NoReturn:
        now = self._now()
        level = "error" if method in {"exception", "critical"} else method
        dropped = self._count(str(facts["event"]), now)
        if dropped is not None:
            if dropped:
                self._write("warning", {"logger": facts["logger"], "event": "log_lines_dropped", "count": dropped}, now)
            _add_traceback(facts)
            self._write(level, {name: _bounded(value) for name, value in facts.items()}, now)
        raise structlog.DropEvent  # Nothing is left for structlog's own output.

    def _count(self, event: str, now: float) -> int | None:
        """Return None for a line too many, else how many were dropped before this one."""
        # Bounded: events are named in the code, never by what comes from outside.
        began, count = self._windows.get(event, (now, 0))
        dropped = 0
        if not began <= now < began + WINDOW_SECONDS:
            dropped, began, count = max(0, count - MAX_PER_WINDOW), now, 0
        self._windows[event] = (began, count + 1)
        return dropped if count < MAX_PER_WINDOW else None

    def _write(self, level: str, facts: Mapping[str, Any], now: float) -> None:
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now * 1000) % 1000:03d}Z"
        for sink in self._sinks:
            sink.write(level, {"time": moment, **facts})


def _bounded(value: object) -> object:
    return value[:MAX_VALUE] + "…" if isinstance(value, str) and len(value) > 4 * MAX_VALUE else value


def _add_traceback(facts: Facts) -> None:
    error = facts.pop("exc_info", None)
    if error is True:
        facts["traceback"] = traceback.format_exc().rstrip()
    elif isinstance(error, BaseException):
        facts["traceback"] = "".join(traceback.format_exception(error)).rstrip()


class Logs:
    """Makes the loggers of one node."""

    def __init__(self, *sinks: Sink, level: str = "info", now: Callable[[], float] = time.time) -> None:
        """
        Args:
            sinks: where lines go.
            level: debug, info, warning or error; what is below is not even put together.
            now: UNIX seconds, with fractions.
        """
        self._level = _LEVELS[level]
        self._fan = _Fan(sinks, now)

    def logger(self, name: str) -> FilteringBoundLogger:
        """Return the logger of one part, such as node.chain."""
        bound = structlog.wrap_logger(
            None, processors=[self._fan], wrapper_class=structlog.make_filtering_bound_logger(self._level)
        )
        return cast(FilteringBoundLogger, bound.bind(logger=name))

    def capture_standard(self) -> Callable[[], None]:
        """Take what libraries say through `logging`, from WARNING on; return how to undo that."""
        handler = _Bridge(self)
        root = logging.getLogger()
        root.addHandler(handler)
        return lambda: root.removeHandler(handler)


class _Bridge(logging.Handler):
    def __init__(self, logs: Logs) -> None:
        super().__init__(logging.WARNING)
        self._logs = logs

    def emit(self, record: logging.LogRecord) -> None:
        log = self._logs.logger(record.name)
        say = log.error if record.levelno >= logging.ERROR else log.warning
        error = record.exc_info[1] if record.exc_info else None
        say("library_said", text=record.getMessage(), **({"exc_info": error} if error is not None else {}))
