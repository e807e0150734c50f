"""Peers cut off on purpose, to make a network fall apart and heal: for networks of one's own only.

The set names where nodes listen. Whoever listens there is not dialled, and refused when its `Hello` tells that port.
It is kept over restarts, so a node that is killed while apart comes back apart.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from node.storage.errors import DamagedError
from node.storage.files import Files
from p2p.transport import Address, AddressSyntaxError, parse_address

FILE = "partition.json"
MAX_BLOCKED = 1_000
"""Addresses in the set: more nodes than one machine runs."""


class PartitionError(ValueError):
    """The set cannot be taken as it is. The message is a sentence for the person who sent it."""


class Partition:
    """The set of addresses that this node acts as if it could not reach."""

    def __init__(self, files: Files) -> None:
        """Take up the set that was kept.

        Raises:
            DamagedError: the file is damaged. A node must not heal by accident.
        """
        self._files = files
        self._blocked: dict[Address, None] = dict.fromkeys(_read(files))

    def __contains__(self, address: Address | None) -> bool:
        return address in self._blocked

    @property
    def blocked(self) -> tuple[Address, ...]:
        """The set, in the order in which it was given."""
        return tuple(self._blocked)

    def replace(self, addresses: Iterable[Address]) -> tuple[list[Address], list[Address]]:
        """Make this the set, durable when it returns; return what is newly blocked and what no longer is.

        Raises:
            PartitionError: too many addresses; nothing was changed.
            StorageError: the set could not be written; nothing was changed.
        """
        wanted = dict.fromkeys(addresses)
        if len(wanted) > MAX_BLOCKED:
            raise PartitionError(f"a partition names at most {MAX_BLOCKED} addresses, not {len(wanted)}")
        write_partition(self._files, wanted)
        cut = [address for address in wanted if address not in self._blocked]
        healed = [address for address in self._blocked if address not in wanted]
        self._blocked = wanted
        return cut, healed


def write_partition(files: Files, addresses: Iterable[Address]) -> None:
    """Keep a set for the next start of the node whose files these are.

    Raises:
        StorageError: it could not be written.
    """
    files.write(FILE, msgspec.json.encode([str(address) for address in addresses]))


def _read(files: Files) -> list[Address]:
    raw = files.read(FILE)
    if raw is None:
        return []
    try:
        return [parse_address(text) for text in msgspec.json.decode(raw, type=list[str])]
    except (msgspec.MsgspecError, AddressSyntaxError) as error:
        raise DamagedError(f"{FILE} is damaged ({error}): remove it to heal the partition") from None
