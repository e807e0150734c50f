"""Run the tour of README.md on a real network and draw each stop as an SVG: nothing in a picture is made up.

The commands are read from README.md itself, one picture per indented block below the heading of the tour, so that text
and pictures cannot part ways. `scripts/pictures --check` runs the tour without drawing.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import PIPE, STDOUT
from typing import Any, NamedTuple

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

ROOT = Path(__file__).resolve().parent.parent
PICTURES = ROOT / "docs" / "pictures"
DURE = Path(sys.executable).parent / "dure"
COLUMNS = 116
LOG_LINES = 14
PATIENCE = 120  # seconds for any one thing that the tour waits for: generous, since a slow machine is no failure


class Stop(NamedTuple):
    """One stop of the tour: the commands of one block, and the name of its picture."""

    name: str
    commands: tuple[str, ...]


def tour() -> list[Stop]:
    """Read the tour from README.md."""
    text = (ROOT / "README.md").read_text()
    section = text.split("## A tour of five minutes", 1)[1].split("\n## ", 1)[0]
    blocks = re.findall(r"(?:^    .+\n)+", section, re.MULTILINE)
    stops = []
    for number, block in enumerate(blocks, 1):
        commands = tuple(line.strip() for line in block.splitlines())
        verb = shlex.split(commands[0])[0].removeprefix("scripts/")
        name = verb if verb == "up" else shlex.split(commands[0])[1]
        stops.append(Stop(f"{number}-{name}", commands))
    return stops


class Network:
    """The network of the tour, in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._watch: subprocess.Popen[bytes] | None = None
        self._environment = os.environ | {
            "COLUMNS": str(COLUMNS),
            "DURE_DIR": str(folder),
            "DURE_NODE": "",
            "DURE_PROGRAM": "scripts/dure",
            "FORCE_COLOR": "1",
            "TTY_COMPATIBLE": "1",
        }

    def run(self, *arguments: str) -> str:
        """Run a `dure` command to its end; return what it printed, colours included.

        Only the name of the temporary folder is changed, to that of the folder which a reader will see.
        """
        command: list[str | Path] = [DURE, *arguments]
        done = subprocess.run(command, env=self._environment, stdout=PIPE, stderr=STDOUT, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"dure {shlex.join(arguments)} ended with {done.returncode}: {done.stdout}")
        return done.stdout.replace(str(self._folder), ".dure")

    def watch(self) -> None:
        """Follow the network from now on, as `scripts/up` does on a terminal: what is seen is recorded."""
        self._watch = subprocess.Popen([DURE, "watch"], env=self._environment, stdout=subprocess.DEVNULL)

    def down(self) -> None:
        """End it, whatever has become of it."""
        subprocess.run([DURE, "down"], env=self._environment, capture_output=True, check=False)
        if self._watch is not None:
            self._watch.terminate()
            self._watch.wait()

    def nodes(self) -> list[dict[str, Any]]:
        """Return the nodes as `dure status --json` knows them."""
        nodes: list[dict[str, Any]] = json.loads(self.run("status", "--json"))["nodes"]
        return nodes

    def wait(self, what: str, reached: Callable[[list[dict[str, Any]]], bool]) -> None:
        """Wait until the network looks as `reached` wants it to."""
        deadline = time.monotonic() + PATIENCE
        while not reached(self.nodes()):
            if time.monotonic() > deadline:
                raise SystemExit(f"waited {PATIENCE} s in vain until {what}: {self.nodes()}")
            time.sleep(0.2)

    def settle(self, verb: str) -> None:
        """Wait for what a reader would wait for after `verb` before looking again."""
        if verb == "send":
            height = max(node["height"] for node in self.nodes())
            self.wait("the next block is everywhere", lambda nodes: min(node["height"] for node in nodes) > height)
        elif verb in {"heal", "start", "up"}:
            self.wait("all nodes have one tip", lambda nodes: len({node["tip"] for node in nodes}) == 1)


def perform(network: Network, line: str) -> str:
    """Run one line of the tour and wait for its effect; return what it printed."""
    program, *arguments = shlex.split(line)
    if program == "scripts/up":  # what it shows after this is `dure watch`, for as long as one likes
        arguments = ["up", "--detach", *arguments]
    printed = network.run(*arguments)
    network.settle(arguments[0])
    if program == "scripts/up":
        network.watch()
    if arguments[0] == "logs":
        printed = "\n".join(printed.splitlines()[-LOG_LINES:])
    return printed


def draw(stop: Stop, printed: list[str]) -> None:
    """Write one picture: each command with its answer."""
    with Path(os.devnull).open("w") as nowhere:
        console = Console(record=True, width=COLUMNS, file=nowhere, force_terminal=True, color_system="truecolor")
        for line, answer in zip(stop.commands, printed, strict=True):
            console.print(Text(f"$ {line}", style="bold green"))
            console.print(Text.from_ansi(answer.rstrip("\n")))
            console.print()
    picture = console.export_svg(title=stop.commands[0], theme=MONOKAI, unique_id=f"dure-{stop.name}")
    picture = re.sub(r"@font-face \{.*?\}\s*", "", picture, flags=re.DOTALL)  # a picture loads nothing from elsewhere
    PICTURES.mkdir(parents=True, exist_ok=True)
    (PICTURES / f"{stop.name}.svg").write_text(picture)


def main() -> None:
    """Go through the tour once."""
    drawing = "--check" not in sys.argv[1:]
    with tempfile.TemporaryDirectory(prefix="dure-tour-") as folder:
        network = Network(Path(folder) / "network")
        try:
            for stop in tour():
                printed = [perform(network, line) for line in stop.commands]
                print(f"{stop.name}: {'; '.join(stop.commands)}", flush=True)
                if drawing and f"{stop.name}.svg" in (ROOT / "README.md").read_text():
                    draw(stop, printed)
        finally:
            network.down()


if __name__ == "__main__":
    main()
