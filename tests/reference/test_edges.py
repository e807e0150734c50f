"""The bounds of docs/protocol.md, each from both sides, put to both implementations."""

from __future__ import annotations

from typing import Any

import pytest

from node.storage.memory_store import MemoryDatabase
from node.storage.schema import TABLES
from tests.reference.chain import Chain
from tests.reference.differential import Case, Pair, judge_alone
from tests.reference.encoding import encode
from tests.reference.mutations import STRANGE, Raw, encode_tree
from tests.reference.stories import Story, tree_of
from tests.reference.subject import PARAMS, judge_transaction, network_of
from tests.support.chain import running
from tests.support.rules import coinbase

Tree = list[Any]
ID = bytes(range(32))
OTHER = bytes(range(1, 33))
KEY = [0, b"\2" + ID]
REFERENCE = Chain(network_of(PARAMS))
MOST = 2**63 - 1


def transaction(
    *,
    version: Any = 1,
    inputs: Any = None,
    outputs: Any = None,
    issuances: Any = (),
    burns: Any = (),
    memo: Any = b"",
    witnesses: Any = (),
) -> Tree:
    """A transaction that is good alone, but for what is given."""
    core = [
        version,
        [[ID, 0]] if inputs is None else list(inputs),
        [[1, ID, None]] if outputs is None else list(outputs),
        list(issuances),
        list(burns),
        memo,
    ]
    return [core, list(witnesses)]


def defines(**changes: Any) -> Tree:
    """A transaction that defines an asset."""
    fields: dict[str, Any] = {
        "kind": 1,
        "first": 1,
        "decimals": 0,
        "auditor": None,
        "controller": None,
        "content": None,
        "collection": None,
        "metadata": b"",
    }
    return transaction(issuances=[[0, list((fields | changes).values())]])


def shows(policy: Any, satisfactions: Any = ()) -> Tree:
    """A transaction with one witness."""
    return transaction(witnesses=[[policy, list(satisfactions)]])


def nested(levels: int) -> Any:
    """A leaf inside thresholds."""
    policy: Any = [4, 1]
    for _ in range(levels):
        policy = [5, 1, [policy]]
    return policy


