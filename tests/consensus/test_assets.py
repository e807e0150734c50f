"""Assets: conserved to the unit, issued only by right, approved where they are controlled, undone by reorgs."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from msgspec.structs import replace

from consensus.apply import AppliedBlock
from consensus.assets import Role, asset_effects, asset_id, authority_id, defined_by
from consensus.codec import asset_entry, decode_transaction, encode
from consensus.errors import ConsensusError, Rule
from consensus.hashing import tagged_hash
from consensus.params import REGTEST, TEST
from consensus.signatures import verify_all
from consensus.spend_policy import policy_id
from consensus.state import ChainState, SpendContext, genesis_state
from consensus.types import (
    MAX_INTEGER,
    MAX_METADATA,
    AfterHeight,
    AfterTime,
    Amount,
    Asset,
    AssetId,
    Attestation,
    Coin,
    Core,
    Definition,
    LockId,
    NewAsset,
    OutPoint,
    Output,
    Pays,
    Reissue,
    SupplyKind,
    Threshold,
    Transaction,
)
from consensus.validation import (
    check_block,
    check_spends,
    check_transaction,
    count_signatures,
    transaction_fee,
)
from tests.support.assets import (
    Book,
    Coins,
    apply,
    approvals_of,
    asset_core,
    carry,
    define,
    hold,
    holding,
    new_id,
    records_for,
)
from tests.support.rules import build, coin, coinbase, key, lock, mine, outpoint, pay
from tests.support.town import Town

HERE = SpendContext(height=200, median_time=1_800_000_000)
GOLD, SILVER = AssetId(b"g" * 32), AssetId(b"s" * 32)
DURE = {outpoint(7): coin(1, 100)}
"""A coin that pays the fee."""
AT = outpoint(8)


def book_of(
    asset: AssetId = GOLD,
    *,
    kind: SupplyKind = SupplyKind.FIXED,
    supply: int = 0,
    sequence: int = 0,
    total: int = 0,
    controller: LockId | None = None,
) -> dict[AssetId, Asset]:
    """One asset as it stands."""
    return {asset: Asset(define(kind, controller=controller), Amount(supply), sequence, Amount(total))}


def judge(tx: Transaction, coins: Coins, book: Book | None = None, context: SpendContext = HERE) -> Rule | None:
    """What a node says of a transaction at `context`: the first rule that it breaks, or None."""
    try:
        check_transaction(REGTEST, tx)
        spent = {name: coins[name] for name in tx.core.inputs if name in coins}
        transaction_fee(REGTEST, context.height, tx, spent)
        effects = asset_effects(tx, spent, records_for([tx], spent.values(), book or {}))
        checks = check_spends(REGTEST, context, tx, spent, effects.approvals)
    except ConsensusError as error:
        return error.rule
    return None if verify_all(checks) is None else Rule.BAD_SIGNATURE


def verdict(core: Core, coins: Coins, book: Book | None = None) -> Rule | None:
    """What is said of a core, once it is signed and approved by all who must."""
    return judge(carry(coins, core, book), coins, book)


def effects_of(core: Core, coins: Coins, book: Book | None = None) -> Book:
    tx = Transaction(core, ())
    return dict(asset_effects(tx, coins, records_for([tx], coins.values(), book or {})).records)


# Conservation


@pytest.mark.parametrize("paid", [[4], [6], [5, 1], [2, 2], [MAX_INTEGER, 6], [2**62, 2**62, 2**62, 2**62, 5]])
def test_an_asset_is_paid_out_exactly(paid: Sequence[int]) -> None:
    """A067, A071: one unit more or less, and sums that would come out right modulo 2^63 or 2^64, are refused."""
    coins = {AT: holding(1, GOLD, 5)}
    book = book_of(supply=5)
    assert verdict(asset_core(coins, [hold(2, GOLD, 5)]), coins, book) is None
    outputs = [hold(2, GOLD, amount) for amount in paid]
    assert verdict(asset_core(coins, outputs), coins, book) is Rule.ASSET_CONSERVATION


def test_a_thousand_outputs_are_summed_for_each_asset_by_itself() -> None:
    """A067: one unit moved from one asset to another is refused, though the whole sum is right."""
    coins = {AT: holding(1, GOLD, 500), outpoint(9): holding(1, SILVER, 500)}
    outputs = [hold(2, GOLD)] * 500 + [hold(3, SILVER)] * 500
    assert verdict(asset_core(coins, outputs), coins) is None
    swapped = [*outputs[:-1], hold(3, GOLD)]
    assert verdict(asset_core(coins, swapped), coins) is Rule.ASSET_CONSERVATION


def test_an_asset_vanishes_only_where_a_burn_says_so() -> None:
    """A071: left out of the outputs it is refused; burned, the supply falls by exactly as much."""
    coins = {**DURE, AT: holding(1, GOLD, 5)}
    book = book_of(supply=9)
    assert verdict(asset_core(coins, [pay(1, 90)]), coins, book) is Rule.ASSET_CONSERVATION
    burning = asset_core(coins, [pay(1, 90), hold(1, GOLD, 2)], burns={GOLD: 3})
    assert verdict(burning, coins, book) is None
    assert effects_of(burning, coins, book)[GOLD].supply == 6
    for more in (2, 4):
        assert verdict(asset_core(coins, burning.outputs, burns={GOLD: more}), coins, book) is Rule.ASSET_CONSERVATION


def test_what_nobody_holds_cannot_be_burned() -> None:
    """A071: nor a number that is no asset, nor the authority of another."""
    for name in (GOLD, SILVER, authority_id(GOLD)):
        core = asset_core(DURE, [pay(1, 90)], burns={name: 1})
        assert verdict(core, DURE, book_of(supply=9)) is Rule.ASSET_CONSERVATION


def test_fees_and_rewards_are_dure_alone() -> None:
    """A072: an asset is neither a fee nor paid by a coinbase, and does not count as DURE on either side."""
    coins = {AT: holding(1, GOLD, 1_000)}
    assert verdict(asset_core(coins, [hold(2, GOLD, 1_000), pay(2, 1)]), coins) is Rule.IN_BELOW_OUT
    tx = carry(coins, asset_core(coins, [hold(2, GOLD, 1_000)]))
    assert transaction_fee(REGTEST, 200, tx, coins) == 0
    parent = genesis_state(REGTEST)
    for outputs in ([hold(1, GOLD)], [pay(1, 5), hold(1, authority_id(GOLD))]):
        with pytest.raises(ConsensusError) as refused:
            check_block(REGTEST, build(REGTEST, parent, [coinbase(1, outputs)]))
        assert refused.value.rule is Rule.COINBASE_SHAPE


def test_an_amount_of_an_asset_may_exceed_all_dure_there_is() -> None:
    """A004: the total supply of DURE bounds DURE alone; 2^63 - 1 bounds every value."""
    coins = {AT: holding(1, GOLD, MAX_INTEGER), outpoint(9): holding(1, SILVER, MAX_INTEGER)}
    core = asset_core(coins, [hold(2, GOLD, MAX_INTEGER), hold(2, SILVER, MAX_INTEGER)])
    assert verdict(core, coins) is None
    for value in (0, MAX_INTEGER + 1):
        with pytest.raises(ConsensusError) as refused:
            check_transaction(REGTEST, Transaction(asset_core(coins, [hold(2, GOLD, value)]), ()))
        assert refused.value.rule is Rule.VALUE_RANGE


# New assets


def issue(definition: Definition, *outputs: Output, coins: Coins | None = None) -> tuple[Core, AssetId]:
    """A core that defines an asset and pays out what comes of it; its id."""
    coins = coins or DURE
    name = new_id(coins, definition)
    made = [hold(1, name, definition.first_amount)] if definition.first_amount else []
    right = [] if definition.supply_kind == SupplyKind.FIXED else [hold(1, authority_id(name))]
    return asset_core(coins, [pay(1, 50), *made, *right, *outputs], [NewAsset(definition)]), name


@pytest.mark.parametrize(
    ("kind", "first", "rule"),
    [
        (SupplyKind.FIXED, 0, Rule.DEFINITION_AMOUNT),
        (SupplyKind.FIXED, 1, None),
        (SupplyKind.FIXED, MAX_INTEGER, None),
        (SupplyKind.REISSUABLE, 0, None),
        (SupplyKind.REISSUABLE, 1, None),
        (SupplyKind.RESERVED, 0, None),
        (SupplyKind.RESERVED, 1, Rule.DEFINITION_AMOUNT),
    ],
)
def test_each_kind_of_supply_begins_as_it_may(kind: SupplyKind, first: int, rule: Rule | None) -> None:
    core, name = issue(define(kind, first))
    assert verdict(core, DURE) is rule
    if rule is None:
        assert effects_of(core, DURE) == {name: Asset(define(kind, first), Amount(first), 0, Amount(0))}


@pytest.mark.parametrize("kind", SupplyKind)
def test_an_auditor_is_named_exactly_for_a_reserved_supply(kind: SupplyKind) -> None:
    for auditor in (None, lock(9)):
        core, _ = issue(define(kind, auditor=auditor))
        right = (auditor is None) != (kind is SupplyKind.RESERVED)
        assert verdict(core, DURE) is (None if right else Rule.DEFINITION_AUDITOR)


def test_an_id_comes_of_the_coin_spent_and_of_the_place_never_of_the_name() -> None:
    """A069, A070: equal definitions are different assets; who copies a name gets another id."""
    same = define(metadata=b"the same name")
    ids = [new_id(DURE, same, 0), new_id(DURE, same, 1), new_id([outpoint(9)], same, 0)]
    assert len(set(ids)) == 3
    core = asset_core(DURE, [pay(1, 9), hold(1, ids[0]), hold(1, ids[1])], [NewAsset(same), NewAsset(same)])
    assert verdict(core, DURE) is None
    assert set(effects_of(core, DURE)) == set(ids[:2])
    swapped = asset_core(DURE, [pay(1, 9), hold(1, ids[0]), hold(1, ids[2])], [NewAsset(same), NewAsset(same)])
    assert verdict(swapped, DURE) is Rule.ASSET_CONSERVATION
    assert ids[0] == tagged_hash("dure/asset", encode([outpoint(7), 0, same]))
    assert authority_id(ids[0]) == tagged_hash("dure/authority", ids[0])


def test_the_right_to_issue_is_one_unit_that_is_paid_out_or_burned() -> None:
    """A068: none for a fixed supply, never two, and it cannot simply be left out."""
    fixed, name = issue(define())
    assert verdict(fixed, DURE) is None
    taking = asset_core(DURE, [*fixed.outputs, hold(1, authority_id(name))], fixed.issuances)
    assert verdict(taking, DURE) is Rule.ASSET_CONSERVATION
    open_, name = issue(define(SupplyKind.REISSUABLE, 5))
    assert verdict(open_, DURE) is None
    *others, right = open_.outputs
    for outputs in (others, [*others, right, right], [*others, hold(1, right.asset or GOLD, 2)]):
        assert verdict(asset_core(DURE, outputs, open_.issuances), DURE) is Rule.ASSET_CONSERVATION
    closed = asset_core(DURE, others, open_.issuances, burns={authority_id(name): 1})
    assert verdict(closed, DURE) is None


def test_an_nft_is_one_and_stays_one() -> None:
    """A073: not two, not split, not paid twice, and no second one has its id."""
    definition = define(content=bytes(32))
    core, name = issue(definition)
    assert verdict(core, DURE) is None
    coins = {AT: holding(1, name)}
    book: Book = effects_of(core, DURE)
    assert verdict(asset_core(coins, [hold(2, name)]), coins, book) is None
    for outputs in ([hold(2, name), hold(3, name)], [hold(2, name, 2)]):
        assert verdict(asset_core(coins, outputs), coins, book) is Rule.ASSET_CONSERVATION
    more = asset_core({**DURE, **coins}, [pay(1, 90), hold(2, name, 2)], [Reissue(name, Amount(1))])
    assert verdict(more, {**DURE, **coins}, book) is Rule.NO_AUTHORITY


def test_metadata_has_a_bound_and_an_output_holds_one_asset() -> None:
    """A074: 1,024 bytes pass and one more does not decode; nor does an output with a list of assets."""
    whole, _ = issue(define(metadata=bytes(MAX_METADATA)))
    tx = carry(DURE, whole)
    assert decode_transaction(tx.encoded) == tx
    large, _ = issue(define(metadata=bytes(MAX_METADATA + 1)))
    many = encode([[1, [[bytes(32), 0]], [[1, bytes(32), [GOLD, SILVER]]], [], [], b""], []])
    for raw in (carry(DURE, large).encoded, many):
        with pytest.raises(ConsensusError) as refused:
            decode_transaction(raw)
        assert refused.value.rule is Rule.MALFORMED


def test_only_the_holder_of_a_collection_adds_to_it() -> None:
    """A073: a forged member does not get in; the authority may be handed on or burned in the same transaction."""
    right = authority_id(GOLD)
    member = define(content=bytes(32), collection=GOLD)
    held = {**DURE, AT: holding(1, right)}
    core, _ = issue(member, hold(1, right), coins=held)
    assert verdict(core, held) is None
    last = asset_core(held, core.outputs[:-1], core.issuances, burns={right: 1})
    assert verdict(last, held) is None
    forged, _ = issue(member)
    assert verdict(forged, DURE) is Rule.COLLECTION_AUTHORITY
    other = {**DURE, AT: holding(1, GOLD, 5)}
    borrowed, _ = issue(member, hold(1, GOLD, 5), coins=other)
    assert verdict(borrowed, other, book_of(supply=5)) is Rule.COLLECTION_AUTHORITY


# More of an asset


def reissue(*amounts: int, right: bool = True) -> tuple[Core, Coins]:
    coins: Coins = {**DURE, AT: holding(1, authority_id(GOLD))} if right else DURE
    outputs = [pay(1, 90), hold(2, GOLD, sum(amounts)), *([hold(1, authority_id(GOLD))] if right else [])]
    return asset_core(coins, outputs, [Reissue(GOLD, Amount(amount)) for amount in amounts]), coins


def test_more_takes_the_authority() -> None:
    """A068: nobody else issues, a fixed supply never grows, and one transaction does it once."""
    book = book_of(kind=SupplyKind.REISSUABLE, supply=10)
    core, coins = reissue(5)
    assert verdict(core, coins, book) is None
    assert effects_of(core, coins, book)[GOLD].supply == 15
    assert verdict(*reissue(5, right=False), book) is Rule.NO_AUTHORITY
    assert verdict(*reissue(5, right=False), book_of(supply=10)) is Rule.NO_AUTHORITY
    assert verdict(*reissue(5), {}) is Rule.UNKNOWN_ASSET
    assert verdict(*reissue(2, 3), book) is Rule.ISSUED_TWICE


def test_the_authority_is_one_coin_and_cannot_be_doubled() -> None:
    """A068: spent once, paid out once; burned, it closes the supply."""
    book = book_of(kind=SupplyKind.REISSUABLE, supply=10)
    core, coins = reissue(5)
    doubled = asset_core(coins, [*core.outputs, core.outputs[-1]], core.issuances)
    assert verdict(doubled, coins, book) is Rule.ASSET_CONSERVATION
    last = asset_core(coins, core.outputs[:-1], core.issuances, burns={authority_id(GOLD): 1})
    assert verdict(last, coins, book) is None


@pytest.mark.parametrize("amount", [1, MAX_INTEGER - 10, MAX_INTEGER - 9, MAX_INTEGER])
def test_a_supply_ends_at_the_largest_integer(amount: int) -> None:
    """A067, A068: counted before burns: what is burned may be issued again only in a later transaction."""
    book = book_of(kind=SupplyKind.REISSUABLE, supply=10)
    fits = amount <= MAX_INTEGER - 10
    core, coins = reissue(amount)
    assert verdict(core, coins, book) is (None if fits else Rule.SUPPLY_RANGE)
    coins = {**coins, outpoint(9): holding(1, GOLD, 10)}
    burning = asset_core(coins, core.outputs, core.issuances, burns={GOLD: 10})
    assert verdict(burning, coins, book) is (None if fits else Rule.SUPPLY_RANGE)


def test_a_reserved_supply_follows_its_newest_attestation() -> None:
    """A068: to the attested unit and not beyond; a lower total only stops issuing."""
    assert verdict(*reissue(1), book_of(kind=SupplyKind.RESERVED)) is Rule.ABOVE_RESERVE
    book = book_of(kind=SupplyKind.RESERVED, supply=90, sequence=1, total=100)
    assert verdict(*reissue(10), book) is None
    assert verdict(*reissue(11), book) is Rule.ABOVE_RESERVE
    lowered = asset_core(DURE, [pay(1, 90)], [Attestation(GOLD, 2, Amount(5))])
    assert verdict(lowered, DURE, book) is None
    after = effects_of(lowered, DURE, book)
    assert after[GOLD] == Asset(book[GOLD].definition, Amount(90), 2, Amount(5))
    assert verdict(*reissue(1), after) is Rule.ABOVE_RESERVE


@pytest.mark.parametrize("first", ["attestation", "reissue"])
def test_within_a_transaction_attestations_count_before_reissues(first: str) -> None:
    """Whatever their order in the array, and new assets come last of all."""
    book = book_of(kind=SupplyKind.RESERVED, supply=90, sequence=1, total=90)
    core, coins = reissue(10)
    issuances = [Attestation(GOLD, 2, Amount(100)), *core.issuances]
    both = asset_core(coins, core.outputs, issuances if first == "attestation" else issuances[::-1])
    assert verdict(both, coins, book) is None
    assert effects_of(both, coins, book)[GOLD] == Asset(book[GOLD].definition, Amount(100), 2, Amount(100))


def test_what_a_transaction_defines_it_cannot_issue_more_of() -> None:
    """A068: [1] and [2] name what existed before the transaction."""
    definition = define(SupplyKind.REISSUABLE, 5)
    core, name = issue(definition)
    more = asset_core(DURE, [*core.outputs, hold(1, name)], [NewAsset(definition), Reissue(name, Amount(1))])
    assert verdict(more, DURE) is Rule.UNKNOWN_ASSET
    reserved = define(SupplyKind.RESERVED)
    core, name = issue(reserved)
    attested = asset_core(DURE, core.outputs, [NewAsset(reserved), Attestation(name, 1, Amount(1))])
    assert verdict(attested, DURE) is Rule.UNKNOWN_ASSET


@pytest.mark.parametrize(
    ("sequence", "rule"), [(6, Rule.ATTESTATION_SEQUENCE), (7, Rule.ATTESTATION_SEQUENCE), (8, None)]
)
def test_each_attestation_is_newer_than_the_last(sequence: int, rule: Rule | None) -> None:
    """A068: an old one that is sent again changes nothing."""
    book = book_of(kind=SupplyKind.RESERVED, sequence=7, total=50)
    core = asset_core(DURE, [pay(1, 90)], [Attestation(GOLD, sequence, Amount(60))])
    assert verdict(core, DURE, book) is rule


def test_only_a_reserved_asset_is_attested() -> None:
    core = asset_core(DURE, [pay(1, 90)], [Attestation(GOLD, 1, Amount(60))])
    for kind in (SupplyKind.FIXED, SupplyKind.REISSUABLE):
        assert verdict(core, DURE, book_of(kind=kind)) is Rule.NOT_RESERVED
    assert verdict(core, DURE, {}) is Rule.UNKNOWN_ASSET
    twice = asset_core(DURE, [pay(1, 90)], [Attestation(GOLD, 1, Amount(60)), Attestation(GOLD, 2, Amount(61))])
    assert verdict(twice, DURE, book_of(kind=SupplyKind.RESERVED)) is Rule.ISSUED_TWICE


# Approvals


CONTROLLED = book_of(supply=9, controller=lock(3))
SHARES = {AT: holding(1, GOLD, 5)}


def test_a_controlled_asset_moves_only_with_its_controllers_approval() -> None:
    """A208: not without one, nor with that of whoever holds it."""
    core = asset_core(SHARES, [hold(2, GOLD, 5)])
    tx = carry(SHARES, core, CONTROLLED)
    assert [witness.policy for witness in tx.witnesses] == [key(1), key(3)]
    assert judge(tx, SHARES, CONTROLLED) is None
    assert judge(Transaction(core, tx.witnesses[:1]), SHARES, CONTROLLED) is Rule.WITNESS_COUNT
    assert judge(Transaction(core, (tx.witnesses[0],) * 2), SHARES, CONTROLLED) is Rule.POLICY_MISMATCH
    # Nor is an approval wanted where there is no controller.
    assert judge(tx, SHARES, book_of(supply=9)) is Rule.WITNESS_COUNT


def test_the_controller_approves_issues_and_burns_but_neither_authority_nor_reserve() -> None:
    """Entries of kind 0 and 1, burns, inputs and outputs; what carries only an attestation needs the auditor alone."""
    coins = {**DURE, **SHARES}
    burning = asset_core(coins, [pay(1, 90), hold(1, GOLD, 4)], burns={GOLD: 1})
    assert [approval.role for approval in approvals_of(burning, coins, CONTROLLED)] == [Role.CONTROLLER]
    born, _ = issue(define(SupplyKind.REISSUABLE, 0, controller=lock(3)))
    assert [approval.policy for approval in approvals_of(born, DURE, {})] == [lock(3)]
    book = book_of(kind=SupplyKind.RESERVED, supply=1, total=9, sequence=1, controller=lock(3))
    core, held = reissue(5)
    assert [approval.policy for approval in approvals_of(core, held, book)] == [lock(3)]
    moved = asset_core({AT: holding(1, authority_id(GOLD))}, [hold(2, authority_id(GOLD))])
    assert approvals_of(moved, {AT: holding(1, authority_id(GOLD))}, book) == []
    attested = asset_core(DURE, [pay(1, 90)], [Attestation(GOLD, 2, Amount(9))])
    assert [approval.role for approval in approvals_of(attested, DURE, book)] == [Role.AUDITOR]
    both = asset_core(held, core.outputs, [*core.issuances, Attestation(GOLD, 2, Amount(9))])
    assert [approval.role for approval in approvals_of(both, held, book)] == [Role.CONTROLLER, Role.AUDITOR]


def test_approvals_stand_in_the_order_of_ids_and_are_never_merged() -> None:
    """One policy that controls two assets approves twice, with two digests."""
    book = (
        CONTROLLED
        | book_of(SILVER, supply=9, controller=lock(3))
        | book_of(AssetId(b"a" * 32), supply=9, controller=lock(4))
    )
    coins = {outpoint(n): holding(1, name, 2) for n, name in enumerate(book, start=1)}
    core = asset_core(coins, [hold(2, name, 2) for name in book])
    approvals = approvals_of(core, coins, book)
    assert [approval.asset for approval in approvals] == sorted(book)
    tx = carry(coins, core, book)
    assert judge(tx, coins, book) is None
    owner, first, second, third = tx.witnesses
    assert judge(Transaction(core, (owner, second, first, third)), coins, book) is Rule.POLICY_MISMATCH
    # The same key and policy, but another asset's signature.
    assert judge(Transaction(core, (owner, first, third, second)), coins, book) is Rule.BAD_SIGNATURE
    assert judge(Transaction(core, (owner, first, second)), coins, book) is Rule.WITNESS_COUNT
    assert judge(Transaction(core, (owner, first, second, third, third)), coins, book) is Rule.WITNESS_COUNT


def test_an_approval_is_for_one_transaction_one_asset_and_one_network() -> None:
    """A039, A208: it can be used for nothing else; and a signature that spends is no approval."""
    core = asset_core(SHARES, [hold(2, GOLD, 5)])
    tx = carry(SHARES, core, CONTROLLED)
    other = asset_core(SHARES, [hold(4, GOLD, 5)])
    mixed = (carry(SHARES, other, CONTROLLED).witnesses[0], tx.witnesses[1])
    assert judge(Transaction(other, mixed), SHARES, CONTROLLED) is Rule.BAD_SIGNATURE
    elsewhere = carry(SHARES, core, CONTROLLED, params=TEST)
    assert judge(Transaction(core, (tx.witnesses[0], elsewhere.witnesses[1])), SHARES, CONTROLLED) is Rule.BAD_SIGNATURE
    own = {AT: holding(3, GOLD, 5)}
    spending = carry(own, asset_core(own, [hold(2, GOLD, 5)]), CONTROLLED)
    assert judge(spending, own, CONTROLLED) is None
    twice = Transaction(spending.core, (spending.witnesses[0],) * 2)
    assert judge(twice, own, CONTROLLED) is Rule.BAD_SIGNATURE


@pytest.mark.parametrize(
    ("leaf", "context", "rule"),
    [
        (AfterHeight(200), HERE, None),
        (AfterHeight(201), HERE, Rule.AFTER_HEIGHT),
        (AfterTime(1_800_000_000), HERE, None),
        (AfterTime(1_800_000_001), HERE, Rule.AFTER_TIME),
        (Pays(lock(2)), HERE, Rule.APPROVAL_LEAF),
    ],
    ids=str,
)
def test_what_an_approval_may_depend_on(leaf: AfterHeight, context: SpendContext, rule: Rule | None) -> None:
    """Height and time hold as elsewhere; age and payees belong to a coin, and an approval has none."""
    policy = Threshold(2, (key(3), leaf))
    book = book_of(supply=9, controller=policy_id(policy))
    tx = carry(SHARES, asset_core(SHARES, [hold(2, GOLD, 5)]), book, {policy_id(policy): policy})
    assert judge(tx, SHARES, book, context) is rule


def test_a_vault_guards_an_asset_as_it_does_dure() -> None:
    """`pays` asks for the same asset, at least as much of it."""
    policy = Pays(lock(2))
    coins = {AT: Coin(Output(Amount(5), policy_id(policy), GOLD), 1, False), outpoint(9): holding(1, GOLD, 1)}
    good = asset_core(coins, [hold(2, GOLD, 5), hold(1, GOLD, 1)])
    bad = asset_core(coins, [hold(2, GOLD, 4), hold(1, GOLD, 2)])
    for core, rule in ((good, None), (bad, Rule.PAYS)):
        tx = carry(coins, core, {}, {policy_id(policy): policy})
        assert judge(tx, coins) is rule


def test_a_record_that_was_not_fetched_is_a_mistake_not_an_approval() -> None:
    """A caller who forgets an asset must not thereby free it from its controller."""
    tx = carry(SHARES, asset_core(SHARES, [hold(2, GOLD, 5)]), CONTROLLED)
    with pytest.raises(KeyError):
        asset_effects(tx, SHARES, {})


# Blocks


def connect(parent: ChainState, txs: Sequence[Transaction], coins: Coins, book: Book) -> AppliedBlock:
    block = mine(REGTEST, parent, txs)
    check_block(REGTEST, block)
    return apply(REGTEST, parent, block, coins, book)


def test_transactions_of_a_block_build_on_each_others_assets() -> None:
    """Issued, attested, issued up to the reserve, burned and issued again, all in one block and in this order only."""
    parent = genesis_state(REGTEST)
    definition = define(SupplyKind.RESERVED, controller=lock(3))
    coins: dict[OutPoint, Coin] = {outpoint(n): coin(1, 100) for n in range(1, 5)}
    name = new_id([outpoint(1)], definition)
    right = authority_id(name)
    book: Book = {name: Asset(definition, Amount(0), 0, Amount(0))}

    def at(*names: OutPoint, txs: Sequence[Transaction] = ()) -> Coins:
        made = {OutPoint(tx.txid, i): Coin(o, 1, False) for tx in txs for i, o in enumerate(tx.core.outputs)}
        return {each: (coins | made)[each] for each in names}

    first = at(outpoint(1))
    born = carry(first, asset_core(first, [hold(1, right)], [NewAsset(definition)]))
    second = at(outpoint(2))
    attest = carry(second, asset_core(second, [pay(1, 90)], [Attestation(name, 1, Amount(10))]), book)
    third = at(OutPoint(born.txid, 0), txs=[born])
    book = {name: Asset(definition, Amount(0), 1, Amount(10))}
    more = carry(third, asset_core(third, [hold(1, right), hold(1, name, 10)], [Reissue(name, Amount(10))]), book)
    fourth = at(outpoint(3), OutPoint(more.txid, 1), txs=[more])
    book = {name: Asset(definition, Amount(10), 1, Amount(10))}
    burn = carry(fourth, asset_core(fourth, [pay(1, 90)], burns={name: 10}), book)
    book = {name: Asset(definition, Amount(0), 1, Amount(10))}
    fifth = at(OutPoint(more.txid, 0), txs=[more])
    again = carry(fifth, asset_core(fifth, [hold(1, right), hold(2, name, 9)], [Reissue(name, Amount(9))]), book)
    order = [born, attest, more, burn, again]
    applied = connect(parent, order, coins, {})
    assert verify_all(applied.checks) is None
    assert applied.delta.assets == {name: Asset(definition, Amount(9), 1, Amount(10))}
    assert applied.undo.assets == ((name, None),)
    for wrong in (
        [attest, born, more, burn, again],
        [born, more, attest, burn, again],
        [born, attest, more, again, burn],
    ):
        with pytest.raises(ConsensusError):
            connect(parent, wrong, coins, {})


def test_a_definition_hides_no_repetition_behind_it() -> None:
    """A071: every entry is looked at, in whatever order kinds stand."""
    book = book_of(kind=SupplyKind.REISSUABLE)
    coins = {**DURE, AT: holding(1, authority_id(GOLD))}
    definition = define(first=5)
    made = [pay(2, 90), hold(1, authority_id(GOLD)), hold(2, new_id(coins, definition), 5), hold(2, GOLD, 2)]
    one: list[NewAsset | Reissue | Attestation] = [NewAsset(definition), Reissue(GOLD, Amount(2))]
    twice: list[NewAsset | Reissue | Attestation] = [NewAsset(definition), *[Reissue(GOLD, Amount(1))] * 2]
    assert verdict(asset_core(coins, made, one), coins, book) is None
    assert verdict(asset_core(coins, made, twice), coins, book) is Rule.ISSUED_TWICE
    behind = asset_core(coins, made, [*one, NewAsset(define(first=0))])
    assert verdict(behind, coins, book) is Rule.DEFINITION_AMOUNT


def test_a_transaction_tells_which_assets_it_defines() -> None:
    """Their ids are made of its first input, their places among all entries, and their definitions."""
    definitions = define(first=1), define(first=2), define(first=1)
    unsigned = asset_core(DURE, [pay(2, 90)], [NewAsset(definitions[0]), Reissue(GOLD, Amount(1))])
    unsigned = replace(unsigned, issuances=(*unsigned.issuances, *map(NewAsset, definitions[1:])))
    first = unsigned.inputs[0]
    assert defined_by(Transaction(unsigned, ())) == {
        asset_id(first, place, each): each for place, each in zip((0, 2, 3), definitions, strict=True)
    }
    assert len({asset_id(first, place, definitions[0]) for place in (0, 2, 3)}) == 3


def test_a_block_tells_every_record_that_it_changes() -> None:
    """A075: of each of its transactions, in its order, and what each was before."""
    parent = genesis_state(REGTEST)
    coins: dict[OutPoint, Coin] = {outpoint(n): coin(1, 100) for n in (1, 2, 3)}
    definitions = [define(first=n) for n in (1, 2, 3)]
    txs, names = [], []
    for (name, held), definition in zip(coins.items(), definitions, strict=True):
        asset = new_id([name], definition)
        txs.append(
            carry(
                {name: held},
                asset_core({name: held}, [hold(1, asset, definition.first_amount)], [NewAsset(definition)]),
            )
        )
        names.append(asset)
    applied = connect(parent, txs, coins, {})
    assert applied.delta.assets == {
        asset: Asset(definition, definition.first_amount, 0, Amount(0))
        for asset, definition in zip(names, definitions, strict=True)
    }
    assert applied.undo.assets == tuple((asset, None) for asset in names)


def test_an_asset_has_one_entry_in_the_state_hash() -> None:
    record = book_of(supply=7, sequence=2, total=9, kind=SupplyKind.RESERVED)[GOLD]
    assert asset_entry(GOLD, record) == encode([1, GOLD, record.definition, 7, 2, 9])


# Whole chains at random


@pytest.mark.parametrize("seed", range(6))
def test_random_chains_conserve_every_asset_and_undo_to_the_unit(seed: int) -> None:
    """A067, A068, A071, A073, A075: over some hundred transactions, a few of them one unit off."""
    town = Town(seed)
    for _ in range(120):
        town.step()
    assert len(town.book) > 5
    assert sum(town.burned.values()) > 0
    assert town.taken > town.refused > 0


def test_signatures_of_approvals_count_against_a_blocks_bound() -> None:
    """A018: they are verified like others."""
    tx = carry(SHARES, asset_core(SHARES, [hold(2, GOLD, 5)]), CONTROLLED)
    assert count_signatures(tx) == 2
