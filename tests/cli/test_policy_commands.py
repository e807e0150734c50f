"""The commands about policies against nodes that answer as they are told: what they ask, print and refuse."""

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
    Balances,
    FinalizedPsbt,
    IssuanceDetail,
    LastProcessedBlock,
    MineBalances,
    Policies,
    PolicyAsset,
    PolicyBranch,
    PolicyExplanation,
    PolicyKey,
    PolicySpend,
    PolicyWarning,
    ProcessedPsbt,
    Psbt,
    PsbtAsset,
    PsbtBranch,
    PsbtInput,
    PsbtOutput,
    PsbtPart,
    PsbtStake,
    PsbtStakes,
    RememberedPolicy,
    Withdrawal,
)
from tests.support.network import FakeNodes, Refusal, chain_info, fake_network
from tests.support.rules import key
from wallet.psdt import MAX_FILE_SIZE

TIP = "ab" * 32
ADDRESS = "ldure1qboard"
SHARE = "aa" * 32
RAW = b"durepsdt and so on"
PSBT = base64.b64encode(RAW).decode()


def dure(*arguments: str, said: str | None = None) -> Result:
    return CliRunner().invoke(main, arguments, input=said)


def explanation(text: str, *, fatal: bool = False, name: str = "board") -> PolicyExplanation:
    branch = PolicyBranch(
        number=1, sentence="Node 0 (yours) and node 1 can spend together at any time.", signatures=2, keys=[], open=True
    )
    warning = PolicyWarning(trap="x", fatal=fatal, sentence="It is odd.")
    return PolicyExplanation(
        name=name, address=ADDRESS, lock="00" * 32, policy=text, keys=[], branches=[branch], warnings=[warning]
    )


def remembered(name: str) -> RememberedPolicy:
    nothing = Dure(0)
    return RememberedPolicy(
        name=name, address=ADDRESS, policy="", keys=[], branches=[], confirmed=Dure(5 * 10**8), pending=nothing,
        immature=nothing, coins=[], assets=[],
    )  # fmt: skip


def alarm() -> Withdrawal:
    return Withdrawal(
        vault="savings", address=ADDRESS, txid=TIP, vout=0, amount=Dure(1), confirmations=0, sentence="Run!"
    )


def psbt(*, complete: bool = False, name: str = "board") -> Psbt:
    one = Dure(10**8)
    signed = PolicyKey(pubkey="02" * 33, role="node 0", ismine=False)
    branch = PsbtBranch(number=1, sentence="Both can spend.", missing=[] if complete else ["1 signature of node 1"])
    return Psbt(
        txid=TIP,
        memo="",
        inputs=[PsbtInput(txid=TIP, vout=0, amount=one, address=ADDRESS, name=name, known=False)],
        outputs=[PsbtOutput(amount=one, address="ldure1qown", name="yours")],
        assets=[],
        issuances=[],
        paid_in=one,
        paid_out=one,
        fee=Dure(420),
        parts=[PsbtPart(address=ADDRESS, name=name, signed=[signed], unsigned=[], preimages=[], branches=[branch])],
        complete=complete,
        warnings=["This is a lie: all of it"],
    )


@pytest.fixture
def network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeNodes]:
    monkeypatch.setenv("DURE_DIR", str(tmp_path / "net"))
    monkeypatch.setenv("DURE_PROGRAM", "dure")
    monkeypatch.chdir(tmp_path)
    answers: dict[str, Any] = {
        "getblockchaininfo": chain_info(100, TIP),
        "getpolicykey": lambda node, _params: key(node + 1).key.hex(),
        "listpolicies": Policies(policies=[], withdrawals=[]),
        "explainpolicy": lambda _node, params: explanation(params[0]),
        "importpolicy": lambda _node, params: remembered(params[0]),
        "getnewaddress": "ldure1qnew",
        "spendpolicy": PolicySpend(psbt=PSBT, fee=Dure(420), branch=1, sentence="Node 0 (yours) can spend."),
        "walletprocesspsbt": ProcessedPsbt(psbt=PSBT, complete=False, signed=["02" * 33]),
        "decodepsbt": psbt(),
        "finalizepsbt": FinalizedPsbt(hex="00", txid="cd" * 32, complete=True),
    }
    with fake_network(tmp_path / "net", 3, **answers) as nodes:
        yield nodes


