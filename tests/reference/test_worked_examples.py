"""The examples of docs/protocol.md, read from the page and held against both implementations."""

from __future__ import annotations

import re

from consensus import assets, codec
from consensus.address import encode_address
from consensus.apply import apply_block
from consensus.merkle import merkle_proof, merkle_root, proves
from consensus.params import NETWORKS, REGTEST
from consensus.pow import Anchor, next_bits
from consensus.signatures import verify_all
from consensus.spend_policy import policy_id
from consensus.state import ChainState, SpendContext, genesis_state
from consensus.types import Coin, LockId, NewAsset, OutPoint, TxId
from consensus.validation import check_block, check_header, check_spends, check_transaction
from tests.reference import blocks, headers, policies, transactions
from tests.reference.assets import asset_id, authority_id
from tests.reference.chain import NETWORKS as REFERENCES
from tests.reference.chain import REGTEST as NETWORK
from tests.reference.chain import Chain, genesis_header
from tests.reference.chain import state_hash as reference_state_hash
from tests.reference.encoding import decode, encode, hash256, tagged
from tests.reference.records import Coin as ReferenceCoin
from tests.reference.records import State
from tests.support.assets import records_for
from tests.support.chain import state_hash
from tests.support.repository import ROOT
from tests.support.rules import key
from wallet.messages import message_digest

PAGE = (ROOT / "docs" / "protocol.md").read_text()


def read_examples() -> dict[str, bytes]:
    """Return the hex of the page's last section, by name."""
    listing = PAGE.partition("## Worked examples")[2].partition("```text\n")[2].partition("```")[0]
    entries = re.findall(r"^(\S.*)\n((?:    [0-9a-f]+\n)+)", listing, re.MULTILINE)
    return {name: bytes.fromhex("".join(lines.split())) for name, lines in entries}


EXAMPLES = read_examples()
SPENT = (bytes(range(32)), 7)
HEIGHT = 5


def test_the_page_has_every_example() -> None:
    assert len(EXAMPLES) == 24


def test_the_reference_finds_what_the_page_shows() -> None:
    policy, revealed = (decode(EXAMPLES[name]) for name in ("policy", "revealed policy"))
    assert policy == [5, 1, [[0, key(1).key], [2, 100]]]
    for each in (policy, revealed):
        assert isinstance(each, list)
        policies.check_shape(each)
        assert policies.policy_id(each) == EXAMPLES["policy id"]
    assert policies.policy_id([0, key(2).key]) == EXAMPLES["controller"]
    assert genesis_header(NETWORK).id == EXAMPLES["genesis id"]

    tx = transactions.decode_transaction(EXAMPLES["transaction"])
    transactions.check_alone(NETWORK, tx)
    assert (encode(tx.core), tx.txid, tx.wtxid) == (EXAMPLES["core"], EXAMPLES["txid"], EXAMPLES["wtxid"])
    assert encode(tx.issuances[0][1]) == EXAMPLES["definition"]
    assert asset_id(tx, 0) == EXAMPLES["asset id"]
    assert authority_id(EXAMPLES["asset id"]) == EXAMPLES["authority id"]
    coin = ReferenceCoin(1_000_000, EXAMPLES["policy id"], None, 4, False)
    assert encode([coin.value, coin.lock, coin.asset]) == EXAMPLES["spent output"]
    message = transactions.message(EXAMPLES["genesis id"], tx, [coin])
    assert message == EXAMPLES["message"]
    assert tagged("dure/sign", message + coin.lock) == EXAMPLES["digest"]
    approved = tagged("dure/approve", message + EXAMPLES["asset id"] + EXAMPLES["controller"])
    assert approved == EXAMPLES["approval digest"]

    state = State({SPENT: coin}, {})
    fee = transactions.apply_transaction(NETWORK, EXAMPLES["genesis id"], tx, state, HEIGHT, 0)
    assert fee == 1_000
    assert reference_state_hash(state) == EXAMPLES["state hash after the transaction"]

    coinbase = blocks.read_block(EXAMPLES["block"]).transactions[0]
    root = blocks.merkle_root([coinbase.wtxid, tx.wtxid])
    assert root == EXAMPLES["Merkle root of the coinbase and the transaction"]
    proof = encode([decode(tx.raw), 1, 2, [coinbase.wtxid]])
    assert proof == EXAMPLES["Merkle proof of the transaction"]
    assert blocks.check_proof(proof, root).wtxid == tx.wtxid
    said = tagged("dure/message", encode([EXAMPLES["genesis id"], "두레".encode()]))
    assert said == EXAMPLES["digest of a signed message"]

    chain = Chain(NETWORK)
    assert chain.add_header(EXAMPLES["header"]) == chain.add_block(EXAMPLES["block"]) == "accept"
    assert hash256(EXAMPLES["header"]) == EXAMPLES["block id"] == chain.tip.header.id
    assert reference_state_hash(chain.state) == EXAMPLES["state hash after the block"]


