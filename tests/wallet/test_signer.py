"""Signatures: deterministic, low, verified; worth nothing for anything but what was signed."""

from __future__ import annotations

import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest
from ecdsa import SECP256k1, SigningKey
from ecdsa.util import sigencode_string_canonize

from consensus.codec import lock_digest, spend_message
from consensus.errors import ConsensusError
from consensus.params import REGTEST
from consensus.signatures import SignatureCheck, public_key, sign, verify, verify_all
from consensus.state import SpendContext
from consensus.types import Amount, Coin, Core, Key, LockId, OutPoint, Output, Transaction, TxId
from consensus.validation import check_spends
from tests.support.wallets import PARAMS, lock_of, new_wallet, outside
from wallet.addresses import AddressBook
from wallet.errors import WalletError
from wallet.keys import master_node
from wallet.signer import Signer

ORDER = SECP256k1.order


def test_nonces_are_those_of_rfc_6979(vectors: Path) -> None:
    """A148: r is the x of k·G for the published first nonce of each message."""
    cases = json.loads((vectors / "ecdsa" / "rfc6979_secp256k1.json").read_text("utf-8"))
    assert len(cases) == 10
    for case in cases:
        digest = sha256(case["message"].encode()).digest()
        signature = sign(bytes.fromhex(case["d"]), digest)
        point = public_key(bytes.fromhex(case["k0"]))
        assert int.from_bytes(signature[:32], "big") == int.from_bytes(point[1:], "big") % ORDER


def test_a_second_library_makes_the_same_signatures() -> None:
    """A148: `ecdsa`, which shares no code with libsecp256k1."""
    for n in range(1, 12):
        key, digest = n.to_bytes(32, "big"), sha256(bytes([n])).digest()
        other = SigningKey.from_string(key, curve=SECP256k1).sign_digest_deterministic(
            digest, hashfunc=sha256, sigencode=sigencode_string_canonize
        )
        assert sign(key, digest) == other


@pytest.mark.slow
def test_ten_thousand_signatures_repeat_no_nonce_and_all_verify() -> None:
    """A148"""
    key = bytes(31) + b"\x05"
    public = public_key(key)
    seen: set[bytes] = set()
    for n in range(10_000):
        digest = sha256(n.to_bytes(4, "big")).digest()
        signature = sign(key, digest)
        assert int.from_bytes(signature[32:], "big") <= ORDER // 2
        seen.add(signature[:32])
        if n % 100 == 0:
            assert verify(SignatureCheck(digest, public, signature))
    assert len(seen) == 10_000


def test_only_libsecp256k1_signs() -> None:
    """A149: the pure Python library, whose timing leaks, is named in one module, which signs nothing."""
    folder = Path(__file__).parents[2] / "wallet"
    texts = {path.name: path.read_text("utf-8") for path in folder.glob("*.py")}
    users = {name for name, text in texts.items() if "import ecdsa" in text or "from ecdsa" in text}
    assert users == {"pem.py"}
    assert ".sign" not in texts["pem.py"]


def spending() -> tuple[Signer, AddressBook, Core, list[Output]]:
    wallet = new_wallet(outside())
    one, two = (lock_of(wallet.new_address()) for _ in range(2))
    spent = [Output(Amount(1000), one, None), Output(Amount(2000), two, None), Output(Amount(3000), one, None)]
    inputs = tuple(OutPoint(TxId(bytes(32)), n) for n in (1, 2, 3))
    core = Core(1, inputs, (Output(Amount(5500), LockId(bytes(32)), None),), (), (), b"")
    return Signer(PARAMS, wallet._keystore, wallet._addresses), wallet._addresses, core, spent


def holds(tx: Transaction, spent: list[Output], params: object = PARAMS) -> bool:
    coins = {outpoint: Coin(output, 1, False) for outpoint, output in zip(tx.core.inputs, spent, strict=True)}
    try:
        checks = check_spends(params, SpendContext(9, 0), tx, coins)  # type: ignore[arg-type]
    except ConsensusError:
        return False
    return verify_all(checks) is None


def test_one_witness_a_lock_in_the_order_of_first_appearance() -> None:
    signer, _, core, spent = spending()
    tx = signer.sign(core, spent)
    assert len(tx.witnesses) == 2
    assert holds(tx, spent)
    for witness, output in zip(tx.witnesses, spent[:2], strict=True):
        assert isinstance(witness.policy, Key)
        digest = lock_digest(spend_message(PARAMS.genesis_hash, core, spent), output.lock)
        assert verify(SignatureCheck(digest, witness.policy.key, witness.satisfactions[0]))


LIES: list[Callable[[list[Output]], list[Output]]] = [
    lambda spent: [Output(Amount(1001), spent[0].lock, None), *spent[1:]],
    lambda spent: [Output(Amount(999), spent[0].lock, None), *spent[1:]],
    lambda spent: [spent[0], spent[1], Output(spent[2].value, spent[1].lock, None)],
    lambda spent: [spent[2], spent[1], spent[0]],
]


@pytest.mark.parametrize("lie", LIES)
def test_a_signer_that_was_lied_to_has_signed_nothing_of_worth(lie: Callable[[list[Output]], list[Output]]) -> None:
    """A161: about an amount, a lock or an order; the true coins refuse the signature."""
    signer, _, core, spent = spending()
    tx = signer.sign(core, lie(spent))
    assert not holds(tx, spent)


def test_a_signature_is_worth_nothing_on_another_network_or_for_other_outputs() -> None:
    """A039"""
    signer, _, core, spent = spending()
    tx = signer.sign(core, spent)
    assert not holds(tx, spent, REGTEST)
    greedy = Core(1, core.inputs, (Output(Amount(5501), LockId(bytes(32)), None),), (), (), b"")
    assert not holds(Transaction(greedy, tx.witnesses), spent)


def test_a_coin_that_is_not_ours_is_not_signed_for() -> None:
    signer, _, core, spent = spending()
    with pytest.raises(WalletError, match="no key for this"):
        signer.sign(core, [*spent[:2], Output(Amount(5), LockId(bytes(32)), None)])


def test_a_database_that_names_the_wrong_key_signs_nothing() -> None:
    signer, addresses, core, spent = spending()
    stranger = master_node(bytes(16)).public()
    known = addresses.find(spent[0].lock)
    assert known is not None
    forged = Output(Amount(7), AddressBook.lock_of_private_key(master_node(bytes(17)).private_key), None)
    addresses._known[forged.lock] = known
    assert stranger.public_key
    with pytest.raises(WalletError, match="does not open"):
        signer.sign(core, [forged, *spent[1:]])
