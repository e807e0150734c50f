"""Pages of docs/ whose commands are typed as they stand, against real networks, and whose shown lines are compared."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from devnet.calls import CallRefused, Calls
from devnet.errors import Unavailable
from devnet.folder import NetworkFolder, NodeRecord, wait_until
from tests.support.repository import ROOT

REFUSALS = re.compile(
    r"(Node )?\d+(@\w+)? (refused: |has no key )|FORGED: |No work |This asset has |It is not complete: "
)
"""How what a command shows begins if it fails."""
SHORTENED = re.compile(r"(?<![0-9a-z])([0-9a-f]{8}|ldure1q[0-9a-z]{4})…")
"""An id or address of the page, which is another one in each network: the first time it stands for what was printed,
from then on for the same."""
QUESTIONS = re.compile(
    r"dure (status|balance|swap status|asset (list|show|history|holders|waiting|frozen)|nft show|policy list)\b"
)
"""Commands that change nothing."""
MINING = re.compile(r"dure mine \d+ \d+(?: --dir (?P<folder>\S+))?$")
GOSSIP = 30.0  # seconds until what one node knows is known to the others, on a slow machine
PATIENCE = 600  # seconds for one command: generous, since a slow machine is no failure


class Typed(NamedTuple):
    """A command of a page, and lines that it has to print, in their order among others."""

    command: str
    shown: tuple[str, ...]

    @property
    def refused(self) -> bool:
        return bool(self.shown) and REFUSALS.match(self.shown[0]) is not None


def typed_in(text: str) -> Iterator[Typed]:
    """The commands of a page, or of a part of one; each begins with `$`."""
    found: list[Typed] = []
    for line in text.splitlines():
        if line.startswith("    $ "):
            found.append(Typed(line.removeprefix("    $ "), ()))
        elif line.startswith("    ") and found:
            found[-1] = found[-1]._replace(shown=(*found[-1].shown, line.strip()))
    yield from found


def sections(page: Path) -> dict[str, str]:
    """A page by its headings of the second level; what stands before the first is under the title."""
    parts = re.split(r"^## ", page.read_text(), flags=re.MULTILINE)
    return {part.splitlines()[0]: part for part in parts}


class Terminal:
    """A folder with a network of its own, in which a reader types."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ids: dict[str, str] = {}
        programs = folder / "bin"
        programs.mkdir()
        dure = programs / "dure"
        dure.write_text(f'#!/bin/sh\nexec "{sys.executable}" -P -m cli.main "$@"\n')
        dure.chmod(dure.stat().st_mode | stat.S_IXUSR)
        self._environment = {
            **os.environ,
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "DURE_DIR": "net",
            "DURE_PROGRAM": "dure",
        }

    def type(self, typed: Typed) -> None:
        """Run a command, and compare what it prints and whether it fails with what the page shows.

        What only asks is asked again for a while, as a reader would: payments take a moment from node to node.
        """
        until = time.monotonic() + GOSSIP if QUESTIONS.match(typed.command) else 0.0
        while True:
            try:
                self._type(typed)
            except AssertionError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.2)
            else:
                return

    def _type(self, typed: Typed) -> None:
        mining = MINING.match(typed.command)
        if mining:
            self._until_same(mining["folder"], "getrawmempool")
        command = SHORTENED.sub(lambda match: self._ids[match[1]], typed.command)
        done = self._run(command)
        if mining:
            self._until_same(mining["folder"], "getbestblockhash")
        told = f"$ {command}\n{done.stdout}"
        assert (done.returncode != 0) == typed.refused, told
        printed = iter(" ".join(line.split()) for line in done.stdout.splitlines())
        for wanted in typed.shown:
            pattern = self._pattern(" ".join(wanted.split()))
            match = next(filter(None, map(pattern.match, printed)), None)
            assert match is not None, f"{told}\nwants {wanted}"
            self._ids |= {name.removeprefix("_"): value for name, value in match.groupdict().items()}

    def _until_same(self, folder: str | None, method: str) -> None:
        """Wait until all nodes that answer say the same: nobody reads and types as fast as this."""
        network = NetworkFolder(self._folder / (folder or "net"))
        calls, nodes = Calls(network), network.load().nodes

        def said(node: NodeRecord) -> str | None:
            try:
                answer = calls.call(node, method)
            except (Unavailable, CallRefused):
                return None
            return str(sorted(answer) if isinstance(answer, list) else answer)

        wait_until(lambda: len({said(node) for node in nodes} - {None}) <= 1, GOSSIP)

    def _pattern(self, wanted: str) -> re.Pattern[str]:
        """What is told of a longer line may stop at its end; what is shown whole ends where the line does."""
        pattern, place = "", 0
        for match in SHORTENED.finditer(wanted):
            pattern += _any(wanted[place : match.start()])
            known, place = self._ids.get(match[1]), match.end()
            if known is None:
                pattern += f"(?P<_{match[1]}>[0-9a-z]+)"
            else:
                pattern += (
                    re.escape(known[:8]) + f"(?:{re.escape(known[8:16])})?(?:{re.escape(known[16:])})?(?![0-9a-z])"
                )
        return re.compile(
            pattern + _any(wanted[place:]) + ("" if wanted.endswith("…") and place < len(wanted) else "$")
        )

    def down(self, *folders: str) -> None:
        """End the network, or those of some folders, whatever has become of them."""
        for folder in folders or ("net",):
            self._run(f"dure down --dir {folder}")

    def _run(self, command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["/bin/sh", "-c", command],
            cwd=self._folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE,
            check=False,
        )


def _any(text: str) -> str:
    return ".*".join(map(re.escape, text.split("…")))
