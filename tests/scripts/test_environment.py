"""How the scripts find a Python and notice that nothing is to be done, tried on a copy of what they read."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.repository import ROOT

PREPARE = '. "$1/scripts/environment.sh"; ROOT=$1; VENV=$1/.venv; prepare "$2"; echo prepared'
STAMPED = ("requirements.lock", "requirements-dev.lock", "requirements-fuzz.lock", "pyproject.toml")


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A folder with the files that preparing reads, and an empty bin folder to be filled with commands."""
    clone = tmp_path / "a clone"  # with a space, as people have them
    shutil.copytree(ROOT / "scripts", clone / "scripts")
    for name in STAMPED:
        shutil.copy2(ROOT / name, clone)
    (clone / "bin").mkdir()
    for command in ("cmp", "dirname", "sh"):
        (clone / "bin" / command).symlink_to(str(shutil.which(command)))
    return clone


def command(clone: Path, name: str, body: str) -> None:
    """Put a command into the clone's bin folder."""
    path = clone / "bin" / name
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)


def prepare(clone: Path, purpose: str = "run") -> subprocess.CompletedProcess[str]:
    """Call `prepare` with nothing on the PATH but the clone's bin folder."""
    shell: list[str | Path] = [clone / "bin" / "sh", "-euc", PREPARE, clone / "scripts" / "up", clone, purpose]
    return subprocess.run(shell, env={"PATH": str(clone / "bin")}, capture_output=True, text=True, check=False)


def make_prepared(clone: Path) -> None:
    """Make what a finished preparation leaves behind, with a Python that must not be needed."""
    stamps = clone / ".venv" / "stamps"
    stamps.mkdir(parents=True)
    (clone / ".venv" / "bin").mkdir()
    (clone / ".venv" / "bin" / "python").symlink_to(sys.executable)
    for name in STAMPED:
        shutil.copy2(clone / name, stamps)
    (stamps / "root").write_text(f"{clone.resolve()}\n")


def test_a_prepared_clone_starts_no_python_at_all(clone: Path) -> None:
    make_prepared(clone)
    for purpose in ("run", "dev", "fuzz"):
        done = prepare(clone, purpose)
        assert (done.returncode, done.stdout, done.stderr) == (0, "prepared\n", "")


@pytest.mark.parametrize("changed", ["requirements.lock", "pyproject.toml", "root", "python"])
def test_whatever_changes_is_noticed(clone: Path, changed: str) -> None:
    make_prepared(clone)
    command(clone, "python3", 'case "$2" in -c) ;; *) echo "python3 $*";; esac')
    if changed == "root":  # the folder was moved or copied, and an environment cannot be
        (clone / ".venv" / "stamps" / "root").write_text("elsewhere\n")
    elif changed == "python":  # its Python was uninstalled
        (clone / ".venv" / "bin" / "python").unlink()
    else:
        with (clone / changed).open("a") as file:
            file.write("# changed\n")
    assert "environment.py run" in prepare(clone).stdout


def test_the_gates_need_more_than_a_node_does(clone: Path) -> None:
    make_prepared(clone)
    command(clone, "python3", 'case "$2" in -c) ;; *) echo "python3 $*";; esac')
    (clone / ".venv" / "stamps" / "requirements-dev.lock").unlink()
    assert prepare(clone, "run").stdout == "prepared\n"
    assert "environment.py dev" in prepare(clone, "dev").stdout


def test_without_any_python_there_is_one_sentence_and_exit_78(clone: Path) -> None:
    done = prepare(clone)
    assert done.returncode == 78
    assert done.stderr.count("\n") == 1
    assert "Python 3.11, 3.12 or 3.13, and here there is no python3" in done.stderr


def test_a_python_too_old_is_named(clone: Path) -> None:
    command(clone, "python3", 'case "$*" in *range*|*sys.exit*) exit 1;; *) echo "python3 is 3.9";; esac')
    done = prepare(clone)
    assert done.returncode == 78
    assert "here python3 is 3.9." in done.stderr


def test_a_newer_python_beside_an_old_python3_is_found(clone: Path) -> None:
    command(clone, "python3", "exit 1")
    command(clone, "python3.12", 'case "$2" in -c) ;; *) echo "python3.12 $*";; esac')
    assert prepare(clone).stdout.startswith("python3.12 -I ")


def test_a_python_without_venv_says_what_to_install(clone: Path) -> None:
    # Debian splits ensurepip off into a package of its own; an import that fails stands in for that.
    blocked = clone / "blocked.py"
    blocked.write_text(
        "import runpy, sys\n"
        "sys.modules['ensurepip'] = None\n"
        f"sys.argv = ['environment.py', 'run']\n"
        f"runpy.run_path({str(clone / 'scripts' / 'environment.py')!r}, run_name='__main__')\n"
    )
    done = subprocess.run([sys.executable, "-I", blocked], capture_output=True, text=True, check=False)
    assert done.returncode == 78
    assert f"sudo apt install python3.{sys.version_info[1]}-venv" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (clone / ".venv").exists()
