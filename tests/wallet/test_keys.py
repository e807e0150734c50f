"""BIP 32: all published vectors, the invalid keys, and the edges of depth and index."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from consensus.signatures import public_key
from wallet.errors import KeyFormatError
from wallet.keys import (
    ACCOUNT_PATH,
    HARDENED,
    MAX_KEY_DEPTH,
    PrivateNode,
    PublicNode,
    master_node,
    parse_node,
)
from wallet.words import seed_of


def path_of(text: str) -> tuple[int, ...]:
    """m/0'/1 or m/0<sub>H</sub>/1 as numbers."""
    steps = text.replace("<sub>H</sub>", "'").split("/")[1:]
    return tuple(int(step.rstrip("'")) | (HARDENED if step.endswith("'") else 0) for step in steps)


def test_vectors_1_to_4_hold(vectors: Path) -> None:
    """A145"""
    text = (vectors / "bip32" / "bip-0032_test_vectors.txt").read_text("utf-8").split("===Test vector 5===")[0]
    seen = 0
    for part in text.split("Seed (hex): ")[1:]:
        root = master_node(bytes.fromhex(part.split()[0]))
        for path, xpub, xprv in re.findall(r"\* Chain (\S+)\n\*\* ext pub: (\S+)\n\*\* ext prv: (\S+)", part):
            node = root.descend(path_of(path))
            assert (node.serialize(), node.public().serialize()) == (xprv, xpub)
            assert parse_node(xprv) == _as_parsed(node)
            seen += 1
    assert seen == 17


def _as_parsed(node: PrivateNode) -> PrivateNode:
    parsed = parse_node(node.serialize())
    assert isinstance(parsed, PrivateNode)
    assert parsed.serialize() == node.serialize()
    return parsed


def test_the_json_vectors_hold(vectors: Path) -> None:
    """A145"""
    for vector in json.loads((vectors / "bip32" / "hd.json").read_text("utf-8")).values():
        if "seed" not in vector:
            continue
        root = master_node(bytes.fromhex(vector["seed"]))
        for path, keys in vector.items():
            if path.startswith("m"):
                node = root.descend(path_of(path))
                assert node.serialize() == keys["prv"]
                assert node.public().serialize() == keys["pub"]


def test_vector_5_every_invalid_key_is_refused_for_its_reason(vectors: Path) -> None:
    """A145"""
    text = (vectors / "bip32" / "bip-0032_test_vectors.txt").read_text("utf-8").split("===Test vector 5===")[1]
    cases = re.findall(r"^\* (\w+) \((.*)\)$", text, re.MULTILINE)
    assert len(cases) == 16
    says = {
        "mismatch": "secp256k1",
        "prefix": "secp256k1",
        "zero depth": "no parent and no index",
        "unknown extended key version": "unknown version",
        "not in 1..n-1": "secp256k1",
        "invalid pubkey 02": "secp256k1",
        "invalid checksum": "checksum",
    }
    for key, reason in cases:
        with pytest.raises(KeyFormatError) as refused:
            parse_node(key)
        assert next(said for part, said in says.items() if part in reason) in str(refused.value)


def test_public_and_private_children_are_the_same_keys() -> None:
    account = master_node(seed_of("")).descend(ACCOUNT_PATH)
    for branch in (0, 1):
        for index in (0, 1, HARDENED - 1):
            private = account.descend((branch, index))
            assert account.public().child(branch).child(index).public_key == public_key(private.private_key)


def test_index_and_depth_end_where_the_standard_says() -> None:
    """A145"""
    root = master_node(bytes(16))
    assert root.child(2**32 - 1).index == 2**32 - 1
    with pytest.raises(ValueError, match="2\\^32"):
        root.child(2**32)
    with pytest.raises(ValueError, match="2\\^32"):
        root.child(-1)
    public = root.public()
    public.child(HARDENED - 1)
    with pytest.raises(ValueError, match="hardened"):
        public.child(HARDENED)
    deepest = PrivateNode(bytes(31) + b"\x01", bytes(32), depth=MAX_KEY_DEPTH - 1).child(0)
    assert deepest.depth == MAX_KEY_DEPTH
    for node in (deepest, deepest.public()):
        with pytest.raises(ValueError, match="255"):
            node.child(0)


@pytest.mark.parametrize("size", [15, 65, 0])
def test_a_seed_of_the_wrong_length_gives_no_key(size: int) -> None:
    with pytest.raises(ValueError, match="16 to 64"):
        master_node(bytes(size))


@pytest.mark.parametrize("text", ["", "1", "0", "xprv", "é" * 111, "z" * 10_000])
def test_garbage_is_no_extended_key(text: str) -> None:
    with pytest.raises(KeyFormatError):
        parse_node(text)


def test_a_node_never_shows_its_key() -> None:
    """A150"""
    node = master_node(bytes(range(16)))
    assert node.private_key.hex() not in repr(node)
    assert repr(node.private_key) not in repr(node)


def test_a_public_node_of_another_text_is_public() -> None:
    parsed = parse_node(master_node(bytes(16)).public().serialize())
    assert isinstance(parsed, PublicNode)
