"""Sections "The chain", "Networks" and "Comparing nodes" of docs/protocol.md."""

from __future__ import annotations

from tests.reference.blocks import BODY_RULES, Block, apply_block, check_block, read_block
from tests.reference.encoding import Refused, encode, hash256, need
from tests.reference.headers import Header, check_header, genesis_place, read_header
from tests.reference.records import ZERO, Network, State

MAIN = Network("main", 60, 172_800, 0x1D00FFFF, 0x1D00FFFF, 500_000_000, 2_100_000, 2_099_999_472_700_000, 100)
TEST = MAIN._replace(name="test")
LOCAL = Network(
    "local", 5, 120, 0x1E53E2D6, 0x1F014F8B, 5_000_000_000, 210_000, 2_099_994_997_690_000, 10, tag=bytes(16)
)
REGTEST = Network("regtest", 60, None, 0x207FFFFF, 0x207FFFFF, 5_000_000_000, 150, 1_494_999_998_350, 100)
NETWORKS = {network.name: network for network in (MAIN, TEST, LOCAL, REGTEST)}


def genesis_coinbase(network: Network) -> list[object]:
    """Return the one transaction of genesis."""
    memo = b"dure/" + network.name.encode("ascii") + network.tag
    return [[1, [[ZERO, 0]], [], [], [], memo], []]


def genesis_header(network: Network) -> Header:
    """Return the header of genesis."""
    root = hash256(encode(genesis_coinbase(network)))
    numbers = [number.to_bytes(4, "little") for number in (1, 1_767_225_600, network.start_bits, 0)]
    return read_header(numbers[0] + ZERO + root + numbers[1] + numbers[2] + numbers[3])


def state_hash(state: State) -> bytes:
    """Return the state hash, by which nodes are compared."""
    entries = [
        encode([0, list(outpoint), [coin.value, coin.lock, coin.asset], coin.height, int(coin.coinbase)])
        for outpoint, coin in state.coins.items()
    ]
    entries += [encode([1, asset, *record]) for asset, record in state.assets.items()]
    return hash256(b"".join(sorted(entries)))


class Chain:
    """Every header and body it was given, and which of them is best.

    It keeps the state after every block, so going back is looking it up.
    """

    def __init__(self, network: Network) -> None:
        self.network = network
        genesis = genesis_place(genesis_header(network))
        self.genesis_id = genesis.header.id
        self.places = {self.genesis_id: genesis}
        self.states = {self.genesis_id: State({}, {})}
        self.bodies: dict[bytes, Block] = {}
        self.invalid: set[bytes] = set()
        self.tip = genesis

    @property
    def state(self) -> State:
        """State after the tip."""
        return self.states[self.tip.header.id]

    def add_header(self, raw: bytes) -> str:
        """Take a header whose parent is known. Return "accept" or the rule that it breaks."""
        try:
            header = read_header(raw)
            if header.id not in self.places:
                parent = self.places.get(header.previous)
                need(parent is not None, "bad-previous")
                if parent is None:  # for the type checker
                    return "bad-previous"
                place = check_header(self.network, header, parent)
                need(header.previous not in self.invalid, "invalid-parent")
                self.places[header.id] = place
            need(header.id not in self.invalid, "invalid-parent")
        except Refused as refused:
            return refused.rule
        return "accept"

    def add_block(self, raw: bytes) -> str:
        """Take a block on top of one whose state is known. Return "accept" or the rule that it breaks."""
        try:
            block = read_block(raw)
        except Refused as refused:
            return refused.rule
        verdict = self.add_header(block.header.raw)
        if verdict != "accept":
            return verdict
        place = self.places[block.header.id]
        parent = self.places[block.header.previous]
        if block.header.id in self.states:
            return "accept"
        try:
            check_block(self.network, block)
            before = self.states[parent.header.id]
            self.states[block.header.id] = apply_block(self.network, self.genesis_id, block, parent, before)
        except Refused as refused:
            self.invalid.add(block.header.id)
            return refused.rule
        if place.work > self.tip.work:
            self.tip = place
        return "accept"


__all__ = ["BODY_RULES", "MAIN", "NETWORKS", "REGTEST", "Chain", "genesis_header", "state_hash"]
