"""Bad lines on purpose, to see a network bear delay, loss and thin pipes: for networks of one's own only.

The conditions name where nodes listen, as a partition does, and are kept over restarts as it is: a node that is killed
behind a bad line comes back behind it. Each node shapes what it sends; `p2p.shaped_network` does the work.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from node.storage.errors import DamagedError
from node.storage.files import Files
from p2p.link_conditions import LinkConditions
from p2p.shaped_network import ShapedNetwork
from p2p.transport import Address, AddressSyntaxError, parse_address

FILE = "link_conditions.json"
MAX_LINKS = 1_000
"""Addresses with conditions: more nodes than one machine runs."""


class LinkFaultError(ValueError):
    """The conditions cannot be taken as they are. The message is a sentence for the person who sent them."""


class LinkFaults:
    """The conditions under which this node sends to others."""

    def __init__(self, files: Files, network: ShapedNetwork) -> None:
        """Take up the conditions that were kept.

        Raises:
            DamagedError: the file is damaged. A line must not mend by accident.
        """
        self._files = files
        self._network = network
        network.set_conditions(_read(files))

    @property
    def conditions(self) -> Mapping[Address, LinkConditions]:
        """By the address at which a peer listens, in the order in which they were given."""
        return self._network.conditions

    def replace(self, conditions: Mapping[Address, LinkConditions]) -> None:
        """Send under these conditions from now on and no others, durable when it returns.

        Raises:
            LinkFaultError: too many addresses; nothing was changed.
            StorageError: they could not be written; nothing was changed.
        """
        if len(conditions) > MAX_LINKS:
            raise LinkFaultError(f"link conditions name at most {MAX_LINKS} addresses, not {len(conditions)}")
        write_conditions(self._files, conditions)
        self._network.set_conditions(conditions)


def write_conditions(files: Files, conditions: Mapping[Address, LinkConditions]) -> None:
    """Keep conditions for the next start of the node whose files these are.

    Raises:
        StorageError: they could not be written.
    """
    files.write(FILE, msgspec.json.encode({str(address): each for address, each in conditions.items()}))


def _read(files: Files) -> dict[Address, LinkConditions]:
    raw = files.read(FILE)
    if raw is None:
        return {}
    try:
        kept = msgspec.json.decode(raw, type=dict[str, LinkConditions])
        return {parse_address(text): conditions for text, conditions in kept.items()}
    except (msgspec.MsgspecError, AddressSyntaxError) as error:
        raise DamagedError(f"{FILE} is damaged ({error}): remove it to mend all lines") from None