def sized(size: int) -> Tree:
    """A transaction of exactly this size, 100,000 at least."""
    given = [bytes(9_000)] * (size // 9_003 - 3)
    while True:
        witnesses = [[KEY, given[at : at + 64]] for at in range(0, len(given), 64)]
        missing = size - len(encode(transaction(witnesses=[*witnesses, [KEY, [bytes(300)]]]))) + 300
        if missing <= 10_000:
            return transaction(witnesses=[*witnesses, [KEY, [bytes(missing)]]])
        given.append(bytes(9_000))


EDGES: list[tuple[str, Tree, str]] = [
    ("as it is", transaction(), "accept"),
    ("version 0", transaction(version=0), "tx-version"),
    ("version 2", transaction(version=2), "tx-version"),
    ("version of 63 bits", transaction(version=MOST), "tx-version"),
    ("version of 64 bits", transaction(version=Raw(b"\xcf\x80" + bytes(7))), "malformed"),
    ("no inputs", transaction(inputs=[]), "no-inputs"),
    ("no outputs", transaction(outputs=[]), "no-outputs"),
    ("4,096 inputs", transaction(inputs=[[ID, n] for n in range(4096)]), "accept"),
    ("4,097 inputs", transaction(inputs=[[ID, n] for n in range(4097)]), "malformed"),
    ("4,096 outputs", transaction(outputs=[[1, ID, None]] * 4096), "accept"),
    ("4,097 outputs", transaction(outputs=[[1, ID, None]] * 4097), "malformed"),
    ("an input twice", transaction(inputs=[[ID, 1], [ID, 2], [ID, 1]]), "duplicate-input"),
    ("the zero txid", transaction(inputs=[[ID, 1], [bytes(32), 1]]), "null-input"),
    ("index of 32 bits", transaction(inputs=[[ID, 2**32 - 1]]), "accept"),
    ("index of 33 bits", transaction(inputs=[[ID, 2**32]]), "malformed"),
    ("value 0", transaction(outputs=[[0, ID, None]]), "malformed"),
    ("all there will be", transaction(outputs=[[PARAMS.total_supply, ID, None]]), "accept"),
    ("one more", transaction(outputs=[[PARAMS.total_supply + 1, ID, None]]), "value-range"),
    ("one more in two", transaction(outputs=[[PARAMS.total_supply, ID, None], [1, ID, None]]), "value-range"),
    ("as much of an asset as can be", transaction(outputs=[[MOST, ID, ID]] * 3), "accept"),
    ("an asset id of 31 bytes", transaction(outputs=[[1, ID, bytes(31)]]), "malformed"),
    ("memo of 96", transaction(memo=bytes(96)), "accept"),
    ("memo of 97", transaction(memo=bytes(97)), "malformed"),
    ("64 issuances", transaction(issuances=[[1, bytes([n]) * 32, 1] for n in range(64)]), "accept"),
    ("65 issuances", transaction(issuances=[[1, bytes([n]) * 32, 1] for n in range(65)]), "malformed"),
    ("64 burns", transaction(burns=[[bytes([n]) * 32, 1] for n in range(64)]), "accept"),
    ("65 burns", transaction(burns=[[bytes([n]) * 32, 1] for n in range(65)]), "malformed"),
    ("a burn of 0", transaction(burns=[[ID, 0]]), "malformed"),
    ("burns in no order", transaction(burns=[[OTHER, 1], [ID, 1]]), "burn-order"),
    ("a burn twice", transaction(burns=[[ID, 1], [ID, 1]]), "burn-order"),
    ("an issue twice", transaction(issuances=[[1, ID, 1], [1, ID, 1]]), "issued-twice"),
    ("an attestation twice", transaction(issuances=[[2, ID, 1, 0], [2, ID, 2, 0]]), "issued-twice"),
    ("one of each", transaction(issuances=[[2, ID, 0, 0], [1, ID, 1]]), "accept"),
    ("an issue of 0", transaction(issuances=[[1, ID, 0]]), "malformed"),
    ("issuance of kind 3", transaction(issuances=[[3, ID, 1]]), "malformed"),
    ("issuance with a field too many", transaction(issuances=[[1, ID, 1, 1]]), "malformed"),
    ("issuance with no field", transaction(issuances=[[]]), "malformed"),
    ("fixed 1", defines(kind=0), "accept"),
    ("fixed 0", defines(kind=0, first=0), "definition-amount"),
    ("reissuable 0", defines(first=0), "accept"),
    ("reissuable with an auditor", defines(auditor=ID), "definition-auditor"),
    ("reserved 0", defines(kind=2, first=0, auditor=ID), "accept"),
    ("reserved 1", defines(kind=2, first=1, auditor=ID), "definition-amount"),
    ("reserved by nobody", defines(kind=2, first=0), "definition-auditor"),
    ("supply kind 3", defines(kind=3), "malformed"),
    ("18 decimals", defines(decimals=18), "accept"),
    ("19 decimals", defines(decimals=19), "malformed"),
    ("metadata of 1,024", defines(metadata=bytes(1024)), "accept"),
    ("metadata of 1,025", defines(metadata=bytes(1025)), "malformed"),
    ("a first amount of 63 bits", defines(first=MOST), "accept"),
    ("64 satisfactions", shows(KEY, [b""] * 64), "accept"),
    ("65 satisfactions", shows(KEY, [b""] * 65), "malformed"),
    ("a satisfaction of 10,000", shows(KEY, [bytes(10_000)]), "accept"),
    ("a satisfaction of 10,001", shows(KEY, [bytes(10_001)]), "malformed"),
    ("16 children", shows([5, 1, [KEY] * 16]), "accept"),
    ("17 children", shows([5, 1, [KEY] * 17]), "malformed"),
    ("no children", shows([5, MOST, []]), "accept"),
    ("k of 64 bits", shows([5, Raw(b"\xcf\x80" + bytes(7)), []]), "malformed"),
    ("10 thresholds deep", shows(nested(10)), "accept"),
    ("11 thresholds deep", shows(nested(11)), "malformed"),
    ("100 thresholds deep", shows(nested(100)), "malformed"),
    ("a key of 32", shows([0, ID]), "malformed"),
    ("a key of any form", shows([0, bytes(33)]), "accept"),
    ("height of 32 bits", shows([2, 2**32 - 1]), "accept"),
    ("height of 33 bits", shows([2, 2**32]), "malformed"),
    ("time of 32 bits", shows([3, 2**32 - 1]), "accept"),
    ("time of 33 bits", shows([3, 2**32]), "malformed"),
    ("no age", shows([4, 0]), "malformed"),
    ("age of 32 bits", shows([4, 2**32 - 1]), "accept"),
    ("age of 33 bits", shows([4, 2**32]), "malformed"),
    ("policy 8", shows([8, ID]), "malformed"),
    ("policy with no tag", shows([]), "malformed"),
    ("12,288 witnesses", transaction(witnesses=[[[4, 1], []]] * 12_288), "accept"),
    ("12,289 witnesses", transaction(witnesses=[[[4, 1], []]] * 12_289), "malformed"),
    ("400,000 bytes", sized(400_000), "accept"),
    ("400,001 bytes", sized(400_001), "tx-size"),
    ("63 bytes", [[1, [[ID, 0]], [], [], [], bytes(17)], []], "no-outputs"),
    ("64 bytes", [[1, [[ID, 0]], [], [], [], bytes(18)], []], "tx-size-64"),
    ("65 bytes", [[1, [[ID, 0]], [], [], [], bytes(19)], []], "no-outputs"),
]  # fmt: skip


@pytest.mark.parametrize(("tree", "verdict"), [edge[1:] for edge in EDGES], ids=[edge[0] for edge in EDGES])
def test_both_draw_the_line_at_the_same_place(tree: Tree, verdict: str) -> None:
    raw = encode_tree(tree)
    assert (judge_transaction(PARAMS, raw), judge_alone(REFERENCE, raw)) == (verdict, verdict)


def places(tree: Any) -> list[tuple[int, ...]]:
    """The way to every value in a tree."""
    if not isinstance(tree, list):
        return [()]
    return [(), *((at, *rest) for at, each in enumerate(tree) for rest in places(each))]


def put(tree: Any, place: tuple[int, ...], value: object) -> Any:
    """The tree with another value at a place."""
    if not place:
        return value
    return [*tree[: place[0]], put(tree[place[0]], place[1:], value), *tree[place[0] + 1 :]]


def test_both_refuse_every_strange_value_at_every_place() -> None:
    policy = [5, 2, [KEY, [1, ID], [2, 5], [3, 5], [4, 5], [6, ID], [7, ID]]]
    tree = transaction(
        issuances=[[0, [2, 0, 2, ID, OTHER, None, ID, b"meta"]], [1, ID, 5], [2, ID, 5, 5]],
        burns=[[ID, 5]],
        outputs=[[5, ID, None], [5, ID, ID]],
        witnesses=[[policy, [bytes(64), ID]]],
    )
    assert judge_transaction(PARAMS, encode(tree)) == judge_alone(REFERENCE, encode(tree)) == "accept"
    told = set()
    for place in places(tree):
        for strange in [*STRANGE, b"\x05", b"\xc4\x20" + ID, b"\x91\x05"]:
            raw = encode_tree(put(tree, place, Raw(strange)))
            ours, theirs = judge_transaction(PARAMS, raw), judge_alone(REFERENCE, raw)
            assert (ours == "accept") == (theirs == "accept"), (place, strange, ours, theirs)
            told.add(ours)
    assert {"accept", "malformed"} <= told


async def verdict_of(body: Tree) -> str:
    """What both say of a block of these transactions, the first after genesis."""
    async with running(MemoryDatabase(TABLES), PARAMS) as manager:
        pair = Pair(manager, PARAMS)
        header = Story(pair, 0)._header(PARAMS.genesis_hash, body)
        return await pair.give(Case("block", encode_tree([header, body])))


@pytest.mark.parametrize(("count", "verdict"), [(20_000, "missing-coin"), (20_001, "block-signatures")])
async def test_both_count_the_signatures_of_a_block(count: int, verdict: str) -> None:
    body: Tree = [tree_of(coinbase(1))]
    for at in range(0, count, 4_096):
        given = [bytes(64)] * min(4_096, count - at)
        body.append(
            transaction(inputs=[[ID, at]], witnesses=[[KEY, given[n : n + 64]] for n in range(0, len(given), 64)])
        )
    assert await verdict_of(body) == verdict


@pytest.mark.parametrize(("size", "verdict"), [(4_194_304, "missing-coin"), (4_194_305, "block-size")])
async def test_both_measure_a_block(size: int, verdict: str) -> None:
    first = tree_of(coinbase(1))
    others = [put(sized(390_000), (0, 1), [[ID, n]]) for n in range(10)]
    rest = size - len(encode([bytes(80), [first, *others, transaction()]])) + len(encode(transaction()))
    body = [first, *others, put(sized(rest), (0, 1), [[OTHER, 0]])]
    assert len(encode([bytes(80), body])) == size
    assert await verdict_of(body) == verdict


@pytest.mark.parametrize(("levels", "verdict"), [(9, "missing-coin"), (10, "malformed")])
async def test_both_count_depth_from_the_block(levels: int, verdict: str) -> None:
    """A transaction that is well-formed alone is not so in a block, where it lies two arrays deeper."""
    tree = shows(nested(levels))
    assert judge_alone(REFERENCE, encode(tree)) == "accept"
    assert await verdict_of([tree_of(coinbase(1)), tree]) == verdict
