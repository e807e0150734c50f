"""`dure wallet` against nodes that answer as they are told: what is asked of them, what is printed, what is hidden."""

from __future__ import annotations

import base64
import json
import re
import shlex
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from cli.main import main
from consensus.address import encode_address
from consensus.params import LOCAL
from consensus.types import LockId
from tests.support.network import FakeNodes, Refusal, balances_of, fake_network
from tests.support.repository import ROOT

TXID, OTHER = "ab" * 32, "abcd" + "00" * 30
ADDRESS = encode_address(LOCAL, LockId(bytes(range(32))))
SECRET = "correct horse"


def dure(*arguments: str, typed: str | None = None) -> Result:
    return CliRunner().invoke(main, ("wallet", *arguments), input=typed)


def info(**more: Any) -> dict[str, Any]:
    usual = {
        "walletname": "", "walletversion": 1, "format": "lmdb", "txcount": 3, "keypoolsize": 2, "coins": 1,
        "private_keys_enabled": True, "encrypted": False, "locked": False, "scanning": False,
        "lastprocessedblock": {"hash": "00" * 32, "height": 9},
    }  # fmt: skip
    return usual | more


def entry(**more: Any) -> dict[str, Any]:
    usual: dict[str, Any] = {
        "address": ADDRESS, "category": "send", "amount": -1.5, "label": "", "vout": 0, "confirmations": 3,
        "txid": TXID, "walletconflicts": [], "time": 1_767_225_600, "timereceived": 1_767_225_600,
        "abandoned": False, "state": "confirmed",
    }  # fmt: skip
    return usual | more


@pytest.fixture
def nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeNodes]:
    monkeypatch.setenv("DURE_DIR", str(tmp_path / "net"))
    monkeypatch.setenv("DURE_PROGRAM", "dure")
    answers = {
        "getwalletinfo": info(),
        "getbalances": lambda node, _params: balances_of("12.5", immature="50"),
        "listtransactions": [entry(), entry(category="receive", amount=2, label="rent", state="pending", txid=OTHER)],
        "getnewaddress": lambda node, params: f"new address of {node} {params}",
        "sendmany": {"txid": TXID, "fee": 0.00000243, "fee_reason": ""},
        "listlockunspent": [],
        "listassettransactions": [],
    }
    with fake_network(tmp_path / "net", 2, **answers) as running:
        yield running


def refusing(code: int, message: str) -> Any:
    def refuse(_node: int, _params: list[Any]) -> Any:
        raise Refusal(code, message)

    return refuse


# Reading


def test_info_tells_what_is_there_and_what_to_do_next(nodes: FakeNodes) -> None:
    said = dure("info", "1").stdout
    assert "not encrypted. Encrypt it: dure wallet encrypt 1" in said
    assert "can be spent  12.50000000 DURE" in said
    nodes.answers["getwalletinfo"] = info(encrypted=True, locked=True, unlocked_until=0)
    assert "locked. Unlock it: dure wallet unlock 1" in dure("info", "1").stdout
    nodes.answers["getwalletinfo"] = info(encrypted=True, unlocked_until=1_767_225_661)
    assert "unlocked until 00:01:01 UTC" in dure("info", "1").stdout
    nodes.answers["getwalletinfo"] = info(encrypted=True, unlocked_until=2**32 - 1)
    assert "unlocked. Lock it" in dure("info", "1").stdout
    nodes.answers["getwalletinfo"] = info(scanning={"duration": 0, "progress": 0.25})
    assert "25% done" in dure("info", "1").stdout
    assert json.loads(dure("info", "1", "--json").stdout)["wallet"]["coins"] == 1


def test_history_fits_eighty_columns_and_shows_what_is_in_conflict(nodes: FakeNodes) -> None:
    """A156"""
    nodes.answers["listtransactions"] = [
        entry(amount=-123456.12345678),
        entry(state="conflicted", confirmations=-7),
        entry(state="orphaned", category="orphan", amount=50, label="x" * 200),
        entry(state="abandoned"),
        entry(state="conflicted", replaced_by_txid=OTHER, walletconflicts=[OTHER]),
    ]
    lines = dure("history", "0").stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert [line.split()[2:5] for line in lines[1:3]] == [
        ["paid", "-123456.12345678", "3"],
        ["paid", "-1.50000000", "conflicted"],
    ]
    assert "lost" in lines[3]
    assert "orphaned" in lines[3]
    assert "replaced" in lines[5]
    nodes.answers["listtransactions"] = []
    assert dure("history", "0").stdout == "Nothing has happened yet.\n"


