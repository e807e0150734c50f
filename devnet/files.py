"""Files that people pass from wallet to wallet: partially signed transactions, and swaps."""

from __future__ import annotations

from pathlib import Path

from devnet.errors import Refused


def read_bounded(path: Path, most: int, kind: str) -> bytes:
    """Return a file, whatever is in it: the node judges it.

    Args:
        most: bytes that such a file can have.
        kind: what it should be, such as "partially signed transaction".

    Raises:
        Refused: it cannot be read, or is larger than any.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(most + 1)
    except OSError as error:
        raise Refused(f"{path} cannot be read: {error.strerror}.") from None
    if len(raw) > most:
        raise Refused(f"{path} is no {kind}: those have at most {most} bytes.")
    return raw


def write_file(path: Path, raw: bytes, *, replace: bool = False) -> None:
    """Write a file whole, or not at all.

    Raises:
        Refused: there is one, or it cannot be written.
    """
    if path.exists() and not replace:
        raise Refused(f"{path} is there already: name another file.")
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        temporary.write_bytes(raw)
        temporary.replace(path)
    except OSError as error:
        raise Refused(f"{path} cannot be written: {error.strerror}.") from None
