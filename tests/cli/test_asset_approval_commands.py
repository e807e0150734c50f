"""`dure asset approve`, `waiting` and `cancel` against nodes that answer as they are told."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from msgspec.structs import replace

from cli.main import main
from rpc.encoding import Dure
from rpc.schema import (
    AssetText,
    CancelledTransfer,
    FinalizedPsbt,
    PolicyKey,
    ProcessedPsbt,
    Psbt,
    PsbtAsset,
    PsbtPart,
)
from tests.cli.test_asset_commands import ASSET, TXID, balance, known
from tests.support.network import FakeNodes, Refusal, fake_network

RAW, SIGNED = b"durepsdt, signed", b"durepsdt, approved"
PSBT, APPROVED = base64.b64encode(RAW).decode(), base64.b64encode(SIGNED).decode()
REGISTRAR = "ldure1qregistrar"


def dure(*arguments: str, typed: str | None = None) -> Result:
    return CliRunner().invoke(main, arguments, input=typed)


def file(*, mine: bool = True, signed: bool = False) -> Psbt:
    """A share that moves with the approval of a registrar; its holder's coin is this wallet's own, too."""
    text = AssetText(name="Share", ticker=None, uri=None, media_type=None)
    key = PolicyKey(pubkey="02" * 33, ismine=mine)
    coin = PsbtPart(address="ldure1qown", name="yours", signed=[], unsigned=[key], preimages=[], branches=[])
    approval = replace(
        coin,
        address=REGISTRAR,
        asset=ASSET,
        approves="controller",
        signed=[key] if signed else [],
        unsigned=[] if signed else [key],
    )
    share = PsbtAsset(asset=ASSET, metadata=text, decimals=0, spent=4, created=0, paid_out=4, burned=0)
    nothing = Dure(0)
    return Psbt(
        txid=TXID, memo="", inputs=[], outputs=[], assets=[share], issuances=[], paid_in=nothing, paid_out=nothing,
        fee=Dure(1_000), parts=[coin, approval], complete=False, warnings=[],
    )  # fmt: skip


def waits(**more: Any) -> dict[str, Any]:
    usual = {
        "txid": TXID, "state": "waiting", "time": 1_767_225_600, "gives": [{"asset": ASSET, "amount": 400}],
        "addresses": ["ldure1qsomebody"], "fee": Dure(1_000), "approvers": [REGISTRAR], "comment": "rent",
    }  # fmt: skip
    return usual | more


@pytest.fixture
def nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeNodes]:
    monkeypatch.setenv("DURE_DIR", str(tmp_path / "net"))
    monkeypatch.setenv("DURE_PROGRAM", "dure")
    monkeypatch.chdir(tmp_path)
    answers: dict[str, Any] = {
        "getasset": known(),
        "getassetbalances": {
            "assets": [balance(ASSET, "Share", waiting=400)], "hidden": 0,
            "lastprocessedblock": {"hash": TXID, "height": 9},
        },
        "getnewaddress": "ldure1qsomebody",
        "getaddressinfo": lambda node, params: {
            "address": params[0], "scriptPubKey": "", "ismine": node == 2, "solvable": True, "iswatchonly": False,
            "ischange": False, "labels": [],
        },
        "sendassets": {"txid": TXID, "fee": Dure(1_000), "psbt": PSBT, "approvers": [REGISTRAR]},
        "attestasset": {"txid": TXID, "fee": Dure(1_000), "psbt": PSBT, "approvers": [REGISTRAR]},
        "decodepsbt": file(),
        "walletprocesspsbt": ProcessedPsbt(psbt=APPROVED, complete=True, signed=["02" * 33]),
        "finalizepsbt": FinalizedPsbt(hex="00", txid=TXID, complete=True),
        "listpolicies": {"policies": [], "withdrawals": []},
        "listwaitingtransfers": [waits()],
        "getwaitingtransfer": waits(psbt=PSBT),
        "cancelwaitingtransfer": CancelledTransfer(txid="cd" * 32, fee=Dure(500)),
    }  # fmt: skip
    with fake_network(tmp_path / "net", 3, **answers) as running:
        yield running


def test_a_transfer_that_waits_is_written_to_a_file_for_whoever_approves(nodes: FakeNodes) -> None:
    result = dure("asset", "send", "1", "0", "4", ASSET)
    assert result.exit_code == 0, result.stderr
    assert Path(f"{TXID[:16]}.psdt").read_bytes() == RAW
    assert "To be approved: Node 1 pays 4.00" in result.stdout
    assert f"node 2 ({REGISTRAR}): dure asset approve 2 {TXID[:16]}.psdt" in result.stdout
    assert dure("asset", "send", "1", "0", "4", ASSET).exit_code == 0, "the same file, once more"
    board = {
        "name": "board", "address": REGISTRAR, "policy": "", "branches": [], "confirmed": Dure(0), "pending": Dure(0),
        "immature": Dure(0), "coins": [], "assets": [], "keys": [{"pubkey": "02" * 33, "ismine": True}],
    }  # fmt: skip
    nodes.answers["listpolicies"] = lambda node, _params: {"policies": [board] if node else [], "withdrawals": []}
    assert f"nodes 1 and 2 ({REGISTRAR}): dure asset approve 1" in dure("asset", "send", "1", "0", "4", ASSET).stdout
    assert dure("asset", "attest", "1", "500", ASSET, "--out", "a.psdt").exit_code == 0
    assert Path("a.psdt").read_bytes() == RAW
    Path("a.psdt").write_bytes(b"mine")
    refused = dure("asset", "attest", "1", "500", ASSET, "--out", "a.psdt")
    assert (refused.exit_code, Path("a.psdt").read_bytes()) == (1, b"mine")
    assert f"dure asset waiting 1 {TXID[:16]} --out FILE" in refused.stderr


def test_an_approval_is_shown_asked_for_given_and_sent(nodes: FakeNodes) -> None:
    """A161: and nothing but it: no lock is signed for."""
    Path("x.psdt").write_bytes(RAW)
    refused = dure("asset", "approve", "2", "x.psdt", typed="n\n")
    assert (refused.exit_code, nodes.calls_of("walletprocesspsbt")) == (1, [])
    assert 'controller of "Share" (9bb2000000000000): this wallet' in refused.stdout
    assert 'Approve it, as controller of "Share" (9bb2000000000000)?' in refused.stderr
    result = dure("asset", "approve", "2", "x.psdt", typed="y\n")
    assert result.exit_code == 0, result.stderr
    ((node, params),) = nodes.calls_of("walletprocesspsbt")
    assert (node, params[0], params[5], params[8]) == (2, PSBT, [], [ASSET])
    assert nodes.calls_of("finalizepsbt") == [(2, [APPROVED, True, True])]
    assert f"sent it: transaction {TXID}" in result.stdout
    assert Path("x.psdt").read_bytes() == RAW
    assert dure("asset", "approve", "2", "x.psdt", "--json").exit_code == 1, "a script says --yes"


def test_an_approval_can_be_written_to_a_file_instead_and_is_if_more_are_wanted(nodes: FakeNodes) -> None:
    Path("x.psdt").write_bytes(RAW)
    assert dure("asset", "approve", "2", "x.psdt", "--yes", "--out", "y.psdt").exit_code == 0
    assert (Path("x.psdt").read_bytes(), Path("y.psdt").read_bytes()) == (RAW, SIGNED)
    nodes.answers["walletprocesspsbt"] = ProcessedPsbt(psbt=APPROVED, complete=False, signed=["02" * 33])
    result = dure("asset", "approve", "2", "x.psdt", "--yes")
    assert "not complete yet" in result.stdout
    assert "dure asset approve NODE x.psdt" in result.stdout
    assert (Path("x.psdt").read_bytes(), nodes.calls_of("finalizepsbt")) == (SIGNED, [])


@pytest.mark.parametrize(
    ("shown", "sentence"),
    [
        (file(mine=False), f"Those of {REGISTRAR} (controller of"),
        (file(signed=True), "has approved it already"),
        (replace(file(), parts=[]), "Nothing in it takes an approval"),
    ],
)
def test_who_has_nothing_to_approve_is_told_so(nodes: FakeNodes, shown: Psbt, sentence: str) -> None:
    """A208"""
    Path("x.psdt").write_bytes(RAW)
    nodes.answers["decodepsbt"] = shown
    refused = dure("asset", "approve", "2", "x.psdt", "--yes")
    assert (refused.exit_code, nodes.calls_of("walletprocesspsbt")) == (1, [])
    assert sentence in refused.stderr


def test_what_waits_is_listed_and_written_again(nodes: FakeNodes) -> None:
    """A070"""
    lines = dure("asset", "waiting", "1").stdout.splitlines()
    assert lines[0].split() == ["abababababababab", "01-01", "00:00", "waiting", "(rent)"]
    assert lines[1].startswith('  gives 4.00 "HOUR" (9bb2000000000000) to ldure1qsom')
    assert lines[2] == f"  wants the approval of {REGISTRAR}"
    assert dure("asset", "waiting", "1", "abab", "--out", "z.psdt").exit_code == 0
    assert Path("z.psdt").read_bytes() == RAW
    assert dure("asset", "waiting", "1", "cdcd").exit_code == 1
    assert dure("asset", "waiting", "1", "--out", "q.psdt").exit_code == 2
    row = next(line for line in dure("asset", "list", "1").stdout.splitlines() if "Share" in line)
    assert "4.00" in row
    nodes.answers["listwaitingtransfers"] = []
    assert dure("asset", "waiting", "1").stdout == "Nothing waits for an approval.\n"

    def unknown(_node: int, _params: list[Any]) -> Any:
        raise Refusal(-5, "No such asset on the best chain")

    nodes.answers |= {"listwaitingtransfers": [waits(state="lost", gives=[{"asset": ASSET, "amount": 1}])]}
    nodes.answers["getasset"] = unknown
    assert "1 smallest units 9bb2000000000000" in dure("asset", "waiting", "1").stdout


def test_a_transfer_is_taken_back_or_forgotten_only_when_that_is_meant(nodes: FakeNodes) -> None:
    result = dure("asset", "cancel", "1", "abab")
    assert "by transaction " + "cd" * 32 in result.stdout
    assert dure("asset", "cancel", "1", "abab", "--forget", typed="n\n").exit_code == 1
    assert dure("asset", "cancel", "1", "abab", "--forget", "--yes").exit_code == 0
    assert [params[:2] for _, params in nodes.calls_of("cancelwaitingtransfer")] == [[TXID, False], [TXID, True]]


def test_addresses_are_frozen_listed_and_freed(nodes: FakeNodes) -> None:
    """A070"""
    nodes.answers |= {
        "freezeaddress": None,
        "unfreezeaddress": None,
        "listfrozenaddresses": [{"asset": ASSET, "address": REGISTRAR, "why": "a court order"}],
    }  # fmt: skip
    result = dure("asset", "freeze", "2", ASSET, REGISTRAR, "--why", "a court order")
    assert nodes.calls_of("freezeaddress") == [(2, [ASSET, REGISTRAR, "a court order"])]
    assert f"dure asset unfreeze 2 9bb2000000000000 {REGISTRAR}" in result.stdout
    assert dure("asset", "frozen", "2").stdout == f'{REGISTRAR}  "HOUR" (9bb2000000000000)  a court order\n'
    assert dure("asset", "frozen", "2", ASSET).exit_code == 0
    assert [params for _, params in nodes.calls_of("listfrozenaddresses")] == [[None], [ASSET]]
    assert dure("asset", "unfreeze", "2", ASSET, REGISTRAR).exit_code == 0
    assert nodes.calls_of("unfreezeaddress") == [(2, [ASSET, REGISTRAR])]
    nodes.answers["listfrozenaddresses"] = []
    assert dure("asset", "frozen", "2").stdout == "Nothing is frozen.\n"


def test_the_authority_is_given_to_whoever_is_named(nodes: FakeNodes) -> None:
    nodes.answers["sendauthority"] = {"txid": TXID, "fee": Dure(700)}
    result = dure("asset", "entrust", "0", "1", ASSET, "--comment", "take over")
    assert nodes.calls_of("sendauthority") == [(0, [ASSET, "ldure1qsomebody", "take over", None, None, False])]
    told = 'Node 0 gives the authority over "HOUR" (9bb2000000000000) to ldure1qsomebody'
    assert result.stdout.splitlines()[0] == told