def test_a_policy_is_made_of_fresh_keys_and_remembered_by_all_who_gave_one(network: FakeNodes) -> None:
    result = dure("policy", "make", "multisig", "2", "0", "1", key(9).key.hex().upper(), "--name", "board")
    assert result.exit_code == 0, result.stderr
    asked = network.calls_of("importpolicy")
    assert [node for node, _ in asked] == [0, 1]
    name, text, roles, rescan = asked[0][1]
    assert (name, rescan) == ("board", False)
    assert text == f"threshold(2, [key({key(1).key.hex()}), key({key(2).key.hex()}), key({key(9).key.hex()})])"
    assert roles == {key(1).key.hex(): "node 0", key(2).key.hex(): "node 1"}
    assert "1. Node 0 and node 1 can spend together at any time." in result.stdout
    assert "Mind: It is odd." in result.stdout
    assert "dure send 0 board 10" in result.stdout


def test_a_vault_is_remembered_way_out_first_and_watched_by_whoever_is_named(network: FakeNodes) -> None:
    result = dure("policy", "make", "vault", "0", "1", "--delay", "10", "--watch", "2")
    assert result.exit_code == 0, result.stderr
    names = [(node, params[0]) for node, params in network.calls_of("importpolicy")]
    assert names == [(node, name) for node in (0, 1, 2) for name in ("vault/withdrawal", "vault")]
    roles = network.calls_of("importpolicy")[0][1][2]
    assert sorted(roles.values()) == ["the cold key (node 1)", "the hot key (node 0)"]


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        ("multisig 3 0 1", 2, "There is no such policy"),
        ("multisig 0 0 1", 2, "0"),
        ("multisig 1 9", 2, "9"),
        ("multisig 1 0 02zz", 2, "neither a node's number nor a public key"),
        ("vault 0 1", 2, "--delay"),
        ("vault 0 1 --delay 0", 2, "0"),
        ("hashlock 0 1 tomorrow", 2, "no moment"),
        ("hashlock 0 1 2107-01-01", 2, "no moment"),
        ("hashlock 0 1 99999999999", 2, "no moment"),
        ("hashlock 0 1 50 --hash 00", 2, "32 bytes"),
        ("vesting 0", 2, "MOMENT"),
    ],
)
def test_what_cannot_be_made_takes_no_key(network: FakeNodes, arguments: str, status: int, words: str) -> None:
    result = dure("policy", "make", *arguments.split())
    assert result.exit_code == status, result.stderr
    assert words in result.stderr
    assert network.calls_of("importpolicy") == []


@pytest.mark.parametrize(
    ("text", "leaf"),
    [
        ("1200", "after_height(1200)"),
        ("+50", "after_height(150)"),
        ("2027-01-31", "after_time(1801353600)"),
        ("2027-01-31T12:00", "after_time(1801396800)"),
        ("2027-01-31T12:00+01:00", "after_time(1801393200)"),
    ],
)
def test_a_moment_is_a_height_or_blocks_from_now_or_a_date(network: FakeNodes, text: str, leaf: str) -> None:
    assert dure("policy", "make", "vesting", "0", text).exit_code == 0
    assert leaf in network.calls_of("importpolicy")[0][1][1]


def test_a_hash_lock_without_a_hash_draws_a_secret_and_shows_it(network: FakeNodes) -> None:
    from hashlib import sha256

    result = dure("policy", "make", "hashlock", "1", "0", "+5")
    secret = next(line.split()[1] for line in result.stdout.splitlines() if line.startswith("Secret"))
    digest = sha256(bytes.fromhex(secret)).hexdigest()
    assert f"preimage({digest})" in network.calls_of("importpolicy")[0][1][1]
    result = dure("policy", "make", "hashlock", "1", "0", "+5", "--hash", "ab" * 32, "--name", "other")
    assert "Secret" not in result.stdout


