"""Processes, known by their number and the moment they started: a number alone may by now be somebody else's.

Nothing here ever looks for a process by its name.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import msgspec

_started: dict[int, subprocess.Popen[bytes]] = {}
"""Those that this program started: kept so that they are reaped, and their exit status can be asked for."""


class Process(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A process for as long as this machine runs: no two processes ever equal each other."""

    pid: int
    birth: str
    """When it started, in whatever form this system tells it; only ever compared."""


class Sighting(NamedTuple):
    """A living process, as the system shows it now."""

    birth: str
    paused: bool


def look(pid: int) -> Sighting | None:
    """Return what the system says of process `pid`; None if there is none, or only its exit status is left."""
    if pid in _started:
        _started[pid].poll()  # reaps it if it has ended
    return _look_in_proc(pid) if sys.platform == "linux" else _look_with_ps(pid)


def _look_in_proc(pid: int) -> Sighting | None:
    """See proc_pid_stat(5). The name of the program, in parentheses, may itself hold parentheses and blanks."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat.rpartition(")")[2].split()
    state, ticks = fields[0], fields[19]
    if state in "ZX":
        return None
    return Sighting(f"{_boot_id()}/{ticks}", state in "Tt")


def _boot_id() -> str:
    """Tell this run of the machine from others, for start times are counted from its start."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _look_with_ps(pid: int) -> Sighting | None:
    """Ask ps(1), which is the same on every Unix: the start to the second, then the state."""
    environment = {**os.environ, "LC_ALL": "C", "TZ": "UTC"}
    asked = ["ps", "-o", "lstart=,state=", "-p", str(pid)]
    said = subprocess.run(asked, capture_output=True, text=True, env=environment, check=False).stdout.split()
    if not said or said[-1].startswith("Z"):
        return None
    return Sighting(" ".join(said[:-1]), said[-1].startswith("T"))


def sight(process: Process) -> Sighting | None:
    """Return what the system says of `process`; None if it has ended."""
    seen = look(process.pid)
    return seen if seen is not None and seen.birth == process.birth else None


HOLD = 'read -r go && exec "$@" < /dev/null'
"""For a shell: begin the program once a line comes in, in the same process; end if there never is one."""


def start(
    command: Sequence[str | Path],
    *,
    output: Path,
    environment: Mapping[str, str],
    note: Callable[[Process], None] = lambda _process: None,
) -> Process:
    """Start a program in a session of its own, so that neither Ctrl-C nor a closed terminal reaches it.

    It stands in the folder of the file `output` (mode 0600), which gets what it writes to its standard outputs, and
    nothing of an earlier run.

    Args:
        note: told of the process before the program begins. If this program ends before that is done, by whatever
            means, the other one never begins: so none ever runs that nobody took note of.

    Raises:
        OSError: it could not be started.
    """
    with os.fdopen(os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600), "wb") as written:
        child = subprocess.Popen(
            ["/bin/sh", "-c", HOLD, "sh", *(str(part) for part in command)],
            stdin=subprocess.PIPE,
            stdout=written,
            stderr=subprocess.STDOUT,
            env=dict(environment),
            cwd=output.parent,
            start_new_session=True,
        )
    _started[child.pid] = child
    seen = look(child.pid)
    process = Process(child.pid, seen.birth if seen is not None else "ended")
    if child.stdin is not None:
        with child.stdin as hold:
            note(process)
            with suppress(BrokenPipeError):  # it has ended: whoever waits for it sees that
                hold.write(b"go\n")
                hold.flush()
    return process


def exit_status(process: Process) -> int | None:
    """Return how a process that this program started has ended; None if it has not, or somebody else started it."""
    child = _started.get(process.pid)
    return child.poll() if child is not None else None


def send_signal(process: Process, number: signal.Signals) -> bool:
    """Send a signal to a process; tell whether it was still there."""
    if sight(process) is None:
        return False
    try:
        os.kill(process.pid, number)
    except ProcessLookupError:
        return False
    return True


def send_to_family(process: Process, number: signal.Signals) -> bool:
    """Send a signal to a process and to all that descend from it; tell whether it was still there.

    It is halted while they are counted, so that it cannot start another one meanwhile. Those are found by who started
    them, for a daemon's miner and workers are in sessions of their own.
    """
    if not send_signal(process, signal.SIGSTOP):
        return False
    family = _descendants(process.pid)
    there = send_signal(process, number)
    for member in family:
        send_signal(member, number)
    return there


def _descendants(pid: int) -> list[Process]:
    """Return the living processes that a process started, those that these started, and so on."""
    said = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=False).stdout
    children: dict[int, list[int]] = {}
    for child, parent in (map(int, line.split()) for line in said.splitlines()):
        children.setdefault(parent, []).append(child)
    found, waiting = [], [pid]
    while waiting:
        for child in children.get(waiting.pop(), ()):
            if (seen := look(child)) is not None:
                found.append(Process(child, seen.birth))
                waiting.append(child)
    return found
