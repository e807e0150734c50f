"""`dure asset` and `dure nft` against nodes that answer as they are told."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from cli.assets import quoted
from cli.main import main
from tests.support.network import FakeNodes, Refusal, fake_network

ASSET, OTHER = "9bb2" + "00" * 30, "9bc2" + "11" * 30
TXID = "ab" * 32


def dure(*arguments: str, typed: str | None = None) -> Result:
    return CliRunner().invoke(main, arguments, input=typed)


def known(asset: str = ASSET, **more: Any) -> dict[str, Any]:
    usual = {
        "asset": asset, "kind": "reissuable", "supply": 100_050, "decimals": 2, "closed": False, "authority": None,
        "controller": None, "auditor": None, "content": None, "collection": None, "raw_metadata": "",
        "metadata": {"name": "Hours", "ticker": "HOUR", "uri": None, "media_type": None},
        "origin": {"txid": TXID, "blockhash": TXID, "height": 7, "time": 1_767_225_600, "issuer": "the issuer"},
    }  # fmt: skip
    return usual | more


def balance(asset: str, name: str, **more: Any) -> dict[str, Any]:
    text = {"name": name, "ticker": None, "uri": None, "media_type": None}
    usual = {"asset": asset, "metadata": text, "decimals": 2, "trusted": 1250, "untrusted_pending": 0, "waiting": 0}
    return usual | {"authority": False, "shown": True} | more


@pytest.fixture
def nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeNodes]:
    monkeypatch.setenv("DURE_DIR", str(tmp_path / "net"))
    monkeypatch.setenv("DURE_PROGRAM", "dure")
    sent = {"txid": TXID, "fee": 0.00000243}
    held = [balance(ASSET, "Hours", authority=True), balance(OTHER, "[red]spam", shown=False)]
    answers = {
        "getassetbalances": {"assets": held, "hidden": 1, "lastprocessedblock": {"hash": TXID, "height": 9}},
        "getasset": lambda _node, params: known(params[0]),
        "getnewaddress": lambda node, _params: f"address of {node}",
        "issueasset": sent | {"asset": ASSET},
        "listassets": [],
        "listpolicies": {"policies": [], "withdrawals": []},
    }
    answers |= dict.fromkeys(("sendassets", "reissueasset", "burnasset", "attestasset", "closeasset"), sent)
    answers["showasset"] = None
    with fake_network(tmp_path / "net", 2, **answers) as running:
        yield running


def asked(nodes: FakeNodes, method: str) -> list[Any]:
    return nodes.calls_of(method)[-1][1]


def test_a_list_shows_ids_beside_names_and_counts_what_is_hidden(nodes: FakeNodes) -> None:
    """A070, A162, A174: a name that looks like a style of the table is shown as it is."""
    said = dure("asset", "list", "1").stdout
    assert ASSET[:16] in said
    assert '"[red]spam"' in said
    assert "may issue more" in said
    assert "Not shown: 1 asset that others paid unasked" in said
    assert json.loads(dure("asset", "list", "1", "--json").stdout)["assets"][0]["trusted"] == 1250


def test_an_amount_is_read_with_the_decimals_of_its_asset(nodes: FakeNodes) -> None:
    done = dure("asset", "send", "0", "1", "12.5", "9bb2", "3", OTHER)
    assert 'pays 12.50 "HOUR" (9bb2' in done.stdout
    assert asked(nodes, "sendassets")[0] == [
        {"address": "address of 1", "asset": ASSET, "amount": 1250},
        {"address": "address of 1", "asset": OTHER, "amount": 300},
    ]
    for amount in ("12.505", "-1", "1e3", "92233720368547758.08", "0", "0.00", "9" * 40, "9" * 41, "٣", "1.", ".5", ""):
        assert dure("asset", "send", "0", "1", "--", amount, ASSET).exit_code == 2
    assert dure("asset", "send", "0", "1", "12.5", ASSET, "3").exit_code == 2


def test_digits_that_mean_no_asset_or_several_are_refused(nodes: FakeNodes) -> None:
    """A070: a stranger, too, can use a name, and find an id that begins as another does."""
    for text in ("9b", "9bb", "ffff", "hours", "Hours of another", "", "x" * 64):
        done = dure("asset", "show", "1", text)
        assert done.exit_code == 1
        assert "first digits" in done.stderr
    for text in ("9bb2", "9BB2", "Hours", ASSET, ASSET.upper()):
        assert "1000.50, reissuable" in dure("asset", "show", "1", text).stdout


def test_what_strangers_paid_is_meant_by_its_whole_id_alone(nodes: FakeNodes) -> None:
    """A070: neither its name nor digits like those of another's id take the place of what the wallet shows."""
    copy = "9bb2" + "22" * 30
    nodes.answers["getassetbalances"] = {
        "assets": [balance(ASSET, "Hours"), balance(copy, "Hours", shown=False)],
        "hidden": 1, "lastprocessedblock": {"hash": TXID, "height": 9},
    }  # fmt: skip
    for text in ("Hours", "9bb2"):
        assert dure("asset", "send", "1", "0", "1", text).exit_code == 0
        assert asked(nodes, "getassetbalances") == [False]
        assert asked(nodes, "sendassets")[0][0]["asset"] == ASSET
    assert dure("asset", "send", "1", "0", "1", copy[:8]).exit_code == 1
    assert dure("nft", "verify", "1", __file__, "--collection", copy[:8]).exit_code == 1
    assert dure("asset", "reveal", "1", copy[:8]).exit_code == 0
    assert asked(nodes, "showasset") == [copy, True]
    assert dure("asset", "reveal", "1", "9bb2").exit_code == 1