def test_a_name_that_is_taken_or_a_trap_is_refused_before_anybody_remembers_anything(network: FakeNodes) -> None:
    network.answers["listpolicies"] = Policies(policies=[remembered("board/1")], withdrawals=[])
    result = dure("policy", "make", "multisig", "1", "0", "--name", "board")
    assert (result.exit_code, "board/1 already" in result.stderr) == (1, True)
    assert network.calls_of("getpolicykey") == []
    network.answers["explainpolicy"] = lambda _node, params: explanation(params[0], fatal=True)
    result = dure("policy", "make", "multisig", "1", "0")
    assert (result.exit_code, "would lose coins: It is odd." in result.stderr) == (1, True)
    assert network.calls_of("importpolicy") == []


def test_explain_asks_one_node_after_the_other_until_one_knows_the_policy(network: FakeNodes) -> None:
    def answer(node: int, params: list[Any]) -> Any:
        if node < 2:
            raise Refusal(-5, "The wallet remembers no policy of that name or address: 'board'")
        return explanation("older(5)")

    network.answers["explainpolicy"] = answer
    assert "1. Node 0 and node 1 can spend" in dure("policy", "explain", "board").stdout
    assert dure("policy", "address", "board").stdout == f"{ADDRESS}\n"
    assert dure("policy", "explain", "board", "--node", "0").exit_code == 1
    network.answers["explainpolicy"] = lambda _node, _params: answer(0, [])
    assert "No wallet of a running node remembers 'board'" in dure("policy", "explain", "board").stderr
    assert "The wallet remembers no policy" in dure("policy", "explain", "older(").stderr


def test_an_alarm_is_shown_wherever_balances_are(network: FakeNodes) -> None:
    network.answers["listpolicies"] = Policies(policies=[remembered("savings")], withdrawals=[alarm()])
    result = dure("policy", "list", "1")
    assert "savings" in result.stdout
    assert "ALARM at node 1: Run!" in result.stdout
    money = MineBalances(trusted=Dure(10**8), untrusted_pending=Dure(0), immature=Dure(0))
    last = LastProcessedBlock(hash=TIP, height=1)
    network.answers["getbalances"] = Balances(mine=money, watchonly=money, lastprocessedblock=last)
    result = dure("balance")
    assert "at policies" in result.stdout
    assert result.stdout.count("ALARM at node") == 3
    network.answers["listpolicies"] = Policies(policies=[], withdrawals=[])
    assert "dure policy make --help" in dure("policy", "list").stdout


def test_a_spend_that_needs_others_is_written_to_a_file_and_to_no_file_that_is_there(network: FakeNodes) -> None:
    result = dure("policy", "spend", "0", "board", "1", "all", "--secret", "ab" * 32, "--branch", "1")
    assert result.exit_code == 0, result.stderr
    assert network.calls_of("spendpolicy")[0][1] == ["board", None, "ldure1qnew", 1, None, None, False, None]
    assert network.calls_of("walletprocesspsbt")[0][1][6] == ["ab" * 32]
    assert "  - 1 signature of node 1" in result.stdout
    assert Path("board.psdt").read_bytes() == RAW
    result = dure("policy", "spend", "0", "board", "1", "2.5", "--unsigned")
    assert (result.exit_code, "is there already" in result.stderr) == (1, True)
    assert network.calls_of("spendpolicy")[1][1][1:3] == [{"ldure1qnew": "2.50000000"}, None]
    assert network.calls_of("walletprocesspsbt")[1][1][1] is False
    assert Path("board.psdt").read_bytes() == RAW


def test_a_spend_that_needs_nobody_else_is_sent(network: FakeNodes) -> None:
    network.answers["walletprocesspsbt"] = ProcessedPsbt(psbt=PSBT, complete=True, signed=["02" * 33])
    result = dure("policy", "spend", "0", "board", "1", "2.5")
    assert f"Sent: transaction {'cd' * 32}, fee 0.00000420 DURE" in result.stdout
    assert network.calls_of("finalizepsbt") == [(0, [PSBT, True, True])]
    assert list(Path().glob("*.psdt")) == []