def test_a_transaction_is_named_by_the_first_digits_of_its_id(nodes: FakeNodes) -> None:
    for start, words in (("ff", "No transaction"), ("ab", "More than one")):
        refused = dure("abandon", "0", start)
        assert (refused.exit_code, words in refused.stderr) == (1, True)
    assert dure("abandon", "0", "ABCD").exit_code == 0
    assert dure("abandon", "0", "00" * 32).exit_code == 0
    assert nodes.calls_of("abandontransaction") == [(0, [OTHER]), (0, ["00" * 32])]


def test_a_transaction_of_nothing_but_an_asset_is_found_and_told(nodes: FakeNodes) -> None:
    txid, asset = "cd" * 32, "9bb2" + "00" * 30
    line = {
        "category": "sent", "asset": asset, "metadata": None, "decimals": 2, "amount": -125, "addresses": [ADDRESS],
        "txid": txid, "state": "pending", "confirmations": 0, "time": 1_767_225_600,
    }  # fmt: skip
    nodes.answers["listassettransactions"] = [line]
    nodes.answers["gettransaction"] = {
        "amount": 0, "fee": -0.00000455, "confirmations": 0, "txid": txid, "wtxid": txid, "walletconflicts": [],
        "time": 1_767_225_600, "timereceived": 1_767_225_600, "state": "pending", "details": [], "hex": "",
        "lastprocessedblock": {"hash": "00" * 32, "height": 9},
    }  # fmt: skip
    said = dure("show", "0", "cdcd").stdout
    assert nodes.calls_of("gettransaction") == [(0, [txid])]
    assert nodes.calls_of("listassettransactions")[-1] == (0, [1, 0, None, txid])
    assert f"-1.25  {asset[:16]}, to {ADDRESS}" in said
    assert "0.00000455 DURE" in said
    assert "brought" not in said
    told = json.loads(dure("show", "0", "cdcd", "--json").stdout)
    assert (told["transaction"]["txid"], told["assets"][0]["amount"]) == (txid, -125)


def test_coins_are_set_aside_by_name(nodes: FakeNodes) -> None:
    assert dure("set-aside", "0", "abab:1", f"{OTHER}:0", "--for-good").exit_code == 0
    assert nodes.calls_of("lockunspent") == [
        (0, [False, [{"txid": TXID, "vout": 1}, {"txid": OTHER, "vout": 0}], True])
    ]
    assert dure("take-back", "0").exit_code == 0
    assert nodes.calls_of("lockunspent")[1] == (0, [True, None])
    for nonsense in ("abab", "abab:x", ":1", "abab:-1"):
        assert dure("set-aside", "0", "--", nonsense).exit_code == 2


# Paying


def test_several_are_paid_at_once(nodes: FakeNodes) -> None:
    result = dure("pay", "0", f"{ADDRESS}=1.5", "1=0.00000546", "--fee-rate", "2.5", "--they-pay-the-fee", "--force")
    assert "fee of 0.00000243 DURE" in result.stdout
    assert "dure wallet show 0 abababab" in result.stdout
    new = "new address of 1 []"
    ((node, params),) = nodes.calls_of("sendmany")
    assert (node, params[1]) == (0, {ADDRESS: "1.50000000", new: "0.00000546"})
    assert (params[4], params[8:]) == ([ADDRESS, new], ["2.5", True, None, True])


@pytest.mark.parametrize("payment", ["1", "=1", "1=", "1=0", "1=x", "1=-1", "1=0.000000001"])
def test_what_is_no_payment_is_refused_before_any_node_is_asked(nodes: FakeNodes, payment: str) -> None:
    assert dure("pay", "0", "1=1", "--", payment).exit_code == 2
    assert nodes.calls_of("sendmany") == nodes.calls_of("getnewaddress") == []


def test_nobody_is_paid_twice_in_one_payment(nodes: FakeNodes) -> None:
    assert "twice" in dure("pay", "0", f"{ADDRESS}=1", f"{ADDRESS}=2").stderr
    assert nodes.calls_of("sendmany") == []


def test_a_repeated_request_is_the_same_payment_to_a_node_too(nodes: FakeNodes) -> None:
    """A155: the node that is paid gives the address again that it gave for this request."""
    nodes.answers["getaddressesbylabel"] = refusing(-11, "No addresses with that label")
    assert dure("pay", "0", "1=1", "--request-id", "order 7").exit_code == 0
    assert nodes.calls_of("getnewaddress") == [(1, ["request order 7"])]
    given = nodes.calls_of("sendmany")[0][1][1]
    nodes.answers["getaddressesbylabel"] = {next(iter(given)): {"purpose": "receive"}}
    assert dure("pay", "0", "1=1", "--request-id", "order 7").exit_code == 0
    first, second = nodes.calls_of("sendmany")
    assert first == second
    assert len(nodes.calls_of("getnewaddress")) == 1


