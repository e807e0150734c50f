"""The wheel: what somebody gets who installs dure instead of cloning it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import venv
import zipfile
from hashlib import sha256
from importlib import metadata
from pathlib import Path

import pytest

from scripts.environment import BY_HASH
from tests.support.repository import PACKAGES, PROJECT, ROOT, pins, tracked

pytestmark = pytest.mark.e2e

VERSION = PROJECT["project"]["version"]


def run(*command: str | Path, cwd: Path) -> str:
    """Run a command away from the repository; return what it printed."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "DURE"))}
    done = subprocess.run(
        command, cwd=cwd, env=kept, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


def build_wheel(folder: Path) -> Path:
    """Build the wheel from a copy of the tracked files, so that nothing else can slip in and nothing is left behind."""
    source = folder / "source"
    for path in tracked():
        copy = source / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, copy)
    offline = ("--no-deps", "--no-index", "--no-build-isolation")
    run(sys.executable, "-m", "pip", "wheel", "--quiet", *offline, "--wheel-dir", folder, source, cwd=folder)
    return next(folder.glob("dure-*.whl"))


def copy_locked_libraries(site_packages: Path) -> None:
    """Put into an empty environment what requirements.lock names, byte for byte from this one: no download."""
    for name in pins("requirements.lock"):
        for file in metadata.distribution(name).files or ():
            if ".." not in file.parts:  # its commands, which nothing here calls
                copy = site_packages / file
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(Path(str(file.locate())), copy)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment outside the repository that holds the locked libraries and the wheel; its folder."""
    folder = tmp_path_factory.mktemp("installed")
    wheel = build_wheel(folder)
    environment = folder / "environment"
    venv.create(environment, with_pip=False, symlinks=True)
    copy_locked_libraries(next((environment / "lib").glob("python3*")) / "site-packages")
    python = environment / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--python", python)
    run(*pip, "install", "--quiet", "--no-deps", "--no-index", wheel, cwd=folder)
    run(*pip, "check", cwd=folder)  # the lock holds all that the wheel asks for
    return environment


@pytest.mark.parametrize("command", ["dured", "dure"])
def test_an_installed_command_says_its_version(installed: Path, command: str) -> None:
    assert VERSION in run(installed / "bin" / command, "--version", cwd=installed)


def test_every_package_comes_from_the_wheel_and_from_no_other_distribution(installed: Path) -> None:
    program = "import importlib.metadata as metadata, json; print(json.dumps(metadata.packages_distributions()))"
    owners = json.loads(run(installed / "bin" / "python", "-I", "-c", program, cwd=installed))
    assert {name: owners.get(name) for name in PACKAGES} == {name: ["dure"] for name in PACKAGES}


def test_a_node_starts_under_every_optimization(installed: Path) -> None:
    """`python -O` drops asserts and -OO docstrings; neither may break a command."""
    for flag in ("-O", "-OO"):
        assert VERSION in run(installed / "bin" / "python", flag, "-m", "node.main", "--version", cwd=installed)


def test_the_same_source_gives_the_same_wheel(tmp_path: Path) -> None:
    """A206: byte for byte, so that anybody can hold what was published against what is here."""
    wheels = []
    for place in ("here", "there"):
        (tmp_path / place).mkdir()
        wheels.append(build_wheel(tmp_path / place).read_bytes())
    assert wheels[0] == wheels[1]


def test_a_file_that_is_not_the_one_that_was_locked_is_not_installed(tmp_path: Path) -> None:
    """A206: by the very words that scripts/environment.py says to pip."""
    wheel = tmp_path / "thing-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("thing.py", "")
        archive.writestr("thing-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: thing\nVersion: 1.0\n")
        archive.writestr("thing-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr("thing-1.0.dist-info/RECORD", "")
    lock = tmp_path / "lock"
    pip: list[str | Path] = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--find-links", tmp_path]
    pip += [*BY_HASH, "--requirement", lock, "--target", tmp_path / "site"]
    for swapped in (True, False):
        locked = sha256(wheel.read_bytes() + (b"swapped" if swapped else b"")).hexdigest()
        lock.write_text(f"thing==1.0 --hash=sha256:{locked}\n")
        done = subprocess.run(pip, capture_output=True, text=True, check=False)
        assert (done.returncode != 0) is swapped, done.stderr
        assert ("DO NOT MATCH THE HASHES" in done.stderr) is swapped
        assert (tmp_path / "site" / "thing.py").exists() is not swapped
