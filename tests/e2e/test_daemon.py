"""One daemon as its operator meets it: real processes, real disk, real signals."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from decimal import Decimal
from functools import partial
from pathlib import Path

import pytest

from consensus.params import REGTEST
from node.storage.lmdb_store import LmdbDatabase
from node.storage.schema import HEADERS, STORAGE_VERSION, TABLES
from node.storage.store import Change
from rpc.client import RpcClient
from rpc.errors import RpcError
from tests.support.daemon import Daemon, daemons, environment, obeying_modes, run, until

pytestmark = pytest.mark.e2e

COINS = "gettxoutsetinfo"


def contains(member: str, group: list[str]) -> bool:
    return member in group


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Daemon]:
    async with daemons(tmp_path) as made:
        yield made[0]


# What was acknowledged


async def test_a_node_mines_pays_and_is_the_same_after_every_kind_of_end(daemon: Daemon) -> None:
    await daemon.start()
    await daemon.mine(102)
    address = await daemon.call("getnewaddress", "shop")
    txid = await daemon.call("sendtoaddress", address, Decimal("12.5"))
    await daemon.mine(1)
    before = await daemon.call(COINS)
    balances = await daemon.call("getbalances")
    assert before["total_amount"] == before["supply"]
    assert (await daemon.call("gettransaction", txid))["confirmations"] == 1
    assert await daemon.stop() == 0

    await daemon.start()
    assert await daemon.call(COINS) == before
    assert await daemon.call("getbalances") == balances
    await daemon.kill()

    await daemon.start()
    assert await daemon.call(COINS) == before
    assert await daemon.call("getbalances") == balances
    assert await daemon.call("stop") == "Dure node stopping"
    assert await daemon.ended() == 0

    await daemon.start("--reindex")
    assert await daemon.call(COINS) == before
    assert await daemon.call("getbalances") == balances
    assert [line["blocks"] for line in daemon.logged("reindex_done")] == [103]


def test_the_daemon_runs_on_uvloop(tmp_path: Path) -> None:
    program = (
        "import asyncio, sys, node.main\n"
        "async def serve(config): print(type(asyncio.get_running_loop()).__module__)\n"
        "node.main.serve = serve\n"
        "sys.exit(node.main.main(['--datadir', sys.argv[1]]))"
    )
    command = [sys.executable, "-P", "-c", program, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), check=True)
    assert done.stdout == "uvloop\n"


async def test_kill_9_loses_nothing_that_was_acknowledged(daemon: Daemon) -> None:
    """A121, A143: an address, a payment and a block are on disk when the call returns."""
    await daemon.start()
    await daemon.mine(101)
    for _ in range(2):
        address = await daemon.call("getnewaddress")
        await daemon.kill()
        await daemon.start()
        assert (await daemon.call("getaddressinfo", address))["ismine"]
        assert await daemon.call("getnewaddress") != address

        txid = await daemon.call("sendtoaddress", address, Decimal("0.5"))
        await daemon.kill()
        await daemon.start()
        assert (await daemon.call("gettransaction", txid))["state"] == "pending"
        await daemon.until("getrawmempool", gives=partial(contains, txid))

        (block,) = await daemon.mine(1)
        await daemon.kill()
        await daemon.start()
        assert await daemon.call("getbestblockhash") == block
        assert (await daemon.call("gettransaction", txid))["confirmations"] == 1


async def test_kill_9_at_any_moment_leaves_the_state_of_some_block(daemon: Daemon) -> None:
    """A121: while blocks are being connected, with no moment chosen."""
    await daemon.start()
    address = await daemon.call("getnewaddress")
    height = 0
    for _ in range(4):
        mining = asyncio.create_task(daemon.call("generatetoaddress", 500, address))
        await until(lambda: len(daemon.logged("block_connected")) > 10, "blocks come")
        mining.cancel()
        await asyncio.wait([mining])
        await daemon.kill()
        await daemon.start()
        info = await daemon.call(COINS)
        assert info["height"] >= height + 10
        assert info["total_amount"] == info["supply"]
        assert (await daemon.call("getwalletinfo"))["lastprocessedblock"]["height"] == info["height"]
        height = info["height"]
    whole = await daemon.call(COINS)
    await daemon.stop()
    await daemon.start("--reindex")
    assert await daemon.call(COINS) == whole


# Signals


@pytest.mark.parametrize("event", ["wallet_made", "starting", "ready"])
async def test_a_stop_at_any_point_of_the_start_is_clean(daemon: Daemon, event: str) -> None:
    """A137."""
    daemon.launch()
    await until(lambda: daemon.logged(event) or not daemon.running, f"{event} is logged")
    daemon.send(signal.SIGTERM)
    assert await daemon.ended() == 0
    await daemon.start()
    assert await daemon.call("getblockcount") == 0


async def test_a_second_signal_hastens_the_stop(daemon: Daemon) -> None:
    """A137: while calls wait and blocks are made; the next start is clean."""
    await daemon.start()
    address = await daemon.call("getnewaddress")
    calls = [
        asyncio.create_task(daemon.call("generatetoaddress", 1000, address)),
        asyncio.create_task(daemon.call("waitforblockheight", 100_000)),
    ]
    await until(lambda: daemon.logged("block_connected"), "a block comes")
    daemon.send(signal.SIGINT)
    daemon.send(signal.SIGTERM)
    await asyncio.wait(calls)
    assert [type(call.exception()).__name__ for call in calls] == ["Unreachable", "Unreachable"]
    assert await daemon.ended() == 0
    await daemon.start()
    info = await daemon.call(COINS)
    assert info["total_amount"] == info["supply"]


async def test_a_node_that_slept_goes_on(daemon: Daemon) -> None:
    """A137, A194: SIGSTOP and SIGCONT."""
    await daemon.start()
    daemon.send(signal.SIGSTOP)
    asked = asyncio.create_task(daemon.call("getblockcount"))
    await asyncio.sleep(0)
    daemon.send(signal.SIGCONT)
    assert await asked == 0


# The folder


async def test_two_daemons_never_share_a_folder(daemon: Daemon) -> None:
    """A129: the second ends and writes nothing; a killed one blocks nobody."""
    await daemon.start()
    before = contents(daemon.folder)
    second = run(*daemon.flags)
    assert second.returncode == 69
    assert "in use by another process" in second.stderr
    assert len(second.stderr.splitlines()) == 1
    assert contents(daemon.folder) == before
    await daemon.kill()
    await daemon.start()


def contents(folder: Path) -> dict[str, tuple[int, int]]:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path): (path.stat().st_mtime_ns, path.stat().st_size) for path in files}


async def test_the_folder_of_another_network_is_refused(daemon: Daemon) -> None:
    """A132: and stays as it is."""
    await daemon.start()
    await daemon.mine(1)
    await daemon.stop()
    for other in (("--network", "local"), ("--network", "local", "--tag", "ab" * 16)):
        refused = run(*daemon.flags, *other)
        assert refused.returncode == 78, refused.stderr
        assert "another network" in refused.stderr.splitlines()[-1]
    await daemon.start()
    assert await daemon.call("getblockcount") == 1


async def test_the_folder_of_a_newer_program_is_refused(daemon: Daemon) -> None:
    """A131: a downgrade writes nothing."""
    newer = LmdbDatabase(daemon.folder / "chain", TABLES, version=STORAGE_VERSION + 1, identity=REGTEST.genesis_hash)
    newer.close()
    data = daemon.folder / "chain" / "data.mdb"
    before = data.read_bytes()
    refused = run(*daemon.flags)
    assert refused.returncode == 78
    assert "newer" in refused.stderr.splitlines()[-1]
    assert data.read_bytes() == before


async def test_a_chain_that_is_damaged_is_named_and_comes_back_by_reindex(daemon: Daemon) -> None:
    """A124, A125, A132."""
    await daemon.start()
    await daemon.mine(20)
    before = await daemon.call(COINS)
    await daemon.stop()
    with closing(
        LmdbDatabase(daemon.folder / "chain", TABLES, version=STORAGE_VERSION, identity=REGTEST.genesis_hash)
    ) as chain:
        key, _ = next(chain.scan(HEADERS, (5).to_bytes(4, "big")))
        chain.write([Change(HEADERS, key, b"not a header")])
    refused = run(*daemon.flags)
    assert refused.returncode == 74
    assert "--reindex" in refused.stderr.splitlines()[-1]
    await daemon.start("--reindex")
    assert await daemon.call(COINS) == before
    await daemon.stop()
    data = daemon.folder / "chain" / "data.mdb"
    data.write_bytes(b"no database" * 10_000)
    refused = run(*daemon.flags)
    assert refused.returncode == 74
    assert "Traceback" not in refused.stderr


async def test_a_reindex_that_is_interrupted_goes_on_at_the_next_start(daemon: Daemon) -> None:
    """A122, A137: by a signal, and by kill -9."""
    await daemon.start()
    await daemon.mine(50)
    before = await daemon.call(COINS)
    await daemon.stop()
    for number in (signal.SIGTERM, signal.SIGKILL):
        daemon.launch("--reindex")
        await until(lambda: daemon.logged("reindex_started"), "the reindex begins")
        daemon.send(number)
        await daemon.ended()
        await daemon.start()
        assert await daemon.call(COINS) == before
        await daemon.stop()


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """A132."""
    tmp_path.chmod(0o500)
    refused = run("--network", "regtest", "--datadir", str(tmp_path / "node"), prefix=obeying_modes())
    assert refused.returncode in {69, 74}
    assert str(tmp_path) in refused.stderr
    assert "Traceback" not in refused.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_a_file_is_named(tmp_path: Path) -> None:
    """A132."""
    (tmp_path / "node").write_text("")
    refused = run("--network", "regtest", "--datadir", str(tmp_path / "node"))
    assert refused.returncode in {74, 78}
    assert str(tmp_path) in refused.stderr
    assert "Traceback" not in refused.stderr


async def test_only_its_owner_reads_what_a_node_writes_and_no_secret_is_in_its_log(daemon: Daemon) -> None:
    """A150: file modes, log, process list, and what is printed."""
    secrets_file = daemon.folder.parent / "passphrase"
    secrets_file.write_text("correct horse battery staple\n")
    await daemon.start("--passphrase-file", str(secrets_file), "--log-level", "debug")
    words = await daemon.call("getmnemonic")
    await daemon.call("exportkey", await daemon.call("getnewaddress"))
    with pytest.raises(RpcError):
        await daemon.call("walletpassphrase", "wrong passphrase 123", 5)
    cookie = (daemon.folder / ".cookie").read_text().partition(":")[2]
    seen = daemon.output + (daemon.folder / "debug.log").read_text() + process_list(daemon.pid)
    for secret in ("correct horse", "wrong passphrase", words, words.split()[0] + " ", cookie, "PRIVATE KEY"):
        assert secret not in seen
    for path in [daemon.folder, *daemon.folder.rglob("*")]:
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode & 0o077 == 0, f"{path}: {mode:o}"
    await daemon.stop()
    assert not (daemon.folder / ".cookie").exists()


def process_list(pid: int) -> str:
    return subprocess.run(["ps", "-o", "args=", "-p", str(pid)], capture_output=True, text=True, check=True).stdout


async def test_an_encrypted_wallet_starts_locked_without_its_passphrase(daemon: Daemon) -> None:
    secrets_file = daemon.folder.parent / "passphrase"
    secrets_file.write_text("correct horse\n")
    await daemon.start("--passphrase-file", str(secrets_file))
    await daemon.mine(101)
    await daemon.stop()
    await daemon.start()
    address = await daemon.call("getnewaddress")
    with pytest.raises(RpcError, match=r"\(-13\)"):
        await daemon.call("sendtoaddress", address, 1)
    with pytest.raises(RpcError, match=r"\(-14\)"):
        await daemon.call("walletpassphrase", "wrong", 60)
    await daemon.call("walletpassphrase", "correct horse", 60)
    assert await daemon.call("sendtoaddress", address, 1)
    await daemon.call("walletlock")
    assert (await daemon.call("getwalletinfo"))["locked"]
    await daemon.stop()
    secrets_file.write_text("wrong\n")
    assert run(*daemon.flags, "--passphrase-file", str(secrets_file)).returncode == 78


async def test_a_wallet_comes_back_from_its_backup_and_from_its_words(tmp_path: Path) -> None:
    async with daemons(tmp_path, 3) as (first, second, third):
        await first.start()
        await first.mine(101)
        words = await first.call("getmnemonic")
        assert await first.call("backupwallet", "monday.backup") == "backups/monday.backup"
        for wrong in ("monday.backup", "../x", "/tmp/x", ".hidden", "a/b", "x\x00"):
            with pytest.raises(RpcError):
                await first.call("backupwallet", wrong)
        (tmp_path / "words").write_text(words + "\n")
        blocks = [await first.call("getblock", await first.call("getblockhash", height), 0) for height in range(1, 102)]
        mine = (await first.call("getbalances"))["mine"]
        for restored, source in ((second, first.folder / "backups" / "monday.backup"), (third, tmp_path / "words")):
            await restored.start("--restore-wallet", str(source))
            for block in blocks:
                assert await restored.call("submitblock", block) is None
            assert (await restored.call("getbalances"))["mine"] == mine
            await restored.stop()
            again = run(*restored.flags, "--restore-wallet", str(source))
            assert again.returncode == 78
            assert "there is a wallet" in again.stderr.splitlines()[-1]


# Settings


def test_the_version_and_a_sample_of_the_settings_are_printed() -> None:
    from tests.support.repository import PROJECT

    assert run("--version").stdout == f"dured {PROJECT['project']['version']}\n"
    sample = run("--print-config")
    assert sample.returncode == 0
    assert "# rpc_port = " in sample.stdout


def test_what_is_wrong_with_the_settings_is_said_with_its_line(tmp_path: Path) -> None:
    """A136."""
    settings = tmp_path / "dured.toml"
    for text, line, about in (
        ("network = 'regtest'\n\nbogus = 1\n", 3, "bogus"),
        ("network = 'regtest'\nport = 'x'\n", 2, "port"),
        ("port = 1\nport = 2\n", 2, "Cannot overwrite a value"),
        ("network = 'nowhere'\n", 1, "main, test, local, regtest"),
        ("mine = maybe\n", 1, "Invalid value"),
    ):
        settings.write_text(text)
        refused = run("--datadir", str(tmp_path))
        assert refused.returncode == 78
        assert f"line {line}" in refused.stderr
        assert about in refused.stderr
        assert len(refused.stderr.splitlines()) == 1
    settings.unlink()
    settings.mkdir()
    assert run("--datadir", str(tmp_path)).returncode == 78


def test_a_node_does_not_answer_other_machines_without_a_password(tmp_path: Path) -> None:
    """A177."""
    refused = run("--network", "regtest", "--datadir", str(tmp_path / "node"), "--rpc-bind", "0.0.0.0")
    assert refused.returncode == 78
    assert "rpc_password" in refused.stderr
    assert not (tmp_path / "node").exists()


@pytest.mark.parametrize("flag", ["--port", "--rpc-port"])
async def test_a_port_that_is_taken_is_named(daemon: Daemon, flag: str) -> None:
    """A136."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        refused = run(*daemon.flags, flag, str(port))
    assert refused.returncode == 69
    assert refused.stderr.splitlines()[-1].startswith("dured: ")
    assert f"port {port}" in refused.stderr.splitlines()[-1]
    await daemon.start()