@pytest.mark.parametrize("rate", ["x", "-1", "1e3", "1.2345", ".", "1.", ""])
def test_what_is_no_fee_rate_is_a_mistake_of_usage(nodes: FakeNodes, rate: str) -> None:
    assert dure("pay", "0", "1=1", f"--fee-rate={rate}").exit_code == 2


# Secrets


def test_a_passphrase_comes_from_standard_input_or_a_file_and_never_from_an_argument(
    nodes: FakeNodes, tmp_path: Path
) -> None:
    """A150: arguments stand in the list of processes and in the shell's history."""
    nodes.answers["encryptwallet"] = "wallet encrypted"
    assert dure("encrypt", "0", typed=f"{SECRET}\n").exit_code == 0
    file = tmp_path / "secret"
    file.write_text(f"{SECRET}\nand a note\n")
    assert dure("encrypt", "0", "--passphrase-file", str(file)).exit_code == 0
    assert nodes.calls_of("encryptwallet") == [(0, [SECRET])] * 2
    assert dure("unlock", "0", SECRET).exit_code == 2
    new = tmp_path / "new"
    new.write_text("new one")
    changed = dure("passphrase", "0", "--old-file", str(file), "--new-file", str(new))
    assert nodes.calls_of("walletpassphrasechange") == [(0, [SECRET, "new one"])]
    assert SECRET not in changed.output


@pytest.mark.parametrize(("given", "seconds"), [("90s", 90), ("10m", 600), ("2h", 7_200), ("1d", 86_400), ("5", 5)])
def test_a_wallet_is_unlocked_for_a_time(nodes: FakeNodes, given: str, seconds: int) -> None:
    nodes.answers["getwalletinfo"] = info(encrypted=True, unlocked_until=1_767_225_661)
    assert "until 00:01:01 UTC" in dure("unlock", "0", "--for", given, typed=SECRET).stdout
    assert nodes.calls_of("walletpassphrase") == [(0, [SECRET, seconds])]


@pytest.mark.parametrize("given", ["x", "-1s", "1w", "", "s", "9999999999"])
def test_what_is_no_time_is_a_mistake_of_usage(nodes: FakeNodes, given: str) -> None:
    assert dure("unlock", "0", f"--for={given}", typed=SECRET).exit_code == 2


def test_an_empty_passphrase_is_not_sent(nodes: FakeNodes, tmp_path: Path) -> None:
    for result in (dure("unlock", "0", typed="\n"), dure("unlock", "0", typed="")):
        assert (result.exit_code, "empty" in result.stderr) == (1, True)
    missing = dure("unlock", "0", "--passphrase-file", str(tmp_path / "none"))
    assert (missing.exit_code, "cannot be read" in missing.stderr) == (1, True)
    assert nodes.calls_of("walletpassphrase") == []


def test_a_locked_wallet_says_how_it_is_unlocked(nodes: FakeNodes) -> None:
    nodes.answers["sendmany"] = refusing(-13, "the wallet is locked: unlock it first")
    result = dure("pay", "1", f"{ADDRESS}=1")
    assert result.exit_code == 1
    assert result.stderr == ("Node 1 refused: the wallet is locked: unlock it first. Unlock it: dure wallet unlock 1\n")
    nodes.answers["sendmany"] = refusing(-6, "too little")
    assert dure("pay", "1", f"{ADDRESS}=1").stderr == "Node 1 refused: too little\n"


def test_a_backup_is_its_owners_alone_and_never_written_over(nodes: FakeNodes, tmp_path: Path) -> None:
    """A150: mode 0600 from its making."""
    nodes.answers["getwalletbackup"] = base64.b64encode(b"all of it").decode()
    file = tmp_path / "a.backup"
    assert "NOT encrypted" in dure("backup", "0", str(file)).stdout
    assert (file.read_bytes(), stat.S_IMODE(file.stat().st_mode)) == (b"all of it", 0o600)
    nodes.answers["getwalletbackup"] = base64.b64encode(b"another").decode()
    again = dure("backup", "0", str(file))
    assert (again.exit_code, "there already" in again.stderr) == (1, True)
    assert file.read_bytes() == b"all of it"
    nodes.answers["getwalletinfo"] = info(encrypted=True)
    assert "under the wallet's passphrase" in dure("backup", "0", str(tmp_path / "b")).stdout
    assert dure("backup", "0", str(tmp_path / "none" / "b")).exit_code == 1


def test_words_are_numbered_so_that_none_is_left_out(nodes: FakeNodes) -> None:
    nodes.answers["getmnemonic"] = " ".join(f"word{n}" for n in range(1, 13))
    lines = dure("words", "0").stdout.splitlines()
    assert lines[0].split() == ["1", "word1", "2", "word2", "3", "word3", "4", "word4"]
    assert json.loads(dure("words", "0", "--json").stdout) == {"words": nodes.answers["getmnemonic"]}