def test_a_name_of_two_assets_that_are_shown_means_neither(nodes: FakeNodes) -> None:
    """A070: nor does a ticker that is the beginning of another's id."""
    nodes.answers["getassetbalances"] = {
        "assets": [balance(ASSET, "Hours"), balance(OTHER, "Hours"), balance("77" * 32, "9bc2")],
        "hidden": 0, "lastprocessedblock": {"hash": TXID, "height": 9},
    }  # fmt: skip
    for text in ("Hours", "9bc2"):
        done = dure("asset", "send", "1", "0", "1", text)
        assert (done.exit_code, "2 assets of this wallet, " in done.stderr) == (1, True)
        assert OTHER[:16] in done.stderr
    assert not nodes.calls_of("sendassets")


def test_each_kind_is_issued_as_the_rules_call_it(nodes: FakeNodes) -> None:
    done = dure("asset", "issue", "0", "--kind", "security", "--name", "Share", "--amount", "1.5", "--decimals", "1")
    assert f"Its id: {ASSET}" in done.stdout
    assert asked(nodes, "issueasset")[:9] == [
        "reissuable", 15, 1, "Share", None, None, None, "address of 0", None,
    ]  # fmt: skip
    dure("asset", "issue", "0", "--kind", "stable", "--name", "Won", "--auditor", "1")
    assert asked(nodes, "issueasset")[:9] == ["reserved", 0, 0, "Won", None, None, None, None, "address of 1"]
    dure("asset", "issue", "0", "--kind", "fixed", "--name", "One")
    assert asked(nodes, "issueasset")[:2] == ["fixed", 1]
    assert dure("asset", "issue", "0", "--kind", "stable", "--name", "Won").exit_code == 2
    assert dure("asset", "issue", "0", "--kind", "fixed", "--name", "One", "--auditor", "1").exit_code == 2


def test_a_repeated_request_to_issue_names_the_same_controller_and_auditor(nodes: FakeNodes) -> None:
    """A155: the nodes give the addresses again that they gave for this request."""
    labelled: dict[str, str] = {}

    def new_address(node: int, params: list[Any]) -> str:
        return labelled.setdefault(params[0], f"address {len(labelled)} of {node}")

    def by_label(_node: int, params: list[Any]) -> Any:
        if params[0] not in labelled:
            raise Refusal(-11, "No addresses with that label")
        return {labelled[params[0]]: {"purpose": "receive"}}

    nodes.answers |= {"getnewaddress": new_address, "getaddressesbylabel": by_label}
    command = ("asset", "issue", "0", "--kind", "security", "--name", "Share", "--request-id", "issue 1")
    assert dure(*command).exit_code == dure(*command).exit_code == 0
    first, second = nodes.calls_of("issueasset")
    assert first == second
    assert len(nodes.calls_of("getnewaddress")) == 1


@pytest.mark.parametrize("verb", ["reissue", "burn", "attest"])
def test_what_changes_a_supply_names_units(nodes: FakeNodes, verb: str) -> None:
    assert "with a fee of 0.00000243 DURE" in dure("asset", verb, "0", "2.5", ASSET).stdout
    assert asked(nodes, f"{verb}asset")[:2] == [ASSET, 250]


def test_closing_asks_first(nodes: FakeNodes) -> None:
    assert dure("asset", "close", "0", ASSET, typed="n\n").exit_code == 1
    assert not nodes.calls_of("closeasset")
    assert dure("asset", "close", "0", ASSET, typed="y\n").exit_code == 0
    assert dure("asset", "close", "0", ASSET, "--yes").exit_code == 0


