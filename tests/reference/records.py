"""What the sections of docs/protocol.md speak of, once it is decoded. Plain records, with no rules in them."""

from __future__ import annotations

from typing import Any, NamedTuple

Outpoint = tuple[bytes, int]
ZERO = bytes(32)
Array = list[Any]
"""A decoded array whose shape was checked."""


class Output(NamedTuple):
    """One output of a transaction."""

    value: int
    lock: bytes
    asset: bytes | None


class Coin(NamedTuple):
    """An unspent output."""

    value: int
    lock: bytes
    asset: bytes | None
    height: int
    coinbase: bool


class Witness(NamedTuple):
    """What proves that a lock may be opened, or an asset moved."""

    policy: Array
    satisfactions: list[bytes]


class Transaction(NamedTuple):
    """A transaction whose shape is right. `issuances` and `burns` are the decoded arrays."""

    raw: bytes
    core: Array
    inputs: list[Outpoint]
    outputs: list[Output]
    issuances: list[Array]
    burns: list[Array]
    witnesses: list[Witness]
    version: int
    txid: bytes
    wtxid: bytes


class Record(NamedTuple):
    """What the chain knows of an asset."""

    definition: Array
    supply: int
    sequence: int
    total: int


class State(NamedTuple):
    """What a block is applied to. Whoever changes it, changes a copy."""

    coins: dict[Outpoint, Coin]
    assets: dict[bytes, Record]

    def copy(self) -> State:
        """Return a state that may be changed without changing this one."""
        return State(dict(self.coins), dict(self.assets))


class Network(NamedTuple):
    """A column of the table of networks, as far as rules read it. Amounts in grain, times in seconds."""

    name: str
    spacing: int
    half_life: int | None
    """None where the network does not retarget."""
    start_bits: int
    limit_bits: int
    first_subsidy: int
    interval: int
    total_supply: int
    maturity: int
    tag: bytes = b""
