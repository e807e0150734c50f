"""The inputs that are kept: a file for each target, a line for each input, in hex; an empty one is an input too.

Lines with # say why.
"""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1] / "corpora"


def corpus(target: str) -> list[bytes]:
    """Return the inputs that are kept for a target, in order."""
    lines = (FOLDER / f"{target}.txt").read_text().splitlines()
    return [bytes.fromhex(line) for line in lines if not line.startswith("#")]