def test_a_signature_that_does_not_hold_ends_with_a_status(nodes: FakeNodes) -> None:
    nodes.answers["verifymessage"] = True
    assert dure("verify", "0", ADDRESS, "x", "hello").exit_code == 0
    nodes.answers["verifymessage"] = False
    result = dure("verify", "0", ADDRESS, "x", "hello")
    assert (result.exit_code, "NOT signed" in result.stdout) == (1, True)


def test_a_key_is_imported_from_a_file_or_from_standard_input(nodes: FakeNodes, tmp_path: Path) -> None:
    nodes.answers["importkey"] = ADDRESS
    (tmp_path / "key.pem").write_text("PEM")
    assert dure("import-key", "0", str(tmp_path / "key.pem"), "--label", "old").exit_code == 0
    assert dure("import-key", "0", "-", typed="PEM").exit_code == 0
    assert nodes.calls_of("importkey") == [(0, ["PEM", "old"]), (0, ["PEM", ""])]
    (tmp_path / "big").write_bytes(bytes(70_000))
    assert "too large" in dure("import-key", "0", str(tmp_path / "big")).stderr


def test_a_wallet_is_made_under_a_passphrase_or_without(nodes: FakeNodes) -> None:
    nodes.answers["createwallet"] = {"name": "", "warnings": []}
    assert "wallet words 0" in dure("create", "0").stdout
    assert "wallet unlock 0" in dure("create", "0", "--encrypt", typed=SECRET).stdout
    assert nodes.calls_of("createwallet") == [(0, ["", False, False, None]), (0, ["", False, False, SECRET])]
    nodes.answers["createwallet"] = refusing(-4, "on this network a wallet takes a passphrase")
    assert dure("create", "0").stderr.endswith("Give it one: dure wallet create 0 --encrypt\n")


@pytest.mark.parametrize("content", ["legal winner thank\n year wave\n", "  legal winner   thank year wave"])
def test_a_wallet_comes_back_from_a_backup_or_from_words(nodes: FakeNodes, tmp_path: Path, content: str) -> None:
    nodes.answers["restorewallet"] = {"name": "", "warnings": [], "replaced": "wallet.before-1"}
    file = tmp_path / "kept"
    file.write_bytes(b"durewallet\x02 binary")
    assert "wallet.before-1" in dure("restore", "0", str(file), "--replace").stdout
    refused = dure("restore", "0", str(file), "--encrypt", typed=SECRET)
    assert (refused.exit_code, "its own passphrase" in refused.stderr) == (1, True)
    file.write_text(content)
    assert dure("restore", "0", str(file), "--encrypt", typed=SECRET).exit_code == 0
    assert nodes.calls_of("restorewallet") == [
        (0, ["", base64.b64encode(b"durewallet\x02 binary").decode(), None, True]),
        (0, ["", "legal winner thank year wave", SECRET, False]),
    ]


def test_a_node_without_a_wallet_says_how_to_make_one(nodes: FakeNodes) -> None:
    nodes.answers["getwalletinfo"] = refusing(-18, "This node runs without a wallet")
    assert dure("info", "0").stderr == (
        "Node 0 refused: This node runs without a wallet. Make one: dure wallet create 0\n"
    )


def test_a_payment_is_bumped_by_the_first_digits_of_its_id(nodes: FakeNodes) -> None:
    nodes.answers["bumpfee"] = {"txid": TXID, "origfee": 0.00000243, "fee": 0.0000054, "errors": []}
    assert "0.00000540 DURE now, it was 0.00000243" in dure("bump", "0", "abcd", "--fee-rate", "5").stdout
    assert dure("bump", "0", OTHER, "--from-output", "1", "--force").exit_code == 0
    assert nodes.calls_of("bumpfee") == [
        (0, [OTHER, {"force": False, "fee_rate": "5"}]),
        (0, [OTHER, {"force": True, "original_change_index": 1}]),
    ]


def test_every_command_on_the_page_is_one() -> None:
    """docs/wallet.md; what they do is tried on real nodes in tests/e2e/test_wallet.py."""
    page = (ROOT / "docs" / "wallet.md").read_text("utf-8")
    commands = re.findall(r"(?:^    |\$\(|`)dure (wallet [^|>)`\n]+)", page, re.MULTILINE)
    assert len(commands) > 30
    for line in commands:
        words = shlex.split(line.replace("NODE", "0"))
        context = click.Context(main)
        _, command, rest = main.resolve_command(context, words)
        assert isinstance(command, click.Group), line
        if rest:
            name, verb, rest = command.resolve_command(context, rest)
            assert verb is not None, line
            if rest:
                verb.make_context(name, list(rest), parent=context)
