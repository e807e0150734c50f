"""What campaigns keep in their folders, so that they add up over days: no sudden end of one costs what was there."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

T = TypeVar("T", bound=msgspec.Struct)


def write_whole(path: Path, text: str) -> None:
    """Write a file all or nothing, in the place of an older one."""
    fresh = path.with_suffix(".new")
    fresh.write_text(text)
    os.replace(fresh, path)


class Lines(Generic[T]):
    """A file with one entry on each line, as JSON. It grows only, and the last line may be cut."""

    def __init__(self, path: Path, kind: type[T]) -> None:
        self.path = path
        self._kind = kind
        path.parent.mkdir(parents=True, exist_ok=True)

    def read(self) -> list[T]:
        """Return all entries; a line that was cut as a campaign was ended is none."""
        found: list[T] = []
        for line in self.path.read_text().splitlines() if self.path.exists() else ():
            try:
                found.append(msgspec.json.decode(line, type=self._kind))
            except msgspec.DecodeError:
                continue
        return found

    def add(self, one: T) -> None:
        """Write an entry down, on a line of its own even after one that was cut."""
        with self.path.open("ab+") as file:
            if file.tell():
                file.seek(-1, os.SEEK_END)
                if file.read() != b"\n":
                    file.write(b"\n")
            file.write(msgspec.json.encode(one) + b"\n")
