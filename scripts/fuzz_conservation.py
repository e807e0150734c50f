"""A million random transactions of coins and assets, and nothing comes from nowhere: `scripts/fuzz conservation`.

Each story is a chain with forks in a database of its own on the disk (`tests/conservation`). A folder remembers which
were told and what they came to, one line each, so that campaigns go on where they stopped and add up.
"""

from __future__ import annotations

import argparse
import asyncio
import secrets
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from node.storage.lmdb_store import LmdbDatabase
from node.storage.schema import STORAGE_VERSION, TABLES
from scripts.kept import Lines
from tests.conservation.story import BLOCKS, PARAMS, tell

if TYPE_CHECKING:
    from scripts.fuzz_campaign import Kinds

RESULTS = "told.jsonl"


class Told(msgspec.Struct):
    """One line of a campaign's file."""

    seed: int
    seconds: float
    counts: dict[str, int]


class Campaign:
    """A folder with what was told so far."""

    def __init__(self, folder: Path) -> None:
        self._lines = Lines(folder / RESULTS, Told)
        self.told = self._lines.read()

    @property
    def next_seed(self) -> int:
        """Return the one after the last; the first is drawn."""
        return self.told[-1].seed + 1 if self.told else secrets.randbelow(2**32)

    def add(self, one: Told) -> None:
        """Write a story down."""
        self.told.append(one)
        self._lines.add(one)

    def summary(self) -> str:
        """Return the figures, in lines for people."""
        total: Counter[str] = Counter()
        for one in self.told:
            total.update(one.counts)
        refused = {name.partition(": ")[2]: count for name, count in total.items() if name.startswith("refused: ")}
        seconds = sum(one.seconds for one in self.told)
        where = self._lines.path
        lines = [
            f"{total['transactions']:,} transactions in {len(self.told):,} stories, {seconds:.0f} s; see {where}",
            f"{total['transactions spoiled']:12,} of them spoiled",
            f"{total['transactions in blocks']:12,} places in {total['blocks taken']:,} blocks, each of which adds up",
            f"{total['blocks refused']:12,} blocks refused for a wrong one in them",
            f"{total['reorgs']:12,} reorgs",
            f"{sum(refused.values()):12,} refused by {len(refused)} rules: {', '.join(sorted(refused))}",
        ]
        return "\n".join(lines)


def tell_one(seed: int, blocks: int = BLOCKS) -> Told:
    """Tell the story of a seed on a real database, and forget that.

    Raises:
        InvariantBroken: something is not conserved.
    """
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="dure-conservation-") as folder:
        database = LmdbDatabase(Path(folder), TABLES, version=STORAGE_VERSION, identity=PARAMS.genesis_hash)
        try:
            counts = asyncio.run(tell(seed, database, blocks))
        finally:
            database.close()
    return Told(seed, round(time.monotonic() - began, 2), dict(counts))


def campaign(minutes: float, folder: Path, seed: int | None, blocks: int = BLOCKS) -> int:
    """Tell stories until the time is over or something is not conserved; return the exit status."""
    here = Campaign(folder)
    number = here.next_seed if seed is None else seed
    print(f"from seed {number}, for {minutes:g} min", flush=True)
    end = time.monotonic() + 60 * minutes
    while True:
        try:
            here.add(tell_one(number, blocks))
        except KeyboardInterrupt:
            print(f"\n{here.summary()}\ninterrupted: --resume {folder} goes on from here")
            return 130
        except Exception as error:  # noqa: BLE001 - whatever it is, it is what we look for, and is told
            traceback.print_exception(error)
            print(f"repeat it with: scripts/fuzz conservation --minutes 0.001 --seed {number}")
            return 1
        number += 1
        if time.monotonic() >= end:
            print(f"{here.summary()}\neverything is conserved")
            return 0


def add(kinds: Kinds) -> None:
    """Add the arguments of `conservation`."""
    one = kinds.add_parser("conservation", help="random transactions of coins and assets, everything counted")
    one.add_argument("--minutes", type=float, default=1.0, help="how long (default: 1)")
    one.add_argument("--resume", type=Path, metavar="DIR", help="where campaigns add up (default: a new folder)")
    one.add_argument("--seed", type=int, help="of the first story (default: where DIR ended, or any)")
    one.set_defaults(run=_run, repeat=None)


def _run(chosen: argparse.Namespace) -> int:
    folder = chosen.resume or Path(tempfile.mkdtemp(prefix="dure-fuzz-"))
    return campaign(chosen.minutes, folder, chosen.seed)