def test_a_file_is_told_from_a_forged_one(nodes: FakeNodes, tmp_path: Path) -> None:
    file = tmp_path / "sunrise.png"
    file.write_bytes(b"real")
    content = hashlib.sha256(b"real").hexdigest()
    dure("nft", "mint", "0", str(file), "--name", "Sunrise", "--collection", "9bb2")
    assert asked(nodes, "issueasset")[6:12] == ["image/png", None, None, content, ASSET, ""]
    work = known(OTHER, content=content, kind="fixed", supply=1, decimals=0)
    nodes.answers["listassets"] = lambda _node, params: [work] if params[0] == content else []
    nodes.answers["getasset"] = work
    said = dure("nft", "verify", "1", str(file)).stdout
    assert "issued in block 7, 2026-01-01 00:00:00 UTC, by the issuer" in said
    assert dure("nft", "verify", "1", str(file), "--work", OTHER).exit_code == 0
    nodes.answers["listassets"] = lambda _node, params: [] if params[1:2] == [ASSET] else [work]
    outside = dure("nft", "verify", "1", str(file), "--collection", ASSET)
    assert (outside.exit_code, "outside of it do" in outside.stderr) == (1, True)
    nodes.answers["listassets"] = []
    file.write_bytes(b"reaL")
    forged = dure("nft", "verify", "1", str(file))
    assert (forged.exit_code, "a byte differs" in forged.stderr) == (1, True)
    assert "FORGED" in dure("nft", "verify", "1", str(file), "--work", OTHER).stderr
    assert "cannot be read" in dure("nft", "verify", "1", str(tmp_path / "none")).stderr


def test_a_thousand_copies_crowd_no_real_work_out(nodes: FakeNodes, tmp_path: Path) -> None:
    """A070: every page is asked for, the oldest comes first, and it is said how many are left out."""
    file = tmp_path / "sunrise.png"
    file.write_bytes(b"real")
    origin = known()["origin"]
    copies = [
        known(f"{number:064x}", kind="fixed", supply=1, decimals=0, origin=origin | {"height": 9})
        for number in range(1_000)
    ]
    first = known("ff" * 32, kind="fixed", supply=1, decimals=0, origin=origin | {"height": 8, "issuer": "the artist"})

    def page(_node: int, params: list[Any]) -> list[dict[str, Any]]:
        everything = [*copies, first]
        return [each for each in everything if params[2] is None or each["asset"] > params[2]][: params[3]]

    nodes.answers["listassets"] = page
    said = dure("nft", "verify", "1", str(file)).stdout
    assert said.index("by the artist") < said.index("by the issuer")
    assert "It was minted 1001 times" in said
    assert "not shown: 981 later ones" in said


def test_holders_are_shown_with_the_decimals_of_the_asset(nodes: FakeNodes) -> None:
    held = [{"address": "Ana", "amount": 99_950}, {"address": "Ben", "amount": 100}]
    nodes.answers["getassetholders"] = {"asset": ASSET, "height": 9, "supply": 100_050, "total": 2, "holders": held}
    lines = dure("asset", "holders", "1", "Hours").stdout.splitlines()
    assert [line.split() for line in lines[1:3]] == [["Ana", "999.50"], ["Ben", "1.00"]]
    assert lines[3].startswith('1000.50 of "HOUR" (9bb2')
    nodes.answers["getassetholders"]["total"] = 3
    assert "not shown: 1 holder of less" in dure("asset", "holders", "1", "Hours").stdout
    assert asked(nodes, "getassetholders") == [ASSET, 20]
    nodes.answers["getassetholders"] |= {"supply": 0, "total": 0, "holders": []}
    assert dure("asset", "holders", "1", "Hours").stdout.startswith("0.00 of")


def test_a_name_cannot_end_its_quotes_and_go_on_with_another_id(nodes: FakeNodes) -> None:
    """A070, A173"""
    name = f'Hours" ({OTHER[:16]})'
    assert quoted(name) == f'"Hours\\u{{22}} ({OTHER[:16]})"'
    nodes.answers["getassetbalances"]["assets"] = [balance(ASSET, name)]
    assert quoted(name) in dure("asset", "list", "0").stdout
    nodes.answers["getasset"] = known(metadata={"name": name, "ticker": None, "uri": None, "media_type": None})
    assert f"{quoted(name)} ({ASSET[:16]})" in dure("asset", "send", "0", "1", "1", ASSET).stdout


def test_a_work_that_is_none_or_in_another_s_hand_is_told(nodes: FakeNodes, tmp_path: Path) -> None:
    """A073: more than one, burned, or moved only with somebody's leave."""
    file = tmp_path / "sunrise.png"
    file.write_bytes(b"real")
    once: dict[str, Any] = {"kind": "fixed", "supply": 1, "decimals": 0}
    cases: tuple[tuple[dict[str, Any], str | None], ...] = (
        ({}, None),
        ({"supply": 2}, "not unique"),
        ({"kind": "reissuable"}, "not unique"),
        ({"decimals": 1}, "not unique"),
        ({"supply": 0}, "nobody holds it: it was burned"),
        ({"controller": "the forger"}, "moves only if the forger approves"),
    )
    for more, told in cases:
        nodes.answers["listassets"] = [known(**(once | more))]
        lines = dure("nft", "verify", "0", str(file)).stdout.splitlines()[3:]
        assert [line.strip()[: len(told)] for line in lines if told] == ([told] if told else [])
        assert len(lines) == (told is not None)
    holders = [{"address": "Ana", "amount": 3}, {"address": "Ben", "amount": 1}]
    nodes.answers["getassetholders"] = {"asset": ASSET, "height": 9, "supply": 4, "total": 2, "holders": holders[:1]}
    assert "2 addresses: it is no work that exists once" in dure("nft", "show", "0", ASSET).stdout
