"""`dure swap` against nodes of two networks that answer as they are told."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from click.testing import CliRunner, Result

from cli.main import main
from consensus.codec import display_hash
from consensus.signatures import public_key, sign
from consensus.types import Amount, AssetId, BlockHash
from tests.support.network import FakeNodes, Refusal, fake_network
from wallet.swaps.terms import Leg, Terms, accept, propose, write_terms

ANN, BOB = bytes([1]) * 32, bytes([2]) * 32
HOURS = AssetId(b"\xf8" * 32)
NORTH, SOUTH = BlockHash(b"N" * 32), BlockHash(b"S" * 32)
TIME = 1_800_000_000
TXID = "ab" * 32


def proposed() -> Terms:
    first = Leg(NORTH, 5, HOURS, Amount(10_000), public_key(ANN), None, TIME + 2_000)
    second = Leg(SOUTH, 5, None, Amount(5 * 10**8), None, public_key(ANN), TIME + 1_000)
    return propose(first, second, sha256(bytes(32)).digest(), lambda digest: sign(ANN, digest))


def accepted() -> Terms:
    return accept(proposed(), public_key(BOB), public_key(BOB), lambda digest: sign(BOB, digest))


def text_of(terms: Terms) -> str:
    return base64.b64encode(write_terms(terms)).decode()


class Networks(NamedTuple):
    folder: Path
    north: FakeNodes
    south: FakeNodes

    def file(self, terms: Terms) -> str:
        path = self.folder / "deal.swap"
        path.write_bytes(write_terms(terms))
        return str(path)

    def asked(self, nodes: FakeNodes, method: str) -> list[Any]:
        return nodes.calls_of(method)[-1][1]


def here(leg: str, gives: bool | None, stage: str = "nothing", depth: int = 0, **more: Any) -> dict[str, Any]:
    return {"leg": leg, "gives": gives, "address": "there", "watched": True, "stage": stage, "depth": depth} | more


def told(*, here: dict[str, Any] | None = None, now: int = TIME, **more: Any) -> dict[str, Any]:
    leg = {"genesis": "", "spacing": 5, "asset": None, "amount": 1, "payer": None, "receiver": None, "refund_at": 1}
    usual = {"first": leg, "second": leg, "hash": "", "accepted": True, "margin": 240, "mediantime": now, "now": now}
    return usual | ({} if here is None else {"here": here}) | more


@pytest.fixture
def networks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Networks]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DURE_PROGRAM", "dure")
    monkeypatch.delenv("DURE_DIR", raising=False)
    known = {
        "asset": HOURS.hex(), "kind": "fixed", "supply": 1, "decimals": 2, "closed": False, "authority": None,
        "controller": None, "auditor": None, "content": None, "collection": None, "raw_metadata": "",
        "metadata": {"name": "Hours", "ticker": "HOUR", "uri": None, "media_type": None},
        "origin": {"txid": TXID, "blockhash": TXID, "height": 7, "time": 1, "issuer": "the issuer"},
    }  # fmt: skip
    key = {"pubkey": public_key(ANN).hex(), "hash": "cd" * 32, "spacing": 5, "now": TIME}
    step = {"txid": TXID, "fee": 0.00000243, "again": False}

    def answers(genesis: BlockHash) -> dict[str, Any]:
        shown = display_hash(genesis)
        return {
            "getblockchaininfo": {"genesis": shown}, "getasset": known, "getswapkey": key | {"genesis": shown},
            "proposeswap": text_of(proposed()), "acceptswap": text_of(accepted()), "watchswap": False,
            "lockswap": step, "claimswap": step, "refundswap": step, "decodeswap": told(),
        }  # fmt: skip

    with (
        fake_network(tmp_path / "north", 2, **answers(NORTH)) as north,
        fake_network(tmp_path / "south", 2, **answers(SOUTH)) as south,
    ):
        yield Networks(tmp_path, north, south)


def stand(networks: Networks, first: dict[str, Any], second: dict[str, Any], *, now: int = TIME) -> None:
    networks.north.answers["decodeswap"] = told(here=first, now=now)
    networks.south.answers["decodeswap"] = told(here=second, now=now)


def dure(*arguments: str, typed: str | None = None) -> Result:
    return CliRunner().invoke(main, arguments, input=typed)


def test_a_proposal_reads_amounts_by_their_decimals_and_writes_a_file(networks: Networks) -> None:
    done = dure(
        "swap", "propose", "0@north", "0@south", "--give", "100", HOURS.hex(), "--want", "5", "DURE", "--time", "1h"
    )
    assert done.exit_code == 0, done.output
    amount, refund_at, wanted, asset = networks.asked(networks.north, "proposeswap")
    assert (amount, asset, wanted["amount"], wanted["asset"]) == (10_000, HOURS.hex(), 5 * 10**8, None)
    assert (wanted["refund_at"], refund_at) == (TIME + 3_600, TIME + 7_200)
    assert Path("proposal.swap").read_bytes() == write_terms(proposed())
    # A070: the whole id stands beside the name.
    assert f'the proposer gives 100.00 "HOUR" of asset {HOURS.hex()} on north' in done.stdout
    assert "the taker gives 5.00000000 DURE on south" in done.stdout
    again = dure("swap", "propose", "0@north", "0@south", "--give", "1", "DURE", "--want", "5", "DURE")
    assert (again.exit_code, "is there already" in again.output) == (1, True)


def test_nothing_is_accepted_or_locked_unasked(networks: Networks) -> None:
    file = networks.file(proposed())
    assert dure("swap", "accept", file, "1@north", "1@south", typed="n\n").exit_code == 1
    assert not networks.south.calls_of("acceptswap")
    done = dure("swap", "accept", file, "1@south", "1@north", typed="y\n")
    assert done.exit_code == 0, done.output
    assert Path(file).read_bytes() == write_terms(accepted())
    assert networks.asked(networks.north, "watchswap") == [text_of(accepted()), False]
    stand(networks, here("first", True), here("second", False))
    assert dure("swap", "lock", file, "0@north", "0@south", typed="n\n").exit_code == 1
    assert not networks.north.calls_of("lockswap")
    assert dure("swap", "lock", file, "0@north", "0@south", "--yes").exit_code == 0
    assert not networks.south.calls_of("lockswap")


def test_a_problem_on_either_network_is_told_before_anything_is_accepted(networks: Networks) -> None:
    networks.north.answers["decodeswap"] = told(problem="swap-asset: there is none")
    done = dure("swap", "accept", networks.file(proposed()), "1@north", "1@south", "--yes")
    assert (done.exit_code, "1@north refused: swap-asset: there is none" in done.output) == (1, True)
    assert not networks.south.calls_of("acceptswap")


@pytest.mark.parametrize(
    ("stage", "depth", "rule"),
    [
        ("nothing", 0, "swap-missing"),
        ("different", 9, "swap-different"),
        ("pending", 0, "swap-early"),
        ("locked", 5, "swap-early"),
        ("refunded", 9, "swap-done"),
    ],
)
def test_a_taker_locks_only_what_answers_a_deep_lock(networks: Networks, stage: str, depth: int, rule: str) -> None:
    file = networks.file(accepted())
    stand(networks, here("first", False, stage, depth), here("second", True))
    done = dure("swap", "lock", file, "1@north", "1@south", "--yes")
    assert (done.exit_code, f"1@north refused: {rule}" in done.output) == (1, True)
    assert not networks.south.calls_of("lockswap")
    stand(networks, here("first", False, "locked", 6), here("second", True))
    assert dure("swap", "lock", file, "1@north", "1@south", "--yes").exit_code == 0
    assert networks.asked(networks.south, "lockswap") == [text_of(accepted()), None]


def test_a_taker_claims_with_what_he_read_on_the_other_network(networks: Networks) -> None:
    file = networks.file(accepted())
    shown = here("second", True, "claiming", secret="00" * 32, spender=TXID)
    stand(networks, here("first", False, "locked", 9), shown)
    said = dure("swap", "status", file, "1@north", "1@south").stdout
    assert "claim what you get, within 33 minutes" in said
    assert f"Next: dure swap claim {file} 1@north 1@south" in said
    assert dure("swap", "claim", file, "1@north", "1@south", "--depth", "3").exit_code == 0
    assert networks.asked(networks.north, "claimswap") == [text_of(accepted()), "00" * 32, 3, None]
    assert not networks.south.calls_of("claimswap")


def test_a_proposer_claims_on_the_other_network_and_takes_back_on_his_own(networks: Networks) -> None:
    file = networks.file(accepted())
    stand(networks, here("first", True, "locked", 9), here("second", False, "locked", 6))
    status = json.loads(dure("swap", "status", file, "0@north", "0@south", "--json").stdout)
    assert (status["side"], status["next"]) == ("proposer", "claim")
    assert dure("swap", "claim", file, "0@south", "0@north").exit_code == 0
    assert networks.asked(networks.south, "claimswap") == [text_of(accepted()), None, 6, None]
    stand(networks, here("first", True, "locked", 9), here("second", False), now=TIME + 2_000)
    assert "Next: dure swap refund" in dure("swap", "status", file, "0@north", "0@south").stdout
    assert dure("swap", "refund", file, "0@north", "0@south").exit_code == 0
    assert networks.asked(networks.north, "refundswap") == [text_of(accepted()), None]


def test_what_a_node_refuses_names_the_network_beside_the_node(networks: Networks) -> None:
    def late(_node: int, _params: list[Any]) -> Any:
        raise Refusal(-4, "swap-late: 3 s are left")

    networks.south.answers["claimswap"] = late
    stand(networks, here("first", True, "locked", 9), here("second", False, "locked", 6))
    done = dure("swap", "claim", networks.file(accepted()), "0@north", "0@south")
    assert (done.exit_code, "0@south refused: swap-late: 3 s are left" in done.output) == (1, True)


def test_files_and_nodes_that_do_not_belong_together_are_refused(networks: Networks) -> None:
    file = networks.file(accepted())
    assert "one node on each" in dure("swap", "status", file, "0@north", "1@north").output
    stand(networks, here("first", True), here("second", True))
    assert "not both those of one" in dure("swap", "status", file, "0@north", "0@south").output
    assert dure("swap", "status", file, "x@north", "0@south").exit_code == 2
    assert dure("swap", "status", networks.file(proposed()), "0@north", "0@south").exit_code == 1
    raw = bytearray(write_terms(accepted()))
    raw[60] ^= 1
    Path(file).write_bytes(raw)
    assert "swap-checksum" in dure("swap", "show", file).output
    assert "cannot be read" in dure("swap", "show", "nowhere.swap").output


# On one network


def offer_text(kind: int = 2) -> bytes:
    """What has the frame of a file and is judged by the node alone."""
    content = b"dureswap" + bytes([1, kind]) + b"\xc0"
    return content + sha256(content).digest()


def said_of(**more: Any) -> dict[str, Any]:
    usual = {
        "gives": {"asset": HOURS.hex(), "amount": 10_000}, "wants": {"asset": None, "amount": 5 * 10**8}, "coins": [],
        "ismine": False, "accepted": False, "signed": False, "stakes": [], "approvals": [],
    }  # fmt: skip
    return usual | more


def accepted_by_one(networks: Networks, **more: Any) -> None:
    stakes = [
        {"asset": None, "gives": 6 * 10**8, "gets": 10**8 - 530},
        {"asset": HOURS.hex(), "gives": 0, "gets": 10_000},
    ]
    networks.north.answers["decodeoffer"] = said_of(
        accepted=True, fee=0.0000053, txid=TXID, stakes=stakes, **more
    )  # fmt: skip


@pytest.fixture
def market(networks: Networks, monkeypatch: pytest.MonkeyPatch) -> Networks:
    monkeypatch.setenv("DURE_DIR", "north")
    text = base64.b64encode(offer_text(3)).decode()
    signed = {"offer": text, "complete": False}
    networks.north.answers |= {
        "offerswap": base64.b64encode(offer_text()).decode(), "decodeoffer": said_of(ismine=True),
        "acceptoffer": text, "signoffer": signed, "canceloffer": {},
    }  # fmt: skip
    return networks


def test_an_offer_is_written_and_names_ids(market: Networks) -> None:
    done = dure("swap", "offer", "0", "--give", "100", HOURS.hex(), "--want", "5", "DURE")
    assert done.exit_code == 0, done.output
    assert market.asked(market.north, "offerswap") == [10_000, 5 * 10**8, HOURS.hex(), None]
    assert Path("offer.swap").read_bytes() == offer_text()
    assert f'who offers gives 100.00 "HOUR" of asset {HOURS.hex()}' in done.stdout
    assert "dure swap cancel offer.swap 0" in done.stdout
    assert dure("swap", "offer", "0", "--give", "100", HOURS.hex(), "--want", "5", "DURE").exit_code == 1
    assert len(market.north.calls_of("offerswap")) == 1, "nothing is kept for an offer that is written nowhere"


def test_an_acceptor_sees_what_he_pays_before_he_signs(market: Networks) -> None:
    Path("offer.swap").write_bytes(offer_text())
    accepted_by_one(market)
    done = dure("swap", "accept", "offer.swap", "1", typed="n\n")
    assert done.exit_code == 1
    assert "and pays the fee, 0.00000530 DURE" in done.output
    assert "gives 5.00000530 DURE" in done.output
    assert 'gets  100.00 "HOUR"' in done.output
    assert not market.north.calls_of("signoffer")
    assert Path("offer.swap").read_bytes() == offer_text()
    assert dure("swap", "accept", "offer.swap", "1", "--yes").exit_code == 0
    assert Path("offer.swap").read_bytes() == offer_text(3)
    assert dure("swap", "accept", "offer.swap", "1@north", "1@south", "--yes").exit_code == 2


def test_only_whoever_offered_finishes_and_not_unasked(market: Networks) -> None:
    Path("offer.swap").write_bytes(offer_text(3))
    accepted_by_one(market, signed=True)
    assert "no offer of node 1" in dure("swap", "finish", "offer.swap", "1", "--yes").output
    accepted_by_one(market, ismine=True)
    assert "signed it yet" in dure("swap", "finish", "offer.swap", "0", "--yes").output
    accepted_by_one(market, ismine=True, signed=True)
    assert dure("swap", "finish", "offer.swap", "0", typed="n\n").exit_code == 1
    assert not market.north.calls_of("signoffer")
    market.north.answers["signoffer"] |= {"complete": True, "txid": TXID}
    assert f"Sent: transaction {TXID}" in dure("swap", "finish", "offer.swap", "0", "--yes").stdout


def test_a_controller_is_asked_in_between_and_approves_what_he_sees(market: Networks) -> None:
    Path("offer.swap").write_bytes(offer_text())
    accepted_by_one(market, signed=True, approvals=[HOURS.hex()])
    said = dure("swap", "accept", "offer.swap", "1", "--yes").stdout
    assert f"takes the approval of whoever controls {HOURS.hex()}" in said
    assert "dure swap approve offer.swap NODE" in said
    assert dure("swap", "approve", "offer.swap", "1", typed="n\n").exit_code == 1
    done = dure("swap", "approve", "offer.swap", "1", "--yes")
    assert (done.exit_code, "dure swap finish offer.swap NODE" in done.stdout) == (0, True)
    accepted_by_one(market, signed=True)
    assert "nobody's approval" in dure("swap", "approve", "offer.swap", "1", "--yes").output


def test_an_offer_is_withdrawn_by_either_and_shown_to_anybody(market: Networks) -> None:
    Path("offer.swap").write_bytes(offer_text())
    assert "nothing is kept" in dure("swap", "cancel", "offer.swap", "0").stdout
    market.north.answers["canceloffer"] = {"txid": TXID, "fee": 0.00000242}
    assert f"Withdrawn by transaction {TXID}, fee 0.00000242 DURE" in dure("swap", "cancel", "offer.swap", "1").stdout
    market.north.answers["decodeoffer"] = said_of(problem="swap-withdrawn: it was spent")
    assert "any more: swap-withdrawn" in dure("swap", "show", "offer.swap", "1").stdout
    assert "name one node" in dure("swap", "show", "offer.swap").output
