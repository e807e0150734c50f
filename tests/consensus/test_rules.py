"""The promise of `Rule`: for each member, two blocks that differ in one thing, one valid and one that breaks it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from typing import NamedTuple

import pytest
from msgspec.structs import replace

from consensus.assets import authority_id
from consensus.codec import MAX_BLOCK_SIZE, decode_block, lock_digest, spend_message
from consensus.errors import ConsensusError, Rule
from consensus.merkle import merkle_root
from consensus.params import REGTEST
from consensus.pow import target_from_bits
from consensus.signatures import sign, verify_all
from consensus.spend_policy import policy_id
from consensus.state import ChainState, genesis_state
from consensus.subsidy import block_subsidy
from consensus.types import (
    MAX_INTEGER,
    MAX_MEMO,
    MAX_TRANSACTION_SIZE,
    NULL_TXID,
    AfterHeight,
    AfterTime,
    Amount,
    Asset,
    AssetId,
    Attestation,
    Block,
    BlockHash,
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
    Pays,
    Policy,
    Preimage,
    Reissue,
    SupplyKind,
    Threshold,
    Transaction,
    Witness,
)
from consensus.validation import MAX_BLOCK_SIGNATURES, check_block, check_header
from tests.consensus.told import TOLD
from tests.support.assets import Book, apply, asset_core, carry, define, hold, holding, new_id
from tests.support.rules import (
    SECRETS,
    coin,
    coinbase,
    core,
    find_nonce,
    key,
    lock,
    mine,
    outpoint,
    pay,
    quick_sign,
    spend,
    witnesses_for,
)

HEIGHT = 200
TIME = 1_800_000_000
PARENT = ChainState(HEIGHT - 1, genesis_state(REGTEST).hash, (TIME,), 1, None)
OUT = outpoint(7)
COINS = {OUT: coin(1, 100)}
PAYMENT = spend(COINS, [pay(2, 100)])
PLAIN = core([OUT], [pay(2, 100)])
OPEN = AfterHeight(0)
"""A policy that anyone can spend, without a signature."""
OUTPUT_SIZE = 37
"""Encoded, of an output with a small value."""
HIDDEN = Opaque(LockId(bytes(32)))
PREIMAGE = b"p" * 32
HASHED = Preimage(sha256(PREIMAGE).digest())

Coins = Mapping[OutPoint, Coin]


class Case(NamedTuple):
    """A block as received, after `PARENT`, and the coins and assets that were there before it."""

    raw: bytes
    coins: Coins
    assets: Book = {}  # noqa: RUF012 - never written to


def refusal(case: Case) -> ConsensusError | None:
    """All checks of a block, in the order in which a node makes them."""
    try:
        block = decode_block(case.raw)
        check_header(REGTEST, block.header, PARENT)
        check_block(REGTEST, block)
        checks = apply(REGTEST, PARENT, block, case.coins, case.assets).checks
    except ConsensusError as error:
        return error
    return None if verify_all(checks) is None else ConsensusError(Rule.BAD_SIGNATURE)


def block(*transactions: Transaction, coins: Coins = COINS) -> Case:
    return Case(mine(REGTEST, PARENT, transactions).encoded, coins)


def exactly(*transactions: Transaction) -> Case:
    """A block of these transactions, without a coinbase of ours."""
    root = merkle_root([tx.wtxid for tx in transactions])
    header = find_nonce(Header(1, PARENT.hash, root, TIME + 1, REGTEST.start_bits, 0))
    return Case(Block(header, transactions).encoded, COINS)


def headed(
    previous: bytes = PARENT.hash, root: bytes | None = None, time: int = TIME + 1, bits: int = REGTEST.start_bits
) -> Case:
    """A block with nothing but a coinbase, its work done for a header as given."""
    reward = coinbase(HEIGHT)
    header = Header(1, BlockHash(previous), reward.wtxid if root is None else root, time, bits, 0)
    return Case(Block(find_nonce(header), (reward,)).encoded, COINS)


def opened(policy: Policy, *satisfactions: bytes, locked: Policy | None = None, outputs: Sequence[Output] = ()) -> Case:
    """A block with one transaction, which spends a coin at `locked` by revealing `policy`; nothing is signed."""
    coins = {OUT: Coin(Output(Amount(100), policy_id(locked or policy), None), 100, False)}
    tx = Transaction(core([OUT], outputs or [pay(2, 90)]), (Witness(policy, satisfactions),))
    return block(tx, coins=coins)


def signed(policy: Policy, change: Callable[[tuple[bytes, ...]], tuple[bytes, ...]] = lambda given: given) -> Case:
    """As `opened`, with every signature in its place, before they are changed."""
    coins = {OUT: Coin(Output(Amount(100), policy_id(policy), None), 100, False)}
    tx = spend(coins, [pay(2, 90)], {policy_id(policy): policy})
    (witness,) = tx.witnesses
    return block(Transaction(tx.core, (Witness(policy, change(witness.satisfactions)),)), coins=coins)


def hand_signed(*keys: Key) -> Case:
    """A block that spends a coin of all of these keys, with a signature for each, whether or not it may be."""
    policy = Threshold(len(keys), keys)
    made = Output(Amount(100), policy_id(policy), None)
    message = spend_message(REGTEST.genesis_hash, PLAIN, [made])
    given = tuple(sign(SECRETS[b"\x02" + each.key[1:]], lock_digest(message, made.lock)) for each in keys)
    return block(Transaction(PLAIN, (Witness(policy, given),)), coins={OUT: Coin(made, 1, False)})


def paying(unsigned: Core, coins: Coins = COINS) -> Case:
    """A block with one transaction of this core, signed."""
    spent = [coins[each].output for each in unsigned.inputs]
    return block(Transaction(unsigned, witnesses_for(spent, unsigned)), coins=coins)


# One function for each rule whose two blocks take more than a line to make


def work() -> tuple[Case, Case]:
    good = decode_block(headed().raw)
    for nonce in range(1_000):
        header = Header(1, PARENT.hash, good.header.merkle_root, TIME + 1, REGTEST.start_bits, nonce)
        if int.from_bytes(header.hash, "little") > target_from_bits(header.bits):
            return headed(), Case(Block(header, good.transactions).encoded, COINS)
    raise AssertionError("every nonce does")


def block_size() -> tuple[Case, Case]:
    """A017: a valid block of exactly 4 MiB, and one byte more in the memo of its coinbase."""
    out = Output(Amount(1), policy_id(OPEN), None)
    coins = {outpoint(n): Coin(Output(Amount(5_000), out.lock, None), 1, False) for n in range(1, 30)}

    def sized(last: int, memo: int) -> Case:
        counts = [4_000] * 28 + [last]
        txs = [
            Transaction(core([name], [out] * count), (Witness(OPEN, ()),))
            for name, count in zip(coins, counts, strict=True)
        ]
        return Case(exactly(coinbase(HEIGHT, memo=bytes(memo)), *txs).raw, coins)

    more, memo = divmod(MAX_BLOCK_SIZE - len(sized(100, 0).raw), OUTPUT_SIZE)
    last = 100 + more
    good, bad = sized(last, memo), sized(last, memo + 1)
    assert (len(good.raw), len(bad.raw)) == (MAX_BLOCK_SIZE, MAX_BLOCK_SIZE + 1)
    return good, bad


def tx_size() -> tuple[Case, Case]:
    """A017: a valid transaction of exactly 400,000 bytes, and one byte more in its memo."""
    wide = Threshold(1, (OPEN, *[HIDDEN] * 14))
    opening = [
        Threshold(4, (wide, wide, wide, Threshold(1, (AfterTime(70_000 + n), *[HIDDEN] * 13)))) for n in range(180)
    ]
    coins = {
        outpoint(n): Coin(Output(Amount(1_000), policy_id(each), None), 1, False)
        for n, each in enumerate(opening, start=1)
    }

    def sized(outputs: int, memo: int) -> Transaction:
        unsigned = core(list(coins), [pay(2, 1)] * outputs, bytes(memo))
        return Transaction(unsigned, tuple(Witness(each, ()) for each in opening))

    more, memo = divmod(MAX_TRANSACTION_SIZE - len(sized(100, 0).encoded), OUTPUT_SIZE)
    good, bad = sized(100 + more, memo), sized(100 + more, memo + 1)
    assert (len(good.encoded), len(bad.encoded)) == (MAX_TRANSACTION_SIZE, MAX_TRANSACTION_SIZE + 1)
    return block(good, coins=coins), block(bad, coins=coins)


def tx_size_64() -> tuple[Case, Case]:
    """A020: a coinbase of 64 bytes; with one more in its memo it is valid."""
    memos = {len(tx.encoded): tx for tx in (coinbase(HEIGHT, memo=bytes(size)) for size in range(MAX_MEMO))}
    return exactly(memos[65]), exactly(memos[64])


def block_signatures() -> tuple[Case, Case]:
    """A018: 20,000 signatures, all of them good, and one more."""
    policy = Threshold(16, tuple(key(n) for n in range(1, 17)))
    made = Output(Amount(10), policy_id(policy), None)
    txs, coins = list[Transaction](), dict[OutPoint, Coin]()
    for n in range(1, MAX_BLOCK_SIGNATURES // 16 + 1):
        unsigned = core([outpoint(n)], [pay(2, 10)])
        txs.append(Transaction(unsigned, witnesses_for([made], unsigned, {made.lock: policy}, signer=quick_sign)))
        coins[outpoint(n)] = Coin(made, 1, False)
    last = {OutPoint(outpoint(1).txid, 1): coin(1, 10)}
    return block(*txs, coins=coins), block(*txs, spend(last, [pay(2, 10)]), coins=coins | last)


def witness_count() -> tuple[Case, Case]:
    """A038: a witness too many."""
    return block(PAYMENT), block(Transaction(PAYMENT.core, PAYMENT.witnesses * 2))


def null_input() -> tuple[Case, Case]:
    """A012: the zero txid beside another input, though a coin stood there."""

    def spending(name: OutPoint) -> Case:
        coins = {OUT: coin(1, 100), name: coin(1, 5)}
        return paying(core([OUT, name], [pay(2, 100)]), coins)

    return spending(outpoint(8)), spending(OutPoint(NULL_TXID, 3))


def value_range() -> tuple[Case, Case]:
    """A004: the whole supply, and one grain more."""

    def moving(value: int) -> Case:
        return paying(core([OUT], [pay(2, value)]), {OUT: coin(1, value)})

    return moving(REGTEST.total_supply), moving(REGTEST.total_supply + 1)


def double_spend() -> tuple[Case, Case]:
    """A009: two transactions with one coin, or with one each."""
    coins = {OUT: coin(1, 100), outpoint(8): coin(1, 100)}
    first, second, again = (
        spend({name: coins[name]}, [pay(to, 90)]) for name, to in ((OUT, 2), (outpoint(8), 3), (OUT, 3))
    )
    return block(first, second, coins=coins), block(first, again, coins=coins)


def coinbase_value() -> tuple[Case, Case]:
    """A007: subsidy and fees, and one grain more."""
    tx = spend(COINS, [pay(2, 90)])
    allowed = block_subsidy(REGTEST, HEIGHT) + 10
    good, bad = (coinbase(HEIGHT, [pay(1, allowed + more)]) for more in (0, 1))
    return exactly(good, tx), exactly(bad, tx)


def born(height: int) -> Coins:
    return {OUT: coin(1, 100, height, coinbase=True)}


def nested(levels: int) -> Policy:
    return OPEN if levels == 1 else Threshold(1, (nested(levels - 1),))


def of_nodes(count: int) -> Policy:
    inner = Threshold(1, (OPEN, *[HIDDEN] * 15))
    return Threshold(4, (inner, inner, inner, Threshold(1, (OPEN, *[HIDDEN] * (count - 54)))))


GOLD = AssetId(b"g" * 32)
HELD = outpoint(9)


def carrying(unsigned: Core, coins: Coins, book: Book | None = None, policies: Sequence[Policy] = ()) -> Case:
    """A block with one transaction that carries assets, signed and approved."""
    tx = carry(coins, unsigned, book, {policy_id(each): each for each in policies})
    return Case(mine(REGTEST, PARENT, [tx]).encoded, coins, book or {})


def defining(definition: Definition, held: AssetId | None = None) -> Case:
    """A new asset, paid out whole, beside a coin of one that is handed on."""
    coins = {**COINS, **({} if held is None else {HELD: holding(1, held)})}
    made = [hold(2, new_id(coins, definition), definition.first_amount)] if definition.first_amount else []
    kept = [] if held is None else [hold(1, held)]
    return carrying(asset_core(coins, [pay(2, 90), *made, *kept], [NewAsset(definition)]), coins)


def reissuing(
    *amounts: int, supply: int = 0, kind: SupplyKind = SupplyKind.REISSUABLE, held: AssetId | None = None
) -> Case:
    """More of an asset, whose reserve is attested as 100, by who spends its authority."""
    held = held or authority_id(GOLD)
    coins = {**COINS, HELD: holding(1, held)}
    book = {GOLD: Asset(define(kind), Amount(supply), 3, Amount(100))}
    issuances = [Reissue(GOLD, Amount(amount)) for amount in amounts]
    return carrying(asset_core(coins, [hold(2, GOLD, sum(amounts)), hold(1, held)], issuances), coins, book)


def attesting(sequence: int, book: Book | None = None) -> Case:
    """An attestation after one of sequence 3; the auditor has key 9."""
    book = {GOLD: Asset(define(SupplyKind.RESERVED), Amount(0), 3, Amount(0))} if book is None else book
    return carrying(asset_core(COINS, [pay(2, 90)], [Attestation(GOLD, sequence, Amount(7))]), COINS, book)


def handing_over(amount: int) -> Case:
    """A payment of some of the 5 that the payer has, and the rest of at most 4 back."""
    coins = {HELD: holding(1, GOLD, 5)}
    return carrying(asset_core(coins, [hold(2, GOLD, amount)]), coins, {GOLD: Asset(define(), Amount(9), 0, Amount(0))})


def approving(policy: Policy) -> Case:
    """A payment of a controlled asset, approved by a policy that takes no signature."""
    book = {GOLD: Asset(define(controller=policy_id(policy)), Amount(5), 0, Amount(0))}
    coins = {HELD: holding(1, GOLD, 5)}
    return carrying(asset_core(coins, [hold(2, GOLD, 5)]), coins, book, [policy])


def burn_order() -> tuple[Case, Case]:
    """A071: two burns, with their ids ascending or not."""
    book = {AssetId(bytes([n]) * 32): Asset(define(first=5), Amount(5), 0, Amount(0)) for n in (1, 2)}
    coins = {**COINS, **{outpoint(20 + n): holding(1, name, 5) for n, name in enumerate(book)}}
    good = asset_core(coins, [pay(2, 90)], burns=dict.fromkeys(book, 5))
    bad = replace(good, burns=good.burns[::-1])
    return carrying(good, coins, book), carrying(bad, coins, book)


REWARD = coinbase(HEIGHT)

PAIRS: dict[Rule, Callable[[], tuple[Case, Case]]] = {
    Rule.MALFORMED: lambda: (headed(), Case(headed().raw + b"\0", COINS)),
    Rule.HIGH_HASH: work,
    Rule.BAD_BITS: lambda: (headed(), headed(bits=REGTEST.start_bits - 1)),
    Rule.TIME_TOO_OLD: lambda: (headed(), headed(time=TIME)),
    Rule.BAD_PREVIOUS: lambda: (headed(), headed(previous=bytes(32))),
    Rule.BLOCK_SIZE: block_size,
    Rule.MERKLE_ROOT: lambda: (headed(), headed(root=bytes(32))),
    Rule.NO_TRANSACTIONS: lambda: (headed(), Case(Block(decode_block(headed().raw).header, ()).encoded, COINS)),
    Rule.COINBASE_FIRST: lambda: (exactly(REWARD, PAYMENT), exactly(PAYMENT)),
    Rule.BLOCK_SIGNATURES: block_signatures,
    Rule.BLOCK_DOUBLE_SPEND: double_spend,
    Rule.TX_SIZE: tx_size,
    Rule.TX_SIZE_64: tx_size_64,
    Rule.TX_VERSION: lambda: (paying(PLAIN), paying(core([OUT], [pay(2, 100)], version=2))),
    Rule.NO_INPUTS: lambda: (block(PAYMENT), block(Transaction(core([], [pay(2, 1)]), ()))),
    Rule.NO_OUTPUTS: lambda: (paying(PLAIN), paying(core([OUT], []))),
    Rule.DUPLICATE_INPUT: lambda: (paying(PLAIN), paying(core([OUT, OUT], [pay(2, 100)]))),
    Rule.NULL_INPUT: null_input,
    Rule.VALUE_RANGE: value_range,
    Rule.DEFINITION_AMOUNT: lambda: (defining(define()), defining(define(first=0))),
    Rule.DEFINITION_AUDITOR: lambda: (defining(define()), defining(define(auditor=lock(9)))),
    Rule.ISSUED_TWICE: lambda: (reissuing(5), reissuing(5, 5)),
    Rule.BURN_ORDER: burn_order,
    Rule.COINBASE_SHAPE: lambda: (exactly(REWARD), exactly(Transaction(REWARD.core, (Witness(OPEN, ()),)))),
    Rule.COINBASE_HEIGHT: lambda: (exactly(REWARD), exactly(coinbase(HEIGHT + 1))),
    Rule.COINBASE_VALUE: coinbase_value,
    Rule.MISSING_COIN: lambda: (block(PAYMENT), block(PAYMENT, coins={})),
    Rule.IMMATURE_SPEND: lambda: (block(PAYMENT, coins=born(100)), block(PAYMENT, coins=born(101))),
    Rule.IN_BELOW_OUT: lambda: (paying(PLAIN), paying(core([OUT], [pay(2, 101)]))),
    Rule.UNKNOWN_ASSET: lambda: (attesting(4), attesting(4, book={})),
    Rule.NOT_RESERVED: lambda: (attesting(4), attesting(4, book={GOLD: Asset(define(), Amount(1), 3, Amount(0))})),
    Rule.ATTESTATION_SEQUENCE: lambda: (attesting(4), attesting(3)),
    Rule.NO_AUTHORITY: lambda: (reissuing(5), reissuing(5, held=AssetId(b"x" * 32))),
    Rule.SUPPLY_RANGE: lambda: (reissuing(5, supply=MAX_INTEGER - 5), reissuing(5, supply=MAX_INTEGER - 4)),
    Rule.ABOVE_RESERVE: lambda: (
        reissuing(5, kind=SupplyKind.RESERVED, supply=95),
        reissuing(5, kind=SupplyKind.RESERVED, supply=96),
    ),
    Rule.COLLECTION_AUTHORITY: lambda: (
        defining(define(collection=GOLD), held=authority_id(GOLD)),
        defining(define(collection=GOLD), held=authority_id(AssetId(b"x" * 32))),
    ),
    Rule.ASSET_CONSERVATION: lambda: (handing_over(5), handing_over(6)),
    Rule.APPROVAL_LEAF: lambda: (approving(AfterHeight(1)), approving(Older(1))),
    Rule.WITNESS_COUNT: witness_count,
    Rule.POLICY_MISMATCH: lambda: (opened(OPEN), opened(OPEN, locked=AfterHeight(1))),
    Rule.POLICY_KEY: lambda: (hand_signed(key(1)), hand_signed(Key(b"\x04" + key(1).key[1:]))),
    Rule.POLICY_THRESHOLD: lambda: (opened(Threshold(1, (OPEN, HIDDEN))), opened(Threshold(0, (HIDDEN, HIDDEN)))),
    Rule.POLICY_DEPTH: lambda: (opened(nested(4)), opened(nested(5))),
    Rule.POLICY_NODES: lambda: (opened(of_nodes(64)), opened(of_nodes(65))),
    Rule.POLICY_OPAQUE_ROOT: lambda: (opened(OPEN), opened(Opaque(policy_id(OPEN)))),
    Rule.POLICY_REVEALED: lambda: (opened(Threshold(1, (OPEN, HIDDEN))), opened(Threshold(1, (OPEN, OPEN)))),
    Rule.POLICY_DUPLICATE_KEY: lambda: (hand_signed(key(1), key(2)), hand_signed(key(1), key(1))),
    Rule.SATISFACTION_COUNT: lambda: (signed(key(1)), signed(key(1), lambda given: given * 2)),
    Rule.SATISFACTION_SIZE: lambda: (signed(key(1)), signed(key(1), lambda given: (given[0] + b"\0",))),
    Rule.BAD_SIGNATURE: lambda: (signed(key(1)), signed(key(1), lambda given: (given[0][:63] + b"\0",))),
    Rule.BAD_PREIMAGE: lambda: (opened(HASHED, PREIMAGE), opened(HASHED, b"q" * 32)),
    Rule.AFTER_HEIGHT: lambda: (opened(AfterHeight(HEIGHT)), opened(AfterHeight(HEIGHT + 1))),
    Rule.AFTER_TIME: lambda: (opened(AfterTime(TIME)), opened(AfterTime(TIME + 1))),
    Rule.OLDER: lambda: (opened(Older(HEIGHT - 100)), opened(Older(HEIGHT - 99))),
    Rule.PAYS: lambda: (
        opened(Pays(lock(2)), outputs=[pay(2, 100)]),
        opened(Pays(lock(2)), outputs=[pay(2, 99)]),
    ),
}


@pytest.mark.parametrize("rule", PAIRS, ids=str)
def test_one_difference_breaks_one_rule(rule: Rule) -> None:
    good, bad = PAIRS[rule]()
    assert refusal(good) is None
    refused = refusal(bad)
    assert refused is not None
    assert refused.rule is rule
    assert str(refused) == TOLD[rule]


def test_every_rule_has_such_a_pair() -> None:
    """`INVALID_PARENT` is asked of the tree of headers, which no block knows: see the tests of the chain."""
    assert PAIRS.keys() == set(Rule) - {Rule.INVALID_PARENT}
