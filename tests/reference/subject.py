"""The rules of `consensus`, seen as the reference is: bytes in, "accept" or the name of a rule out."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from consensus.apply import revert_block
from consensus.codec import decode_block, decode_header, decode_transaction
from consensus.errors import ConsensusError, Rule
from consensus.params import Params, sim_params
from consensus.signatures import verify_all
from consensus.state import ChainState, StateDelta, genesis_state
from consensus.types import Asset, AssetId, Coin, OutPoint
from consensus.validation import check_block, check_body, check_header, check_transaction
from tests.reference.records import Network
from tests.support.assets import apply
from tests.support.chain import state_hash

Coins = Mapping[OutPoint, Coin]
Book = Mapping[AssetId, Asset]

PARAMS = msgspec.structs.replace(
    sim_params(spacing=60, start_bits=0x2000FFFF, limit_bits=0x207FFFFF), coinbase_maturity=3, max_future_seconds=None
)
"""A network on which difficulty moves, coins ripen in three blocks, a header takes 256 tries and none is early."""


def network_of(params: Params) -> Network:
    """Return what the reference has to be told of a network."""
    return Network(
        name=params.name,
        spacing=params.spacing,
        half_life=params.half_life if params.retarget else None,
        start_bits=params.start_bits,
        limit_bits=params.limit_bits,
        first_subsidy=params.initial_subsidy,
        interval=params.subsidy_interval,
        total_supply=params.total_supply,
        maturity=params.coinbase_maturity,
    )


def judge_transaction(params: Params, raw: bytes) -> str:
    """Judge a transaction, other than a coinbase, alone."""
    try:
        check_transaction(params, decode_transaction(raw))
    except ConsensusError as error:
        return str(error.rule)
    return "accept"


class Subject:
    """All branches at once, with the coins and assets after each block."""

    def __init__(self, params: Params) -> None:
        self.params = params
        genesis = params.genesis_hash
        self.headers: dict[bytes, ChainState] = {genesis: genesis_state(params)}
        self.states: dict[bytes, tuple[Coins, Book]] = {genesis: ({}, {})}
        self.invalid: set[bytes] = set()

    def state_hash(self, block: bytes) -> bytes | None:
        """Return the state hash after a valid block, None if there is no such block."""
        return state_hash(*self.states[block]) if block in self.states else None

    def add_header(self, raw: bytes) -> str:
        """Take a header whose parent is known."""
        try:
            header = decode_header(raw)
            if header.hash not in self.headers:
                if header.previous not in self.headers:
                    raise ConsensusError(Rule.BAD_PREVIOUS)
                state = check_header(self.params, header, self.headers[header.previous])
                if header.previous in self.invalid:
                    raise ConsensusError(Rule.INVALID_PARENT)
                self.headers[header.hash] = state
            if header.hash in self.invalid:
                raise ConsensusError(Rule.INVALID_PARENT)
        except ConsensusError as error:
            return str(error.rule)
        return "accept"

    def add_block(self, raw: bytes) -> str:
        """Take a block on top of one whose state is known."""
        try:
            block = decode_block(raw)
            check_body(block)
        except ConsensusError as error:
            return str(error.rule)
        verdict = self.add_header(block.header.encoded)
        if verdict != "accept" or block.hash in self.states:
            return verdict
        try:
            check_block(self.params, block)
            parent = block.header.previous
            coins, book = self.states[parent]
            applied = apply(self.params, self.headers[parent], block, coins, book)
            if verify_all(applied.checks) is not None:
                raise ConsensusError(Rule.BAD_SIGNATURE)
        except ConsensusError as error:
            self.invalid.add(block.hash)
            return str(error.rule)
        after = changed(coins, book, applied.delta)
        height = self.headers[block.hash].height
        if changed(*after, revert_block(block, height, applied.undo)) != (coins, book):
            raise AssertionError("taking a block back leaves something")
        self.states[block.hash] = after
        return "accept"


def changed(coins: Coins, book: Book, delta: StateDelta) -> tuple[dict[OutPoint, Coin], dict[AssetId, Asset]]:
    """Return coins and assets after a step along the chain."""
    records = {**book, **delta.assets}
    return (
        {name: coin for name, coin in coins.items() if name not in delta.spent} | delta.created,
        {name: record for name, record in records.items() if record is not None},
    )