def test_a_signer_is_shown_what_he_signs_and_asked(network: FakeNodes) -> None:
    """A161: what is signed is what was read and shown, whatever happens to the file meanwhile."""
    Path("x.psdt").write_bytes(RAW)
    result = dure("psdt", "sign", "1", "x.psdt", said="n\n")
    assert (result.exit_code, network.calls_of("walletprocesspsbt")) == (1, [])
    for shown in (
        "1.00000000 DURE of board",
        "this node does not know it",
        "to this wallet (ldure1qown)",
        "0.00000420 DURE",
        "signed by node 0",
        "wants 1 signature of node 1",
        "Mind: This is a lie",
    ):
        assert shown in result.stdout
    result = dure("psdt", "sign", "1", "x.psdt", "--out", "y.psdt", said="y\n")
    assert result.exit_code == 0, result.stderr
    assert network.calls_of("walletprocesspsbt")[0][1][:1] == [PSBT]
    assert network.calls_of("walletprocesspsbt")[0][1][5] == [ADDRESS]
    assert Path("y.psdt").read_bytes() == RAW
    assert dure("psdt", "sign", "1", "x.psdt", "--out", "y.psdt", "--yes").exit_code == 1
    assert dure("psdt", "sign", "1", "x.psdt", "--yes", "--only", "board").exit_code == 0
    assert dure("psdt", "sign", "1", "x.psdt", "--yes", "--only", "other").exit_code == 1


def test_coins_of_ones_own_are_signed_for_only_when_that_is_said(network: FakeNodes) -> None:
    Path("x.psdt").write_bytes(RAW)
    network.answers["decodepsbt"] = psbt(name="yours")
    result = dure("psdt", "sign", "1", "x.psdt", "--yes")
    assert (result.exit_code, "Say --own" in result.stderr) == (1, True)
    assert dure("psdt", "sign", "1", "x.psdt", "--yes", "--own").exit_code == 0
    network.answers["walletprocesspsbt"] = ProcessedPsbt(psbt=PSBT, complete=False, signed=[])
    assert "has no key that could sign" in dure("psdt", "sign", "1", "x.psdt", "--yes", "--own").stderr


def test_files_are_made_combined_finished_and_sent(network: FakeNodes) -> None:
    network.answers["createpsbt"] = PSBT
    network.answers["combinepsbt"] = PSBT
    result = dure("psdt", "create", "0", "a.psdt", "--in", f"{TIP}:3", "--out", "1=2.5", "--out", "2=1")
    assert result.exit_code == 0, result.stderr
    assert network.calls_of("createpsbt")[0][1] == [
        [{"txid": TIP, "vout": 3}],
        [{"ldure1qnew": "2.50000000"}, {"ldure1qnew": "1.00000000"}],
    ]
    assert dure("psdt", "combine", "b.psdt", "a.psdt", "a.psdt").exit_code == 0
    assert network.calls_of("combinepsbt")[0][1] == [[PSBT, PSBT]]
    assert dure("psdt", "finalise", "b.psdt").stdout == "00\n"
    assert network.calls_of("finalizepsbt") == [(0, [PSBT, True, False])]
    assert "cd" * 32 in dure("psdt", "send", "2", "b.psdt").stdout
    network.answers["finalizepsbt"] = FinalizedPsbt(psbt=PSBT, complete=False, missing="a signature")
    assert "It is not complete: a signature." in dure("psdt", "send", "2", "b.psdt").stderr