async def test_a_password_from_the_environment_opens_the_door(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    from rpc.client import Credentials, RpcClient

    daemon.folder.mkdir()
    (daemon.folder / "dured.toml").write_text('rpc_user = "alice"\nrpc_password = "correct horse"\n')
    await daemon.start()
    url = f"http://{daemon.logged('ready')[0]['rpc']}/"
    async with RpcClient(url, Credentials("alice", "correct horse")) as client:
        assert await client.call("getblockcount") == 0
    assert "DURED_RPC_PASSWORD" not in environment()


# The miner


async def test_the_miner_mines_and_ends_with_its_node(daemon: Daemon) -> None:
    await daemon.start("--mine", "--hashrate", "20")
    await daemon.until("getblockcount", gives=lambda height: height >= 2)
    (started,) = daemon.logged("miner_started")
    mined_to = {line["address"] for line in await daemon.call("listtransactions")}
    assert (await daemon.call("listtransactions"))[0]["category"] == "immature"
    await daemon.kill()
    await until(lambda: not is_alive(started["pid"]), "the miner has ended")
    await daemon.start("--mine", "--hashrate", "20")
    await until(lambda: daemon.logged("miner_started"), "the miner runs")
    (again,) = daemon.logged("miner_started")
    height = await daemon.call("getblockcount")
    await daemon.until("getblockcount", gives=lambda now: now > height)
    # One address for all of its rewards, also after a restart.
    assert {line["address"] for line in await daemon.call("listtransactions", "*", 100)} == mined_to
    assert await daemon.stop() == 0
    assert not is_alive(again["pid"])


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # One that nobody has waited for yet is as good as gone.
    status = Path(f"/proc/{pid}/stat")
    return not (status.exists() and status.read_text().rpartition(")")[2].split()[0] == "Z")


# Two nodes


async def test_two_nodes_agree_pay_each_other_fall_apart_and_agree_again(tmp_path: Path) -> None:
    async with daemons(tmp_path, 2) as (left, right):
        await left.start()
        await right.start("--connect", left.peer_address)
        await right.until("getconnectioncount", gives=lambda count: count == 1)
        await left.mine(101)
        tip = await left.call("getbestblockhash")
        await right.until("getbestblockhash", gives=lambda now: now == tip)
        txid = await left.call("sendtoaddress", await right.call("getnewaddress"), Decimal("12.5"))
        await right.until("getrawmempool", gives=lambda mempool: txid in mempool)
        assert (await right.call("getbalances"))["mine"]["untrusted_pending"] == Decimal("12.5")
        await left.mine(1)
        await right.until("getbalances", gives=lambda both: both["mine"]["trusted"] == Decimal("12.5"))
        (peer,) = await right.call("getpeerinfo")
        assert (peer["listening"], peer["inbound"], peer["connection_type"]) == (left.peer_address, False, "manual")

        #   102 ── left: a1, with a payment        loses
        #     └─── right: b1 ── b2
        await right.call("setpartition", [left.peer_address])
        await left.call("setpartition", [right.peer_address])
        await right.until("getconnectioncount", gives=lambda count: count == 0)
        lost = await left.call("sendtoaddress", await left.call("getnewaddress"), 1)
        await left.mine(1)
        await right.mine(2)
        tip = await right.call("getbestblockhash")
        await left.kill()
        await left.start("--port", left.peer_address.rpartition(":")[2])
        assert await left.call("getpartition") == [right.peer_address]
        await left.call("setpartition", [])
        await right.call("setpartition", [])
        await left.until("getbestblockhash", gives=lambda now: now == tip)

        (reorg,) = left.logged("reorg_done")
        assert reorg["txs_back_in_mempool"] == 1
        assert await left.call("getrawmempool") == [lost]
        statuses = {entry["status"] for entry in await left.call("getchaintips")}
        assert statuses == {"active", "valid-fork"}
        await right.until("getrawmempool", gives=lambda mempool: mempool == [lost])
        coins = await left.call(COINS)
        assert coins == await right.call(COINS)
        assert coins["total_amount"] == coins["supply"]


async def test_a_node_with_few_descriptors_serves_its_callers_whoever_storms_its_door(tmp_path: Path) -> None:
    """A196: 64 of them, and 300 who connect and say nothing."""
    daemon = Daemon(tmp_path / "node", descriptors=64)
    try:
        await daemon.start()
        assert [line["peers"] for line in daemon.logged("connections_reduced")] == [4]
        host, port = daemon.peer_address.rsplit(":", 1)
        storm = [socket.socket() for _ in range(300)]
        for number, stranger in enumerate(storm):
            stranger.setblocking(False)
            stranger.connect_ex((host, int(port)))
            if number % 50 == 49:  # those who called before are remembered by nobody: each call is a new connection
                async with closing_client(daemon) as caller:
                    assert await caller.call("getblockcount") == number // 50
                    await caller.call("generatetoaddress", 1, await caller.call("getnewaddress"))
        spent = processor_seconds(daemon.pid)
        await asyncio.sleep(1)
        assert processor_seconds(daemon.pid) - spent < 0.5  # whom nobody can take in is not tried for ever
        for stranger in storm:
            stranger.close()
        assert daemon.logged("failed") == []
        assert (daemon.folder / "debug.log").stat().st_size < 100_000
    finally:
        await daemon.stop()


@asynccontextmanager
async def closing_client(daemon: Daemon) -> AsyncIterator[RpcClient]:
    """Another caller, with a connection of its own."""
    ready = daemon.logged("ready")[0]
    client = RpcClient(f"http://{ready['rpc']}/", daemon.folder / ".cookie", timeout=60)
    try:
        yield client
    finally:
        await client.close()


def processor_seconds(pid: int) -> float:
    """What a process has used of the processor so far."""
    said = subprocess.run(["ps", "-o", "cputime=", "-p", str(pid)], capture_output=True, text=True, check=True).stdout
    seconds = 0.0
    for part in said.strip().replace("-", ":").split(":"):
        seconds = seconds * 60 + float(part)
    return seconds
