"""Processes are known by number and birth, and are never mistaken for others."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from devnet.folder import wait_until
from devnet.processes import Process, exit_status, look, send_to_family, sight, start
from tests.support.repository import ROOT

SLEEP = "import time; time.sleep(600)"
PARENT = f"""
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", {SLEEP!r}], start_new_session=True)
print(child.pid, flush=True)
child.wait()
"""


@pytest.fixture
def sleeper(tmp_path: Path) -> Iterator[Process]:
    process = start([sys.executable, "-c", SLEEP], output=tmp_path / "output", environment=os.environ)
    yield process
    send_to_family(process, signal.SIGKILL)
    assert wait_until(lambda: sight(process) is None, 30)


def test_a_process_is_seen_running_paused_and_gone(sleeper: Process) -> None:
    seen = sight(sleeper)
    assert seen is not None
    assert not seen.paused
    assert send_to_family(sleeper, signal.SIGSTOP)
    assert wait_until(lambda: (now := sight(sleeper)) is not None and now.paused, 30)
    assert send_to_family(sleeper, signal.SIGCONT)
    assert wait_until(lambda: (now := sight(sleeper)) is not None and not now.paused, 30)
    assert send_to_family(sleeper, signal.SIGKILL)
    assert wait_until(lambda: sight(sleeper) is None, 30)
    assert exit_status(sleeper) == -signal.SIGKILL
    assert not send_to_family(sleeper, signal.SIGTERM)


def test_a_number_that_now_belongs_to_another_process_is_not_signalled(sleeper: Process) -> None:
    former = msgspec.structs.replace(sleeper, birth="some other time")
    assert sight(former) is None
    assert not send_to_family(former, signal.SIGKILL)
    assert sight(sleeper) is not None


def test_killing_the_family_leaves_no_child_behind_in_whatever_session(tmp_path: Path) -> None:
    output = tmp_path / "output"
    process = start([sys.executable, "-c", PARENT], output=output, environment=os.environ)
    assert wait_until(lambda: output.read_text().endswith("\n"), 30)
    child = int(output.read_text())
    assert look(child) is not None
    send_to_family(process, signal.SIGKILL)
    assert wait_until(lambda: sight(process) is None and look(child) is None, 30)


def test_it_is_in_a_session_of_its_own_and_its_output_is_private(sleeper: Process, tmp_path: Path) -> None:
    assert os.getsid(sleeper.pid) == sleeper.pid != os.getsid(0)
    assert (tmp_path / "output").stat().st_mode & 0o777 == 0o600


def test_a_program_begins_only_after_it_was_taken_note_of(tmp_path: Path) -> None:
    output, noted = tmp_path / "output", []

    def note(process: Process) -> None:
        noted.append(process)
        assert sight(process) is not None
        assert output.read_text() == ""

    process = start([sys.executable, "-c", "print('begun')"], output=output, environment=os.environ, note=note)
    assert noted == [process]
    assert wait_until(lambda: exit_status(process) is not None, 30)
    assert (exit_status(process), output.read_text()) == (0, "begun\n")


DIES = """
import os, signal, sys
from pathlib import Path
from devnet.processes import start

def note(process):
    print(process.pid, process.birth, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)

start([sys.executable, "-c", "print('begun')"], output=Path(sys.argv[1]), environment=os.environ, note=note)
"""


def test_a_program_whose_starter_is_killed_before_that_never_begins(tmp_path: Path) -> None:
    output = tmp_path / "output"
    done = subprocess.run(
        [sys.executable, "-c", DIES, output],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    pid, birth = done.stdout.split()
    assert wait_until(lambda: sight(Process(int(pid), birth)) is None, 30)
    assert output.read_text() == ""


def test_a_number_that_nobody_has_is_nobody() -> None:
    assert look(2**30) is None
