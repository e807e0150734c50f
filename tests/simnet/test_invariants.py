"""The model of the chain is a judge of its own: whatever a broken rule would let through, it names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import pytest
from msgspec.structs import replace

from consensus.assets import authority_id
from consensus.params import REGTEST
from consensus.types import (
    Amount,
    AssetId,
    Attestation,
    Block,
    Core,
    NewAsset,
    OutPoint,
    Output,
    Reissue,
    SupplyKind,
    Transaction,
    Witness,
)
from node.storage.chain_store import ChainStore
from node.storage.memory_store import MemoryDatabase
from node.storage.schema import TABLES
from simnet.errors import InvariantBroken
from simnet.invariants import ChainModel
from tests.support.assets import asset_core, carry, define, hold, new_id
from tests.support.chain import ChainBuilder, reward_of, state_hash
from tests.support.rules import key, lock, pay

PARAMS = replace(REGTEST, coinbase_maturity=2)
WORK = define(content=bytes(32))
TOKEN = define(SupplyKind.REISSUABLE, 100)
SHARE = define(first=50, controller=lock(3))
WON = define(SupplyKind.RESERVED)


class World(NamedTuple):
    """A chain on which key 1 has one asset of each kind: 1 work, 100 tokens, 50 shares, 80 of 90 attested won."""

    chain: ChainBuilder
    blocks: list[Block]
    work: AssetId
    token: AssetId
    share: AssetId
    won: AssetId
    coins: dict[AssetId | None, OutPoint]
    """Where each is."""
    rest: int
    """Grain of the coin in DURE."""

    @property
    def tip(self) -> Block:
        return self.blocks[-1]

    def core(
        self,
        spent: Sequence[AssetId],
        outputs: Sequence[Output],
        issuances: Sequence[NewAsset | Reissue | Attestation] = (),
        burns: dict[AssetId, int] | None = None,
    ) -> Core:
        """A core that spends the coins of some assets, and one in DURE, all of which comes back."""
        inputs = [self.coins[name] for name in spent] + [self.coins[None]]
        return asset_core(inputs, [*outputs, pay(1, self.rest)], issuances, burns)

    def sign(self, core: Core) -> Transaction:
        coins = self.chain.coins(self.tip)
        return carry({name: coins[name] for name in core.inputs}, core, self.chain.assets(self.tip), params=PARAMS)


def world() -> World:
    chain = ChainBuilder(PARAMS)
    blocks = chain.mine_chain(None, 6)
    source = reward_of(blocks[0])
    rest = chain.coins(blocks[-1])[source].output.value
    kinds = (WORK, TOKEN, SHARE, WON)
    work, token, share, won = (new_id([source], each, place) for place, each in enumerate(kinds))
    outputs = [hold(1, work), hold(1, token, 100), hold(1, share, 50), hold(1, authority_id(token))]
    outputs += [hold(1, authority_id(won)), pay(1, rest)]
    made = World(chain, blocks, work, token, share, won, {None: source}, rest)
    born = made.sign(asset_core([source], outputs, map(NewAsset, kinds)))
    blocks.append(chain.mine(blocks[-1], [born]))
    made.coins.update({output.asset: OutPoint(born.txid, i) for i, output in enumerate(outputs)})
    right = authority_id(won)
    core = made.core(
        [right], [hold(1, right), hold(1, won, 80)], [Attestation(won, 1, Amount(90)), Reissue(won, Amount(80))]
    )
    issued = made.sign(core)
    blocks.append(chain.mine(blocks[-1], [issued]))
    made.coins.update({output.asset: OutPoint(issued.txid, i) for i, output in enumerate(core.outputs)})
    return made


def followed(made: World) -> ChainModel:
    """The model, after all blocks."""
    model = ChainModel(PARAMS)
    for block in made.blocks:
        model.add(block)
    return model


def test_the_model_agrees_with_the_rules_on_assets_of_every_kind() -> None:
    made = world()
    state = followed(made).states[made.tip.hash]
    assert state.coins == made.chain.coins(made.tip)
    assert {name: asset.record for name, asset in state.assets.items()} == made.chain.assets(made.tip)
    assert followed(made).state_hash(made.tip.hash) == state_hash(state.coins, made.chain.assets(made.tip))


VALID: dict[str, Callable[[World], Core]] = {
    "a transfer": lambda w: w.core([w.token], [hold(2, w.token, 60), hold(1, w.token, 40)]),
    "a controlled transfer": lambda w: w.core([w.share], [hold(2, w.share, 50)]),
    "a burn": lambda w: w.core([w.won], [hold(1, w.won, 30)], burns={w.won: 50}),
    "a closing": lambda w: w.core([authority_id(w.token)], [], burns={authority_id(w.token): 1}),
    "the whole reserve": lambda w: w.core(
        [authority_id(w.won)], [hold(1, authority_id(w.won)), hold(1, w.won, 10)], [Reissue(w.won, Amount(10))]
    ),
    "a smaller reserve": lambda w: w.core([], [], [Attestation(w.won, 2, Amount(1))]),
}

BROKEN: dict[str, tuple[str, Callable[[World], Core]]] = {
    "inflated": ("pays 101", lambda w: w.core([w.token], [hold(1, w.token, 101)])),
    "from nothing": ("spends 0, creates 0, pays 5", lambda w: w.core([], [hold(1, w.token, 5)])),
    "lost without a burn": ("pays 99", lambda w: w.core([w.token], [hold(1, w.token, 99)])),
    "a work in two places": ("spends 1, creates 0, pays 2", lambda w: w.core([w.work], [hold(1, w.work)] * 2)),
    "an authority in two places": (
        "pays 2",
        lambda w: w.core([authority_id(w.won)], [hold(1, authority_id(w.won))] * 2),
    ),
    "issued without authority": (
        "without the authority",
        lambda w: w.core([], [hold(1, w.token, 5)], [Reissue(w.token, Amount(5))]),
    ),
    "more of a fixed asset": (
        "without the authority",
        lambda w: w.core([w.work], [hold(1, w.work, 2)], [Reissue(w.work, Amount(1))]),
    ),
    "one above the reserve": (
        "91 were issued, and a reserve of 90",
        lambda w: w.core(
            [authority_id(w.won)], [hold(1, authority_id(w.won)), hold(1, w.won, 11)], [Reissue(w.won, Amount(11))]
        ),
    ),
    "an old attestation": ("came after 1", lambda w: w.core([], [], [Attestation(w.won, 1, Amount(10**6))])),
    "a reserve of a token": ("what has none", lambda w: w.core([], [], [Attestation(w.token, 1, Amount(10))])),
    "uninvited in a collection": (
        "uninvited",
        lambda w: w.core([], [], [NewAsset(define(collection=w.token))]),
    ),
    "a reserved asset with a supply": (
        "began with a supply",
        lambda w: w.core([], [], [NewAsset(replace(WON, first_amount=Amount(1)))]),
    ),
    "more DURE than spent": ("more than it spends", lambda w: asset_core([w.coins[None]], [pay(1, w.rest + 1)])),
}


@pytest.mark.parametrize("name", VALID)
def test_the_model_lets_pass_what_is_valid(name: str) -> None:
    made = world()
    block = made.chain.mine(made.tip, [made.sign(VALID[name](made))])
    state = followed(made).add(block)
    assert {each: asset.record for each, asset in state.assets.items()} == made.chain.assets(block)


@pytest.mark.parametrize("name", BROKEN)
def test_the_model_names_what_a_broken_rule_would_let_through(name: str) -> None:
    """A067, A068, A071, A073, A075"""
    made = world()
    why, core = BROKEN[name]
    block = made.chain.mine(made.tip, [made.sign(core(made))], valid=False, reward=50 * 10**8)
    with pytest.raises(InvariantBroken, match=why):
        followed(made).add(block)


def test_the_model_wants_the_signature_of_whoever_has_to_approve() -> None:
    made = world()
    moved = made.sign(made.core([made.share], [hold(2, made.share, 50)]))
    approval = moved.witnesses[-1]
    bent = Witness(approval.policy, (approval.satisfactions[0][:-1] + b"\x01",))
    ways = {
        "1 witnesses, for 1 locks and 1 approvals": moved.witnesses[:1],
        "another's": (*moved.witnesses[:1], replace(approval, policy=key(4))),
        "does not hold": (*moved.witnesses[:1], bent),
    }
    for why, witnesses in ways.items():
        tx = Transaction(moved.core, tuple(witnesses))
        block = made.chain.mine(made.tip, [tx], valid=False, reward=50 * 10**8)
        with pytest.raises(InvariantBroken, match=why):
            followed(made).add(block)
    followed(made).add(made.chain.mine(made.tip, [moved]))


def test_a_record_that_differs_from_the_model_is_named() -> None:
    """A075: though all coins are right."""
    model = ChainModel(PARAMS)
    store = ChainStore(MemoryDatabase(TABLES), PARAMS)
    model.check("a", store, PARAMS.genesis_hash)
    made = world()
    state = followed(made).states[made.tip.hash]
    model.states[PARAMS.genesis_hash] = type(state)(0, state.hash, state.hash, {}, state.assets, 0, 0, ())
    with pytest.raises(InvariantBroken, match="other records of assets"):
        model.check("a", store, PARAMS.genesis_hash)
