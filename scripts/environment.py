"""Make or mend .venv: the slow half of environment.sh, run by any Python from 3.11 on, standard library only.

Everything is installed from the lock files by hash and as wheels, so that nothing unverified is ever executed; then the
project itself is added as one .pth file. The stamps are written last: whatever was interrupted is simply done again.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
STAMPS = VENV / "stamps"
PYTHON = VENV / "bin" / "python"

UNAVAILABLE = 69  # sysexits: a download failed; trying again may help
CONFIGURATION = 78  # sysexits: this machine lacks something

# What makes pip take the very files that were locked, and run nothing of them.
BY_HASH = ("--no-deps", "--require-hashes", "--only-binary=:all:")

INTERRUPTED = 130  # as shells report SIGINT

# Settings of the user's shell that would send an installation elsewhere, or forbid it.
MISLEADING = ("PIP_PREFIX", "PIP_REQUIRE_HASHES", "PIP_ROOT", "PIP_TARGET", "PIP_USER", "PYTHONHOME", "PYTHONPATH")


def say(text: str) -> None:
    """Tell the user something without mixing it into the output of the command that follows."""
    print(text, file=sys.stderr, flush=True)


def refuse(status: int, text: str) -> NoReturn:
    """End with one sentence and an exit status."""
    say(text)
    raise SystemExit(status)


def is_done(source: Path) -> bool:
    """Tell whether `source` is what the environment was last installed from."""
    stamp = STAMPS / source.name
    return stamp.is_file() and stamp.read_bytes() == source.read_bytes()


def is_usable() -> bool:
    """Tell whether .venv is whole, was made in this very folder, and its Python still starts."""
    root = STAMPS / "root"
    if not root.is_file() or root.read_text().strip() != str(ROOT):
        return False
    try:
        return subprocess.run([PYTHON, "-I", "-c", "import pip"], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def make_venv() -> None:
    """Make an empty environment with pip in it."""
    try:
        import ensurepip
        import venv
    except ImportError:
        refuse(
            CONFIGURATION,
            f"This Python ({sys.executable}) cannot make environments: its modules venv and ensurepip are missing. "
            f"On Debian and Ubuntu: sudo apt install python{sys.version_info[0]}.{sys.version_info[1]}-venv",
        )
    del ensurepip  # only whether it is there was of interest: venv calls it in a process of its own
    shutil.rmtree(VENV, ignore_errors=True)
    try:
        venv.create(VENV, with_pip=True, symlinks=True)
    except (OSError, subprocess.CalledProcessError) as error:
        refuse(CONFIGURATION, f"Making {VENV} failed: {error}")


def pip_install(*arguments: str | Path) -> None:
    """Run pip inside .venv; on failure show what it said and end."""
    environment = {name: value for name, value in os.environ.items() if name not in MISLEADING}
    command = [PYTHON, "-m", "pip", "install", "-qq", "--disable-pip-version-check", "--no-input", *arguments]
    done = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, cwd=ROOT, check=False)
    if done.returncode:
        refuse(UNAVAILABLE, "Installing failed; pip's message is above. When it is mended, run this again.")


def stamp(*sources: Path) -> None:
    """Record that the environment holds what `sources` say."""
    STAMPS.mkdir(exist_ok=True)
    for source in sources:
        shutil.copyfile(source, STAMPS / source.name)
    (STAMPS / "root").write_text(f"{ROOT}\n")


def prepare(purpose: str) -> None:
    """Bring .venv up to date for `purpose`: "run", or "dev" or "fuzz" for what these need as well."""
    locks = [ROOT / "requirements.lock", *([ROOT / f"requirements-{purpose}.lock"] if purpose != "run" else [])]
    project = ROOT / "pyproject.toml"
    if not is_usable():
        version = ".".join(map(str, sys.version_info[:3]))
        say(f"Preparing .venv with Python {version}: once, and in well under a minute on a quick line …")
        started = time.monotonic()
        make_venv()
    elif all(map(is_done, [*locks, project])):
        return  # another run did it while this one waited for the lock
    else:
        say("Bringing .venv up to date …")
        started = time.monotonic()
    if not all(map(is_done, locks)):
        pip_install(*BY_HASH, *(f"--requirement={lock}" for lock in locks))
    pip_install("--no-deps", "--no-index", "--no-build-isolation", "--editable", ROOT)
    stamp(*locks, project)
    say(f"Ready after {time.monotonic() - started:.0f} s.")


def main() -> None:
    """Prepare for the purpose given, one process at a time: two scripts started together must not share a half."""
    with (ROOT / ".venv.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            prepare(sys.argv[1])
        except KeyboardInterrupt:
            refuse(INTERRUPTED, "Interrupted; nothing is lost: the next run begins again where this one did.")


if __name__ == "__main__":
    main()
