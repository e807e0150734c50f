"""How often every outbound connection of a node goes to one attacker, by his share of the addresses it has heard of.

The node starts with an empty table, hears of honest nodes from a few honest ones and of the attacker's from as many
places as he has, and then chooses as the dialer does: by the address table's draw, never two of one group. Everybody
answers. That is the attacker's best case short of owning the line: no feeler and no older table helps the node.
"""

from __future__ import annotations

import argparse
import random
import sys
from typing import NamedTuple

from node.gossip_limits import MAX_OUTBOUND
from p2p.address_manager import AddressManager, KnownAddress
from p2p.address_rules import address_group
from p2p.transport import Address

NOW = 1_800_000_000
HONEST = 300
"""Honest nodes, each in a network of its own."""
TELLERS = 8
"""Honest nodes that tell of the others."""
SHARES = (30, 50, 90)
"""Percent of all addresses that are the attacker's."""


class Attacker(NamedTuple):
    """Where his addresses are."""

    name: str
    groups: int | None
    """In how many networks (/16); None: each address in one of its own, as a botnet has them."""


ATTACKERS = (Attacker("4 networks", 4), Attacker("32 networks", 32), Attacker("a botnet", None))


class _Taken:
    """As the dialer's: what is connected already, and whoever shares a group with it."""

    def __init__(self) -> None:
        self.addresses: list[Address] = []
        self._groups: set[bytes] = set()

    def add(self, address: Address) -> None:
        """A connection is there."""
        self.addresses.append(address)
        self._groups.add(address_group(address))

    def __contains__(self, address: object) -> bool:
        return isinstance(address, Address) and address_group(address) in self._groups


def address(group: int, number: int) -> Address:
    """Return an address of a network, both counted from 0."""
    return Address(f"{11 + group // 256}.{group % 256}.{number // 250}.{number % 250 + 1}", 7340)


def is_eclipsed(seed: int, share: int, attacker: Attacker) -> bool:
    """Tell whether all outbound connections of one node are the attacker's."""
    rng = random.Random(f"{seed} {share} {attacker.name}")
    table = AddressManager(rng.randbytes(32), rng, private_allowed=False)
    count = HONEST * share // (100 - share)
    honest = [address(group, 0) for group in range(HONEST)]
    groups = count if attacker.groups is None else attacker.groups
    his = [address(1_000 + number % groups, number // groups) for number in range(count)]
    for source in honest[:TELLERS]:
        table.add([KnownAddress(each, NOW) for each in honest], source, NOW)
    for source in his[: min(groups, 64)]:
        table.add([KnownAddress(each, NOW) for each in his], source, NOW)
    taken = _Taken()
    for _ in range(MAX_OUTBOUND * 20):  # the dialer tries again and again
        chosen = table.select(NOW, taken)
        if chosen is not None:
            taken.add(chosen)
        if len(taken.addresses) == MAX_OUTBOUND:
            break
    return not set(taken.addresses) & set(honest)


def main() -> int:
    """Print the odds."""
    parser = argparse.ArgumentParser(prog="scripts/eclipse", description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=1_000, help="nodes that are tried (1000)")
    seeds = parser.parse_args().seeds
    print(f"{MAX_OUTBOUND} outbound connections, {seeds} nodes each; of the addresses are the attacker's:")
    print(f"{'':<14}" + "".join(f"{share:>9} %" for share in SHARES))
    for attacker in ATTACKERS:
        odds = [sum(is_eclipsed(seed, share, attacker) for seed in range(seeds)) / seeds for share in SHARES]
        print(f"{attacker.name:<14}" + "".join(f"{100 * each:>9.1f} %" for each in odds), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
