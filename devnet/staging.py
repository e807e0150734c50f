"""Putting one network in the place of another, so that whatever interrupts it, one of the two is there in the end.

The new network is made in D/.loading, beside the old one. Only when all of it is on disk does D/.loading/swap.json say
so; from that moment on the new one wins: whoever next holds the folder finishes what was interrupted. Before, what lies
there is rubbish.

D/.loading/node<N>/      the data directories of the new network
D/.loading/network.json  its record; once it has moved to D, all has
D/.loading/swap.json     `Swap`: written last
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import msgspec

from node.storage.files import sync

STAGING = ".loading"
RECORD = "network.json"
_SWAP = "swap.json"


class Swap(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What takes whose place, as names of folders."""

    remove: tuple[str, ...]
    """The old network's."""
    add: tuple[str, ...]
    """The new network's."""


def begin(folder: Path) -> Path:
    """Return an empty place to make a new network in. The caller holds the folder."""
    staging = folder / STAGING
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(mode=0o700)
    return staging


def commit(folder: Path, swap: Swap) -> None:
    """Declare what was made in the staging place complete, and put it in the place of what was. Nothing of either runs.

    Raises:
        OSError: the disk failed; if swap.json is there, the next `roll_forward` goes on.
    """
    staging = folder / STAGING
    _sync_tree(staging)
    temporary = staging / f"{_SWAP}.new"
    temporary.write_bytes(msgspec.json.encode(swap))
    sync(temporary)
    temporary.replace(staging / _SWAP)
    sync(staging)
    roll_forward(folder)


def roll_forward(folder: Path) -> None:
    """Finish a swap that was interrupted, or clear away one that never was complete. The caller holds the folder.

    Raises:
        OSError: the disk failed; it can be tried again.
    """
    staging = folder / STAGING
    if not staging.exists():
        return
    try:
        swap = msgspec.json.decode((staging / _SWAP).read_bytes(), type=Swap)
    except (FileNotFoundError, msgspec.MsgspecError):
        shutil.rmtree(staging)
        return
    if (staging / RECORD).exists():
        for name in sorted({*swap.remove, *swap.add}):
            if name not in swap.add or (staging / name).exists():
                shutil.rmtree(folder / name, ignore_errors=True)
            if (staging / name).exists():
                (staging / name).rename(folder / name)
        sync(folder)
        (staging / RECORD).replace(folder / RECORD)
        sync(folder)
    shutil.rmtree(staging)


def _sync_tree(folder: Path) -> None:
    """Let all that is in a folder reach the disk."""
    for place, _, names in os.walk(folder):
        for name in names:
            sync(Path(place) / name)
        sync(Path(place))