def swap_file() -> Psbt:
    """Node 1's wallet gives 5 of 12 shares, which a registrar controls, for DURE."""
    text = AssetText(name="Share", ticker=None, uri=None, media_type=None)
    share = PsbtAsset(asset=SHARE, metadata=text, decimals=1, spent=120, created=0, paid_out=120, burned=0)
    right = PsbtAsset(
        asset="ee" * 32, authority_of=SHARE, metadata=text, decimals=0, spent=1, created=0, paid_out=0, burned=1
    )
    unknown = PsbtAsset(asset="dd" * 32, metadata=None, decimals=None, spent=0, created=7, paid_out=7, burned=0)
    shares: dict[str, Any] = {"amount": Dure(0), "asset": SHARE, "address": ADDRESS}
    part = PsbtPart(address=ADDRESS, name="yours", signed=[], unsigned=[], preimages=[], branches=[])
    return replace(
        psbt(),
        inputs=[PsbtInput(txid=TIP, vout=0, units=120, name="yours", known=True, **shares)],
        outputs=[
            PsbtOutput(units=50, name="", **shares),
            PsbtOutput(units=70, name="yours", **shares),
            PsbtOutput(amount=Dure(0), asset="dd" * 32, units=7, address=ADDRESS, name=""),
        ],
        assets=[share, right, unknown],
        issuances=[IssuanceDetail(type="attestation", asset=SHARE, sequence=1, total=500)],
        yours=PsbtStakes(gives=Dure(10**8), gets=Dure(3 * 10**8), assets=[PsbtStake(asset=SHARE, gives=120, gets=70)]),
        parts=[part, replace(part, name="board", asset=SHARE, approves="controller")],
    )


def test_a_file_with_assets_shows_each_with_its_id_and_what_the_wallet_gains(network: FakeNodes) -> None:
    """A070, A161"""
    Path("x.psdt").write_bytes(RAW)
    network.answers["decodepsbt"] = swap_file()
    lines = [line.strip() for line in dure("psdt", "inspect", "x.psdt").stdout.splitlines()]
    for line in (
        '12.0 "Share" (aaaaaaaaaaaaaaaa) of this wallet (ldure1qboard)',
        '5.0 "Share" (aaaaaaaaaaaaaaaa) to ldure1qboard',
        "7 smallest units asset dddddddddddddddd, unknown to this node to ldure1qboard",
        '50.0 "Share" (aaaaaaaaaaaaaaaa)',
        '1 authority over "Share" (aaaaaaaaaaaaaaaa)',
        'this wallet gains 2.00000000 DURE and loses 5.0 "Share" (aaaaaaaaaaaaaaaa)',
        'controller of "Share" (aaaaaaaaaaaaaaaa): board (ldure1qboard)',
    ):
        assert line in lines
    assert {"issues", "burns", "attests a reserve of"} < set(lines)


def test_a_wallet_approves_without_a_signature_for_its_own_coins(network: FakeNodes) -> None:
    Path("x.psdt").write_bytes(RAW)
    network.answers["decodepsbt"] = swap_file()
    for options, locks, assets in (
        ((), [], [SHARE]),
        (("--own",), [ADDRESS], [SHARE]),
        (("--approve", "aaaa"), [], [SHARE]),
        (("--only", "yours"), [ADDRESS], []),
    ):
        assert dure("psdt", "sign", "1", "x.psdt", "--yes", *options).exit_code == 0
        called = network.calls_of("walletprocesspsbt")[-1][1]
        assert (called[5], called[8]) == (locks, assets)
    assert dure("psdt", "sign", "1", "x.psdt", "--yes", "--approve", "bb").exit_code == 1


def asset_record(asset: str) -> dict[str, Any]:
    return {
        "asset": asset, "kind": "fixed", "supply": 120, "decimals": 1, "closed": True, "authority": None,
        "controller": None, "auditor": None, "content": None, "collection": None, "raw_metadata": "", "metadata": None,
        "origin": {"txid": TIP, "blockhash": TIP, "height": 7, "time": 1, "issuer": ADDRESS},
    }  # fmt: skip


def test_outputs_and_burns_of_assets_are_named_with_their_units(network: FakeNodes) -> None:
    network.answers["createpsbt"] = PSBT
    network.answers["getasset"] = lambda _node, params: asset_record(params[0])
    result = dure(
        "psdt", "create", "0", "a.psdt", "--in", f"{TIP}:3", "--out", f"1=2.5:{SHARE}", "--burn", f"1:{SHARE}"
    )
    assert result.exit_code == 0, result.stderr
    assert network.calls_of("createpsbt")[0][1] == [
        [{"txid": TIP, "vout": 3}],
        [{"ldure1qnew": {"asset": SHARE, "amount": 25}}],
        0,
        None,
        "",
        [{"asset": SHARE, "amount": 10}],
    ]


