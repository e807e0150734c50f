"""A real chain with a coin for each way to lock one, and what it takes to make children of its tip, good or bad."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import sha256

from msgspec.structs import replace

from consensus.assets import authority_id
from consensus.codec import decode_block, lock_digest, spend_message
from consensus.errors import ConsensusError, Rule
from consensus.hashing import hash256
from consensus.merkle import merkle_root
from consensus.params import REGTEST, Params
from consensus.signatures import sign, verify_all
from consensus.spend_policy import policy_id
from consensus.subsidy import block_subsidy
from consensus.types import (
    AfterHeight,
    AfterTime,
    Amount,
    AssetId,
    Attestation,
    Block,
    Coin,
    Core,
    Definition,
    Header,
    Key,
    LockId,
    NewAsset,
    Older,
    Opaque,
    OutPoint,
    Output,
    Policy,
    Preimage,
    SupplyKind,
    Threshold,
    Transaction,
    Witness,
    WTxId,
)
from consensus.validation import check_block, check_header
from tests.support.assets import Book, apply, asset_core, carry, define, hold, new_id
from tests.support.chain import ChainBuilder, reward_of
from tests.support.rules import coinbase, core, find_nonce, key, lock, pay, secret

PARAMS: Params = replace(REGTEST, coinbase_maturity=5)
HEIGHT = 150
"""Of the block to come: the first whose subsidy is halved."""
VALUE = 1_000_000_000
"""Grain of each coin; encoded it takes five bytes that appear nowhere else."""
FEE = 10_000
ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
PREIMAGE = b"p" * 32
HIDDEN = Opaque(LockId(bytes(32)))


def nested(levels: int) -> Policy:
    return key(1) if levels == 1 else Threshold(1, (nested(levels - 1),))


def of_nodes(count: int) -> Policy:
    def inner(n: int) -> Policy:
        return Threshold(1, (key(n), *[HIDDEN] * 15))

    return Threshold(4, (inner(1), inner(2), inner(3), Threshold(1, (key(4), *[HIDDEN] * (count - 54)))))


POLICIES: dict[str, Policy] = {
    "one key": key(1),
    "two keys": Threshold(2, (key(1), key(2))),
    "a preimage": Threshold(2, (key(1), Preimage(sha256(PREIMAGE).digest()))),
    "height": Threshold(2, (key(1), AfterHeight(HEIGHT + 1))),
    "age": Threshold(2, (key(1), Older(HEIGHT))),
    "five levels": nested(5),
    "65 nodes": of_nodes(65),
    "threshold 0": Threshold(0, (HIDDEN, HIDDEN)),
    "threshold 2 of 1": Threshold(2, (key(1),)),
    "one key twice": Threshold(2, (key(1), key(1))),
    "uncompressed prefix": Key(b"\x04" + key(1).key[1:]),
    "hybrid prefix": Key(b"\x06" + key(1).key[1:]),
    "x at the prime": Key(b"\x02" + (2**256 - 2**32 - 977).to_bytes(32, "big")),
    "off the curve": Key(b"\x02" + (5).to_bytes(32, "big")),
    "opaque": Opaque(policy_id(key(1))),
}

RESERVE = 50
ASSETS: dict[str, Definition] = {
    "hours": define(SupplyKind.REISSUABLE, 100),
    "a work": define(content=bytes(32)),
    "won": define(SupplyKind.RESERVED, auditor=lock(9)),
    "a share": define(first=10, controller=lock(3)),
}
"""What is issued on the stage; the reserve of the won is attested, and nothing of it issued yet."""


class Stage:
    """A chain of 149 blocks with a coin for each policy, and what it takes to make bad children of its tip."""

    def __init__(self) -> None:
        self.chain = ChainBuilder(PARAMS)
        first = self.chain.mine_chain(None, 20)
        policies = dict(POLICIES) | {"spare": key(1), "spare too": key(1)}
        made = [Output(Amount(VALUE), policy_id(each), None) for each in policies.values()]
        rewards = [reward_of(block) for block in first[:4]]
        change = 4 * block_subsidy(PARAMS, 1) - len(made) * VALUE - FEE
        funding = self.chain.spend(first[-1], rewards, [*made, pay(1, change)])
        self.coins = {name: OutPoint(funding.txid, place) for place, name in enumerate(policies)}
        block = self.chain.mine(first[-1], [funding])
        self.assets: dict[str, AssetId] = {}
        self.carriers: dict[str, OutPoint] = {}
        """The coin that carries an asset, or the authority over it."""
        blocks = [block, *self._issue(block, reward_of(first[4]))]
        self.trunk = [*first, *blocks, *self.chain.mine_chain(blocks[-1], HEIGHT - 1 - 20 - len(blocks))]
        self.tip = self.chain.state(self.trunk[-1])
        self.late = Threshold(2, (key(1), AfterTime(self.tip.median_time + 1)))

    def _issue(self, parent: Block, source: OutPoint) -> list[Block]:
        """Blocks in which each of `ASSETS` is issued, all to key 1, and a reserve is attested for the won."""
        definitions = list(ASSETS.values())
        ids = {name: new_id([source], each, place) for place, (name, each) in enumerate(ASSETS.items())}
        carried = {name: hold(1, ids[name], each.first_amount) for name, each in ASSETS.items() if each.first_amount}
        rights = {name: hold(1, authority_id(ids[name])) for name, each in ASSETS.items() if each.supply_kind}
        outputs = [pay(1, block_subsidy(PARAMS, 1) - FEE), *carried.values(), *rights.values()]
        issue = self._carried(parent, asset_core([source], outputs, map(NewAsset, definitions)))
        block = self.chain.mine(parent, [issue])
        names = [*carried, *(f"the right to {name}" for name in rights)]
        self.carriers = {name: OutPoint(issue.txid, place) for place, name in enumerate(names, 1)}
        self.assets = ids
        rest = [pay(1, block_subsidy(PARAMS, 1) - 2 * FEE)]
        attest = asset_core([OutPoint(issue.txid, 0)], rest, [Attestation(ids["won"], 1, Amount(RESERVE))])
        return [block, self.chain.mine(block, [self._carried(block, attest)])]

    def _carried(self, parent: Block, unsigned: Core) -> Transaction:
        coins = self.chain.coins(parent)
        return carry({name: coins[name] for name in unsigned.inputs}, unsigned, self.book(parent), params=PARAMS)

    def book(self, block: Block | None = None) -> Book:
        """The records of assets at the tip, or after another block."""
        return self.chain.assets(self.trunk[-1] if block is None else block)

    def carry(self, unsigned: Core) -> Transaction:
        """Sign for all coins at the tip, and approve where the rules ask for it."""
        return self._carried(self.trunk[-1], unsigned)

    def spent(self, *names: str) -> list[Output]:
        coins = self.chain.coins(self.trunk[-1])
        return [coins[self.coins[name]].output for name in names]

    def unsigned(self, *names: str, outputs: Sequence[Output] | None = None, version: int = 1) -> Core:
        paid = [pay(2, len(names) * VALUE - FEE)] if outputs is None else outputs
        return core([self.coins[name] for name in names], paid, b"memo", version)

    def sign(self, unsigned: Core, *names: str, params: Params = PARAMS) -> Transaction:
        """Satisfy each coin's policy, by the book or not: a signature for each revealed key, then preimages."""
        message = spend_message(params.genesis_hash, unsigned, self.spent(*names))
        return Transaction(
            unsigned, tuple(self.witness(POLICIES.get(name, key(1)), message) for name in dict.fromkeys(names))
        )

    def witness(self, policy: Policy, message: bytes) -> Witness:
        digest = lock_digest(message, policy_id(policy))
        return Witness(policy, tuple(self._satisfy(policy, digest)))

    def _satisfy(self, policy: Policy, digest: bytes) -> list[bytes]:
        match policy:
            case Key():
                known = [n for n in range(1, 17) if key(n).key == policy.key]
                return [sign(secret(known[0] if known else 1), digest)]
            case Preimage():
                return [PREIMAGE]
            case Threshold(_, children):
                return [each for child in children for each in self._satisfy(child, digest)]
            case _:
                return []

    def spend(self, *names: str) -> Transaction:
        return self.sign(self.unsigned(*names), *names)

    def altered(self, name: str, alter: Callable[[bytes], bytes]) -> bytes:
        """A spend of one coin with its first satisfaction altered after signing."""
        tx = self.spend(name)
        (witness,) = tx.witnesses
        given = (alter(witness.satisfactions[0]), *witness.satisfactions[1:])
        return Transaction(tx.core, (Witness(witness.policy, given),)).encoded

    def reward(self, more: int = 0, height: int = HEIGHT, memo: bytes = b"the coinbase of a bad block") -> Transaction:
        return coinbase(height, [pay(1, block_subsidy(PARAMS, HEIGHT) + more)], memo)

    def header(self, raws: Sequence[bytes], *, time: int | None = None, bits: int | None = None) -> Header:
        root = merkle_root([WTxId(hash256(raw)) for raw in raws])
        moment = self.tip.median_time + 1 if time is None else time
        return find_nonce(Header(1, self.tip.hash, root, moment, PARAMS.start_bits if bits is None else bits, 0))

    def body(self, header: Header, raws: Sequence[bytes]) -> bytes:
        """A block of exactly these bytes, whatever they are."""
        count = bytes([0x90 + len(raws)]) if len(raws) < 16 else b"\xdc" + len(raws).to_bytes(2, "big")
        return b"\x92\xc4\x50" + header.encoded + count + b"".join(raws)

    def good_block(self) -> Block:
        """What the chain goes on with, after all that was refused."""
        header = self.header([self.reward().encoded])
        return Block(header, (self.reward(),))


def coins_of(stage: Stage) -> dict[OutPoint, Coin]:
    """All coins at the tip of the stage."""
    return dict(stage.chain.coins(stage.trunk[-1]))


def verdict(stage: Stage, raw: bytes) -> Rule | None:
    """All checks of a block on the tip, in the order in which a node makes them; the rule that it breaks, if any."""
    try:
        block = decode_block(raw)
        check_header(PARAMS, block.header, stage.tip)
        check_block(PARAMS, block)
        checks = apply(PARAMS, stage.tip, block, coins_of(stage), stage.book()).checks
    except ConsensusError as error:
        return error.rule
    return None if verify_all(checks) is None else Rule.BAD_SIGNATURE