def test_consensus_finds_what_the_page_shows() -> None:
    for name in ("policy", "revealed policy"):
        assert policy_id(codec.decode_policy(EXAMPLES[name])) == EXAMPLES["policy id"]
    assert policy_id(key(2)) == EXAMPLES["controller"]
    assert REGTEST.genesis_hash == EXAMPLES["genesis id"]

    tx = codec.decode_transaction(EXAMPLES["transaction"])
    check_transaction(REGTEST, tx)
    assert (codec.encode(tx.core), tx.txid, tx.wtxid) == (EXAMPLES["core"], EXAMPLES["txid"], EXAMPLES["wtxid"])
    issuance = tx.core.issuances[0]
    assert isinstance(issuance, NewAsset)
    assert codec.encode(issuance.definition) == EXAMPLES["definition"]
    asset = assets.asset_id(tx.core.inputs[0], 0, issuance.definition)
    assert asset == EXAMPLES["asset id"]
    assert assets.authority_id(asset) == EXAMPLES["authority id"]
    coin = codec.decode_coin(codec.encode((decode(EXAMPLES["spent output"]), 4, False)))
    message = codec.spend_message(REGTEST.genesis_hash, tx.core, [coin.output])
    assert message == EXAMPLES["message"]
    assert codec.lock_digest(message, coin.output.lock) == EXAMPLES["digest"]
    assert codec.approval_digest(message, asset, LockId(EXAMPLES["controller"])) == EXAMPLES["approval digest"]

    spent = {OutPoint(TxId(SPENT[0]), SPENT[1]): coin}
    effects = assets.asset_effects(tx, spent, records_for([tx], spent.values(), {}))
    checks = check_spends(REGTEST, SpendContext(HEIGHT, 0), tx, spent, effects.approvals)
    assert len(checks) == 2
    assert verify_all(checks) is None
    left = {OutPoint(tx.txid, index): Coin(output, HEIGHT, False) for index, output in enumerate(tx.core.outputs)}
    assert state_hash(left, effects.records) == EXAMPLES["state hash after the transaction"]

    block = codec.decode_block(EXAMPLES["block"])
    assert (block.header.encoded, block.hash) == (EXAMPLES["header"], EXAMPLES["block id"])
    check_block(REGTEST, block)
    both = [block.transactions[0], tx]
    proof = merkle_proof(both, 1)
    assert codec.encode(proof) == EXAMPLES["Merkle proof of the transaction"]
    root = merkle_root([each.wtxid for each in both])
    assert root == EXAMPLES["Merkle root of the coinbase and the transaction"]
    assert proves(proof, root)
    assert message_digest(REGTEST, "두레") == EXAMPLES["digest of a signed message"]
    address = encode_address(REGTEST, LockId(EXAMPLES["policy id"]))
    assert f"The address of the policy's lock is `{address}`." in PAGE

    parent: ChainState = genesis_state(REGTEST)
    check_header(REGTEST, block.header, parent)
    applied = apply_block(REGTEST, parent, block, {}, {})
    assert state_hash(applied.delta.created) == EXAMPLES["state hash after the block"]


def test_both_find_the_bits_that_the_page_shows() -> None:
    rows = re.findall(
        r"^\| (main|local) \| ([0-9a-f]{8}) \| (-?\d+) \| (\d+) \| ([0-9a-f]{8}) \| (stays|moves) \|$",
        PAGE,
        re.MULTILINE,
    )
    assert len(rows) == 12
    for name, anchored, seconds, blocks_between, bits, anchor in rows:
        params, first = NETWORKS[name], Anchor(1, 1_800_000_000, int(anchored, 16))
        height, time = 1 + int(blocks_between), first.time + int(seconds)
        moved = Anchor(height, time, params.limit_bits)
        expected = (int(bits, 16), moved if anchor == "moves" else first)
        assert next_bits(params, first, height, time) == expected
        place = headers.Place(
            headers.read_header(bytes(68) + time.to_bytes(4, "little") + bytes(8)),
            height,
            [time],
            0,
            headers.Anchor(first.height, first.time, headers.target_at(first.bits)),
        )
        found, anew = headers.next_bits(REFERENCES[name], place)
        assert (found, anew is not None) == (int(bits, 16), anchor == "moves")
    assert {anchor for *_, anchor in rows} == {"stays", "moves"}
