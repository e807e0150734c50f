"""A catalogue of transactions and blocks that are each wrong in one thing, as bytes, for every road by which they come.

Each spends real coins of one real chain, whose next block is the first after a halving.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from msgspec.structs import replace

from consensus.assets import authority_id
from consensus.codec import MAX_BLOCK_SIZE, encode, lock_digest, spend_message
from consensus.errors import BODY_RULES, Rule
from consensus.hashing import hash256, tagged_hash
from consensus.params import LOCAL
from consensus.pow import target_from_bits
from consensus.signatures import sign
from consensus.subsidy import block_subsidy
from consensus.types import (
    MAX_MEMO,
    MAX_METADATA,
    NULL_TXID,
    Amount,
    AssetId,
    Attestation,
    BlockHash,
    Header,
    NewAsset,
    Opaque,
    OutPoint,
    Output,
    Reissue,
    Threshold,
    Transaction,
    Witness,
)
from tests.support.assets import asset_core, define, hold
from tests.support.chain import reward_of
from tests.support.rules import coinbase, core, key, lock, outpoint, pay, secret, witnesses_for
from tests.support.stage import FEE, HEIGHT, HIDDEN, ORDER, PARAMS, PREIMAGE, RESERVE, VALUE, Stage

UNSIGNED = {"threshold 0", "opaque"}
"""Bad transactions that show no signature: by policy nobody relays these, so that no mempool looks any further."""


class BadTransaction(NamedTuple):
    """A transaction that no block and no mempool may take."""

    entries: tuple[int, ...]
    """Of docs/attacks.md."""
    what: str
    rule: Rule
    raw: bytes


class BadBlock(NamedTuple):
    """A block that nobody may connect."""

    entries: tuple[int, ...]
    what: str
    rule: Rule
    header: bytes
    """80 bytes, under which it is announced."""
    raw: bytes

    @property
    def hash(self) -> BlockHash:
        return BlockHash(hash256(self.header))

    @property
    def condemns_its_header(self) -> bool:
        return self.rule not in BODY_RULES


def bad_transactions(stage: Stage) -> list[BadTransaction]:
    """Every way for a transaction to be wrong, with the rule that it breaks."""
    return [
        BadTransaction(entries, what, rule, raw)
        for group in (_amounts, _shapes, _encodings, _signatures, _policies, _assets)
        for entries, what, rule, raw in group(stage)
    ]


Rows = list[tuple[tuple[int, ...], str, Rule, bytes]]


def _amounts(stage: Stage) -> Rows:
    def paying(*values: int, names: Sequence[str] = ("one key",)) -> bytes:
        return stage.sign(stage.unsigned(*names, outputs=[pay(2, value) for value in values]), *names).encoded

    supply = PARAMS.total_supply
    return [
        ((1,), "two outputs whose sum wraps 2^63", Rule.VALUE_RANGE, paying(2**63 - 1, 2**63 - 1)),
        ((1, 4), "a sum above the supply", Rule.VALUE_RANGE, paying(supply, 1)),
        ((4,), "an output above the supply", Rule.VALUE_RANGE, paying(supply + 1)),
        ((6,), "a grain more than was spent", Rule.IN_BELOW_OUT, paying(VALUE + 1)),
        ((6,), "two coins and a grain", Rule.IN_BELOW_OUT, paying(2 * VALUE + 1, names=("one key", "spare"))),
    ]


def _shapes(stage: Stage) -> Rows:
    twice = stage.unsigned("one key", "one key")
    beyond = core([OutPoint(stage.coins["one key"].txid, 2**32 - 1)], [pay(2, 1_000)])
    unknown = core([outpoint(7)], [pay(2, VALUE - FEE)])
    null = core([stage.coins["one key"], OutPoint(NULL_TXID, HEIGHT)], [pay(2, 1_000)])
    ripe_later = reward_of(stage.trunk[-1])
    young = core([ripe_later], [pay(2, 1_000)])
    coin = stage.chain.coins(stage.trunk[-1])[ripe_later].output
    large = stage.spend("one key")
    asset = stage.unsigned("one key", outputs=[Output(Amount(1_000), lock(2), bytes(32))])  # type: ignore[arg-type]
    rows: Rows = [
        ((8,), "one coin twice", Rule.DUPLICATE_INPUT, stage.sign(twice, "one key").encoded),
        ((11,), "an index far beyond the outputs", Rule.MISSING_COIN, stage.sign(beyond, "one key").encoded),
        ((11,), "a transaction that nobody ever saw", Rule.MISSING_COIN, stage.sign(unknown, "one key").encoded),
        ((12,), "no inputs", Rule.NO_INPUTS, Transaction(core([], [pay(2, 1)]), ()).encoded),
        ((12,), "no outputs", Rule.NO_OUTPUTS, stage.sign(stage.unsigned("one key", outputs=[]), "one key").encoded),
        ((12,), "the zero txid", Rule.NULL_INPUT, stage.sign(null, "one key").encoded),
        ((14,), "an unripe reward", Rule.IMMATURE_SPEND, Transaction(young, witnesses_for([coin], young)).encoded),
        ((25,), "version 2", Rule.TX_VERSION, stage.sign(stage.unsigned("one key", version=2), "one key").encoded),
        ((25,), "version 0", Rule.TX_VERSION, stage.sign(stage.unsigned("one key", version=0), "one key").encoded),
        ((72,), "an asset out of nothing", Rule.ASSET_CONSERVATION, stage.sign(asset, "one key").encoded),
        (
            (17,),
            "more than 400,000 bytes",
            Rule.TX_SIZE,
            Transaction(large.core, (Witness(key(1), (bytes(10_000),) * 40),)).encoded,
        ),
    ]
    return rows


def _encodings(stage: Stage) -> Rows:
    good = stage.sign(stage.unsigned("one key", outputs=[pay(2, VALUE)]), "one key").encoded
    value, memo = encode(VALUE), encode(b"memo")
    for part in (value, memo):
        if good.count(part) != 1:
            raise AssertionError("the part to be exchanged must appear once")

    def amount(entries: tuple[int, ...], what: str, raw: bytes) -> tuple[tuple[int, ...], str, Rule, bytes]:
        return entries, what, Rule.MALFORMED, good.replace(value, raw)

    def whole(entries: tuple[int, ...], what: str, raw: bytes) -> tuple[tuple[int, ...], str, Rule, bytes]:
        return entries, what, Rule.MALFORMED, raw

    txid = stage.coins["one key"].txid
    return [
        amount((2,), "an amount of -1", b"\xff"),
        amount((2,), "an amount of -2^63", b"\xd3\x80" + bytes(7)),
        amount((3,), "an amount of 0", b"\x00"),
        amount((4,), "an amount of 2^63", b"\xcf\x80" + bytes(7)),
        amount((4,), "an amount of 2^64 - 1", b"\xcf" + b"\xff" * 8),
        amount((5,), "an amount that is a float", b"\xcb\x3f\xf0" + bytes(6)),
        amount((5,), "an amount that is true", b"\xc3"),
        amount((5,), "an amount that is text", b"\xa1\x31"),
        amount((5,), "an amount that is bytes", b"\xc4\x01\x01"),
        amount((5, 29), "an amount that is nil", b"\xc0"),
        amount((5, 29), "an amount that is an extension", b"\xd4\x01\x01"),
        amount((28,), "an amount that is a map", b"\x80"),
        amount((26,), "an amount in nine bytes that need five", b"\xcf" + VALUE.to_bytes(8, "big")),
        amount((30,), "an array of 2^32 - 1 in an amount's place", b"\xdd\xff\xff\xff\xff"),
        whole((26,), "an array of two with a long header", b"\xdc\x00\x02" + good[1:]),
        whole((27,), "a byte behind the end", good + b"\x00"),
        whole((27,), "two transactions", good + good),
        whole((28,), "a map", b"\x82" + good[1:]),
        whole((28,), "an array of one", b"\x91" + good[1:]),
        whole((28,), "an array of three", b"\x93" + good[1:] + b"\xc0"),
        whole((30,), "an array of 2^32 - 1", b"\xdd\xff\xff\xff\xff" + bytes(5)),
        whole((30,), "a map of 2^32 - 1", b"\xdf\xff\xff\xff\xff" + bytes(5)),
        whole((30,), "2^32 - 1 bytes", b"\xc6\xff\xff\xff\xff" + bytes(5)),
        whole((30,), "text of 2^32 - 1", b"\xdb\xff\xff\xff\xff" + bytes(5)),
        whole((31,), "100,000 arrays in each other", b"\x91" * 100_000),
        whole((31,), "100,000 maps in each other", b"\x81\x00" * 50_000),
        whole((32,), "a map whose key is a map", b"\x81\x80\x00"),
        whole((33, 34), "a memo that is text", good.replace(memo, b"\xa4memo")),
        whole((34,), "a memo that is no text either", good.replace(memo, b"\xa4\xff\xfe\xed\xa0")),
        whole((33,), "a txid of 31 bytes", good.replace(b"\xc4\x20" + txid, b"\xc4\x1f" + txid[:31])),
        whole((33,), "a txid of 33 bytes", good.replace(b"\xc4\x20" + txid, b"\xc4\x21" + txid + b"\x00")),
        *(whole((35,), f"cut after {size} bytes", good[:size]) for size in range(0, len(good), 17)),
    ]


def _signatures(stage: Stage) -> Rows:
    def split(signature: bytes) -> tuple[int, int]:
        return int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")

    def join(r: int, s: int) -> bytes:
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")

    def row(
        entries: tuple[int, ...], what: str, alter: Callable[[bytes], bytes]
    ) -> tuple[tuple[int, ...], str, Rule, bytes]:
        raw = stage.altered("one key", alter)
        sized = len(alter(bytes(31) + b"\x01" + bytes(31) + b"\x01")) == 64
        return entries, what, Rule.BAD_SIGNATURE if sized else Rule.SATISFACTION_SIZE, raw

    unsigned = stage.unsigned("one key")
    spent = stage.spent("one key")
    message = spend_message(PARAMS.genesis_hash, unsigned, spent)
    elsewhere = stage.sign(unsigned, "one key", params=LOCAL)
    moved = Transaction(
        stage.unsigned("one key", outputs=[pay(3, VALUE - FEE)]), stage.sign(unsigned, "one key").witnesses
    )
    lied = spend_message(PARAMS.genesis_hash, unsigned, [replace(spent[0], value=Amount(VALUE + 1))])
    untagged = Witness(key(1), (sign(secret(1), message),))
    as_message = Witness(key(1), (sign(secret(1), tagged_hash("dure/message", message)),))
    double = stage.spend("one key")
    witness = double.witnesses[0]
    return [
        row((36,), "a high S", lambda given: join(split(given)[0], ORDER - split(given)[1])),
        row((36,), "r of 0", lambda given: join(0, split(given)[1])),
        row((36,), "s of 0", lambda given: join(split(given)[0], 0)),
        row((36,), "r of n", lambda given: join(ORDER, split(given)[1])),
        row((36,), "s of n + 1", lambda given: join(split(given)[0], ORDER + 1)),
        row((36,), "63 bytes", lambda given: given[:63]),
        row((36,), "65 bytes", lambda given: given + b"\x00"),
        row((36,), "DER", lambda given: b"\x30\x44\x02\x20" + given[:32] + b"\x02\x20" + given[32:]),
        (
            (38,),
            "a signature too many",
            Rule.SATISFACTION_COUNT,
            _witnessed(double, Witness(key(1), witness.satisfactions * 2)),
        ),
        ((38,), "a witness too many", Rule.WITNESS_COUNT, _witnessed(double, witness, witness)),
        ((38,), "no witness", Rule.WITNESS_COUNT, _witnessed(double)),
        (
            (38,),
            "a branch too many",
            Rule.POLICY_MISMATCH,
            _witnessed(double, Witness(Threshold(1, (key(1), HIDDEN)), witness.satisfactions)),
        ),
        ((39,), "a signature for another network", Rule.BAD_SIGNATURE, elsewhere.encoded),
        ((39,), "a signature for other outputs", Rule.BAD_SIGNATURE, moved.encoded),
        ((39,), "a signature for another amount", Rule.BAD_SIGNATURE, _witnessed(double, stage.witness(key(1), lied))),
        (
            (39, 41),
            "a signature of another key",
            Rule.BAD_SIGNATURE,
            _witnessed(double, Witness(key(1), (sign(secret(2), lock_digest(message, lock(1))),))),
        ),
        ((40,), "a signature without the lock's tag", Rule.BAD_SIGNATURE, _witnessed(double, untagged)),
        ((40,), "a signature of a message", Rule.BAD_SIGNATURE, _witnessed(double, as_message)),
    ]


def _witnessed(tx: Transaction, *witnesses: Witness) -> bytes:
    return Transaction(tx.core, witnesses).encoded


def _policies(stage: Stage) -> Rows:
    def row(entries: tuple[int, ...], name: str, rule: Rule) -> tuple[tuple[int, ...], str, Rule, bytes]:
        return entries, name, rule, stage.spend(name).encoded

    deep = stage.spend("one key")
    for _ in range(40):
        deep = Transaction(
            deep.core, (Witness(Threshold(1, (deep.witnesses[0].policy,)), deep.witnesses[0].satisfactions),)
        )
    unrevealed = Witness(
        Threshold(2, (key(1), Opaque(lock(2)))), stage.spend("two keys").witnesses[0].satisfactions[:1]
    )
    hashed = stage.spend("a preimage")
    (given,) = hashed.witnesses

    def showing(preimage: bytes) -> bytes:
        return _witnessed(hashed, Witness(given.policy, (given.satisfactions[0], preimage)))

    return [
        row((37,), "uncompressed prefix", Rule.POLICY_KEY),
        row((37,), "hybrid prefix", Rule.POLICY_KEY),
        row((37,), "x at the prime", Rule.POLICY_KEY),
        row((37,), "off the curve", Rule.BAD_SIGNATURE),
        row((64,), "five levels", Rule.POLICY_DEPTH),
        row((64,), "65 nodes", Rule.POLICY_NODES),
        ((31, 64), "40 levels", Rule.MALFORMED, deep.encoded),
        row((65,), "threshold 0", Rule.POLICY_THRESHOLD),
        row((65,), "threshold 2 of 1", Rule.POLICY_THRESHOLD),
        row((65,), "one key twice", Rule.POLICY_DUPLICATE_KEY),
        row((65,), "opaque", Rule.POLICY_OPAQUE_ROOT),
        ((65,), "one of two revealed", Rule.POLICY_REVEALED, _witnessed(stage.spend("two keys"), unrevealed)),
        row((23, 66), "height", Rule.AFTER_HEIGHT),
        row((23, 66), "age", Rule.OLDER),
        ((66,), "a preimage of 31 bytes", Rule.SATISFACTION_SIZE, showing(PREIMAGE[:31])),
        ((66,), "a preimage of 33 bytes", Rule.SATISFACTION_SIZE, showing(PREIMAGE + b"p")),
        ((66,), "another preimage", Rule.BAD_PREIMAGE, showing(bytes(32))),
    ]


def _assets(stage: Stage) -> Rows:
    """Each is signed, approved and paid for as if it were good."""
    ids, carriers = stage.assets, stage.carriers
    hours, work, won, share = ids["hours"], ids["a work"], ids["won"], ids["a share"]

    def row(
        entries: tuple[int, ...],
        what: str,
        rule: Rule,
        names: Sequence[str],
        outputs: Sequence[Output],
        issuances: Sequence[NewAsset | Reissue | Attestation] = (),
        burns: Mapping[AssetId, int] | None = None,
    ) -> tuple[tuple[int, ...], str, Rule, bytes]:
        unsigned = asset_core(
            [stage.coins["spare"], *(carriers[name] for name in names)],
            [pay(2, VALUE - FEE), *outputs],
            issuances,
            burns,
        )
        return entries, what, rule, stage.carry(unsigned).encoded

    uneven, more = Rule.ASSET_CONSERVATION, [Reissue(hours, Amount(1))]
    right = "the right to hours"
    moved = stage.carry(
        asset_core([stage.coins["spare"], carriers["a share"]], [pay(2, VALUE - FEE), hold(2, share, 10)])
    )
    other = replace(moved.witnesses[1], policy=key(4))
    elsewhere = stage.carry(
        asset_core([stage.coins["spare"], carriers["a share"]], [pay(2, VALUE), hold(2, share, 10)])
    )
    nobody = AssetId(bytes(32))
    unapproved = _witnessed(moved, *moved.witnesses[:1])
    big = define(metadata=bytes(MAX_METADATA + 1))
    return [
        row((67,), "a unit more than was spent", uneven, ["hours"], [hold(2, hours, 101)]),
        row((67,), "units whose sum wraps 2^63", uneven, ["hours"], [hold(2, hours, 2**63 - 1), hold(2, hours, 101)]),
        row((67,), "units of another asset", uneven, ["hours", "a share"], [hold(2, hours, 99), hold(2, share, 11)]),
        row((68,), "more without the authority", Rule.NO_AUTHORITY, ["hours"], [hold(2, hours, 101)], more),
        row((68,), "the authority of another asset", Rule.NO_AUTHORITY, ["the right to won"], [hold(2, hours)], more),
        row((68,), "more of a fixed asset", Rule.NO_AUTHORITY, ["a work"], [], [Reissue(work, Amount(1))]),
        row((68,), "the authority twice", uneven, [right], [hold(1, authority_id(hours))] * 2),
        row(
            (68,), "a unit above the reserve", Rule.ABOVE_RESERVE, ["the right to won"],
            [hold(1, authority_id(won)), hold(2, won, RESERVE + 1)], [Reissue(won, Amount(RESERVE + 1))],
        ),
        row(
            (68,), "an attestation again", Rule.ATTESTATION_SEQUENCE, [], [], [Attestation(won, 1, Amount(10**9))]
        ),
        row((68,), "a reserve of what has none", Rule.NOT_RESERVED, [], [], [Attestation(hours, 1, Amount(1))]),
        row((68,), "more of what nobody defined", Rule.UNKNOWN_ASSET, [right], [], [Reissue(nobody, Amount(1))]),
        row((69,), "more of one asset twice", Rule.ISSUED_TWICE, [right], [hold(2, hours, 2)], more * 2),
        row((71,), "units that vanish", uneven, ["hours"], [hold(2, hours, 99)]),
        row((71,), "a burn of more than was spent", uneven, ["hours"], [], burns={hours: 101}),
        row((72,), "units for the fee", uneven, ["hours"], []),
        row((73,), "a work in two places", uneven, ["a work"], [hold(2, work), hold(3, work)]),
        row((73,), "a work twice", uneven, ["a work"], [hold(2, work, 2)]),
        row(
            (73,), "a work in a stranger's collection", Rule.COLLECTION_AUTHORITY, ["the right to won"],
            [], [NewAsset(define(collection=hours))],
        ),
        row((74,), "metadata of 1,025 bytes", Rule.MALFORMED, [], [], [NewAsset(big)]),
        ((68,), "a share that nobody approved", Rule.WITNESS_COUNT, unapproved),
        ((68,), "a share that another approved", Rule.POLICY_MISMATCH, _witnessed(moved, moved.witnesses[0], other)),
        (
            (39, 208), "an approval of another transfer", Rule.BAD_SIGNATURE,
            _witnessed(moved, moved.witnesses[0], elsewhere.witnesses[1]),
        ),
    ]  # fmt: skip


def bad_blocks(stage: Stage) -> list[BadBlock]:
    """Every way for a block to be wrong by itself; then one block for each bad transaction."""
    holding = [
        _block(stage, case.entries, f"holding: {case.what}", case.rule, stage.reward().encoded, case.raw)
        for case in bad_transactions(stage)
    ]
    return [*_coinbases(stage), *_bodies(stage), *_headers(stage), *holding]


def _block(stage: Stage, entries: Sequence[int], what: str, rule: Rule, *raws: bytes) -> BadBlock:
    header = stage.header(raws)
    return BadBlock(tuple(entries), what, rule, header.encoded, stage.body(header, raws))


def _coinbases(stage: Stage) -> list[BadBlock]:
    good = stage.reward()
    payment = stage.spend("one key").encoded
    memo = coinbase(HEIGHT, memo=bytes(MAX_MEMO)).encoded.replace(encode(bytes(MAX_MEMO)), encode(bytes(MAX_MEMO + 1)))
    short = next(tx for tx in (coinbase(HEIGHT, memo=bytes(size)) for size in range(MAX_MEMO)) if len(tx.encoded) == 64)
    two = Transaction(core([OutPoint(NULL_TXID, HEIGHT), stage.coins["one key"]], [pay(1, 1)], bytes(20)), ())
    long_height = good.encoded.replace(encode(HEIGHT), b"\xcd" + HEIGHT.to_bytes(2, "big"), 1)
    before = block_subsidy(PARAMS, HEIGHT - 1) - block_subsidy(PARAMS, HEIGHT)
    paying = coinbase(HEIGHT, [hold(1, stage.assets["hours"])])
    issuing = Transaction(replace(good.core, issuances=(NewAsset(define()),)), ())
    return [
        _block(stage, (7,), "subsidy and a grain", Rule.COINBASE_VALUE, stage.reward(1).encoded),
        _block(stage, (7,), "fees and a grain", Rule.COINBASE_VALUE, stage.reward(FEE + 1).encoded, payment),
        _block(stage, (24,), "the subsidy of before the halving", Rule.COINBASE_VALUE, stage.reward(before).encoded),
        _block(stage, (13,), "no coinbase", Rule.COINBASE_FIRST, payment),
        _block(stage, (13,), "a coinbase in the second place", Rule.COINBASE_FIRST, payment, good.encoded),
        _block(stage, (13,), "two coinbases", Rule.COINBASE_FIRST, good.encoded, stage.reward(memo=bytes(30)).encoded),
        _block(stage, (13,), "a coinbase with a second input", Rule.COINBASE_FIRST, two.encoded),
        _block(stage, (15,), "the height before", Rule.COINBASE_HEIGHT, stage.reward(height=HEIGHT - 1).encoded),
        _block(stage, (15,), "the height after", Rule.COINBASE_HEIGHT, stage.reward(height=HEIGHT + 1).encoded),
        _block(stage, (15,), "a height in three bytes", Rule.MALFORMED, long_height),
        _block(stage, (16,), "a memo of 97 bytes", Rule.MALFORMED, memo),
        _block(stage, (20,), "a coinbase of 64 bytes", Rule.TX_SIZE_64, short.encoded),
        _block(stage, (72,), "a coinbase that pays an asset", Rule.COINBASE_SHAPE, paying.encoded),
        _block(stage, (72,), "a coinbase that issues an asset", Rule.COINBASE_SHAPE, issuing.encoded),
    ]


def _bodies(stage: Stage) -> list[BadBlock]:
    good = stage.reward().encoded
    parent = stage.spend("one key")
    unsigned = core([OutPoint(parent.txid, 0)], [pay(3, VALUE - 2 * FEE)])
    child = Transaction(unsigned, witnesses_for(list(parent.core.outputs), unsigned, params=PARAMS))
    rival = stage.sign(stage.unsigned("one key", outputs=[pay(3, VALUE)]), "one key")
    header = stage.header([good])
    one = stage.body(header, [good])
    signed = [
        Transaction(core([outpoint(n)], [pay(2, 1)]), (Witness(key(1), (bytes(64),) * 64),)).encoded
        for n in range(1, 20_000 // 64 + 2)
    ]

    def under(entries: Sequence[int], what: str, rule: Rule, raw: bytes) -> BadBlock:
        return BadBlock(tuple(entries), what, rule, header.encoded, raw)

    return [
        _block(stage, (9,), "one coin twice", Rule.BLOCK_DOUBLE_SPEND, good, parent.encoded, rival.encoded),
        _block(stage, (10,), "a child before its parent", Rule.MISSING_COIN, good, child.encoded, parent.encoded),
        _block(stage, (18,), "20,032 signatures", Rule.BLOCK_SIGNATURES, good, *signed),
        under((13,), "no transactions", Rule.NO_TRANSACTIONS, one[:83] + b"\x90"),
        under((17,), "more than 4 MiB", Rule.BLOCK_SIZE, one + bytes(MAX_BLOCK_SIZE)),
        under(
            (20, 21), "other transactions", Rule.MERKLE_ROOT, stage.body(header, [stage.reward(memo=bytes(40)).encoded])
        ),
        under((21,), "its transaction twice", Rule.MERKLE_ROOT, stage.body(header, [good, good])),
        under(
            (21, 26), "its transactions under a long array header", Rule.MALFORMED, one[:83] + b"\xdc\x00\x01" + good
        ),
        under((27,), "a byte behind the end", Rule.MALFORMED, one + b"\x00"),
        under((28,), "a map", Rule.MALFORMED, b"\x82" + one[1:]),
        under((51,), "a header of 79 bytes", Rule.MALFORMED, b"\x92\xc4\x4f" + one[3:82] + one[83:]),
        under((51,), "a header of 81 bytes", Rule.MALFORMED, b"\x92\xc4\x51" + one[3:83] + b"\x00" + one[83:]),
        under((35,), "half of it", Rule.MALFORMED, one[: len(one) // 2]),
    ]


def _headers(stage: Stage) -> list[BadBlock]:
    good = stage.reward().encoded
    header = stage.header([good])

    def headed(entries: Sequence[int], what: str, rule: Rule, changed: Header) -> BadBlock:
        return BadBlock(tuple(entries), what, rule, changed.encoded, stage.body(changed, [good]))

    target = target_from_bits(header.bits)
    light = header
    while int.from_bytes(light.hash, "little") <= target:
        light = replace(light, nonce=light.nonce + 1)
    median = stage.tip.median_time
    return [
        headed((44,), "too little work", Rule.HIGH_HASH, light),
        headed((44,), "bits one below", Rule.BAD_BITS, stage.header([good], bits=PARAMS.start_bits - 1)),
        headed((44, 62), "bits that ask for more work", Rule.BAD_BITS, stage.header([good], bits=0x2000FFFF)),
        headed((45,), "a negative target", Rule.BAD_BITS, replace(light, bits=0x20FFFFFF)),
        headed((45,), "a target of 0", Rule.BAD_BITS, replace(light, bits=0x20000000)),
        headed((45,), "a target of more than 256 bits", Rule.BAD_BITS, replace(light, bits=0xFF7FFFFF)),
        headed((49,), "the median time", Rule.TIME_TOO_OLD, stage.header([good], time=median)),
        headed((49,), "a time of 0", Rule.TIME_TOO_OLD, stage.header([good], time=0)),
    ]


def entries_of(cases: Sequence[BadTransaction | BadBlock]) -> set[int]:
    """The entries of docs/attacks.md that a catalogue is about."""
    return {number for case in cases for number in case.entries}