@pytest.mark.parametrize(
    "arguments",
    ["inspect none.psdt", "inspect .", "sign 0 none.psdt --yes", "combine o.psdt none.psdt", "send 0 huge.psdt",
     "create 0 a.psdt --in x --out 1=1", "create 0 a.psdt --in {TIP}:0 --out 1", "create 0 a.psdt --out 1=1"],
)  # fmt: skip
def test_a_file_that_cannot_be_one_is_a_sentence(network: FakeNodes, arguments: str) -> None:
    Path("huge.psdt").write_bytes(bytes(MAX_FILE_SIZE + 1))
    result = dure("psdt", *arguments.replace("{TIP}", TIP).split())
    assert result.exit_code in {1, 2}
    assert result.stderr.strip()
    assert not isinstance(result.exception, OSError)
    assert network.calls_of("finalizepsbt") == []


def test_a_policy_is_imported_with_the_names_that_others_gave_its_keys(network: FakeNodes) -> None:
    known = remembered("board")
    text = "older(5)"
    role = PolicyKey(pubkey="02" * 33, role="Ann", ismine=False)
    other = RememberedPolicy(
        name="x", address=ADDRESS, policy=text, keys=[role], branches=[], confirmed=Dure(0), pending=Dure(0),
        immature=Dure(0), coins=[], assets=[],
    )  # fmt: skip
    network.answers["listpolicies"] = lambda node, _params: Policies(
        policies=[other] if node == 2 else [], withdrawals=[]
    )
    result = dure("policy", "import", "0", "board", text)
    assert network.calls_of("importpolicy") == [(0, ["board", text, {"02" * 33: "Ann"}, True])]
    assert f"{known.confirmed} DURE lie there" in result.stdout
    assert dure("policy", "key", "1").stdout == f"{key(2).key.hex()}\n"


def test_assets_at_policies_are_listed_and_spent_in_their_units(network: FakeNodes) -> None:
    """A070"""
    text = AssetText(name="Share", ticker=None, uri=None, media_type=None)
    share = PolicyAsset(asset=SHARE, metadata=text, decimals=1, confirmed=125, pending=5, shown=True)
    right = PolicyAsset(
        asset="ee" * 32, authority_of=SHARE, metadata=text, decimals=0, confirmed=1, pending=0, shown=False
    )
    network.answers["listpolicies"] = Policies(
        policies=[replace(remembered("board"), assets=[share, right])], withdrawals=[]
    )
    network.answers["getasset"] = lambda _node, params: asset_record(params[0])
    network.answers["spendpolicyasset"] = network.answers["spendpolicy"]
    network.answers["getassetbalances"] = {"assets": [], "hidden": 0, "lastprocessedblock": {"hash": TIP, "height": 9}}
    lines = dure("policy", "list").stdout.splitlines()
    assert lines[-2:] == [
        'At board: 12.5 "Share" (aaaaaaaaaaaaaaaa), and 0.5 on their way',
        'At board: 1 authority over "Share" (aaaaaaaaaaaaaaaa)',
    ]
    assert dure("asset", "list", "0").stdout.splitlines()[-1] == lines[-2]
    assert dure("asset", "list", "0", "--all").stdout.splitlines()[-2:] == lines[-2:]
    for amount, options, asked in (
        ("1.5", (), [{"ldure1qnew": 15}, None, False]),
        ("all", ("--authority",), [None, "ldure1qnew", True]),
    ):
        Path("board.psdt").unlink(missing_ok=True)
        result = dure("policy", "spend", "0", "board", "1", amount, "--asset", SHARE, *options)
        assert result.exit_code == 0, result.stderr
        assert network.calls_of("spendpolicyasset")[-1][1] == ["board", SHARE, *asked, None, None, False]
    for wrong in (["1.55", "--asset", SHARE], ["1", "--authority"], ["1", "--asset", SHARE, "--replace", TIP]):
        assert dure("policy", "spend", "0", "board", "1", *wrong).exit_code == 2
