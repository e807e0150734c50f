"""A wallet in real processes: killed while it pays, restored, told secrets."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import stat
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from rpc.client import Unreachable
from rpc.errors import RpcError
from tests.support.daemon import PATIENCE, ROOT, Daemon, daemons, environment

pytestmark = pytest.mark.e2e


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Daemon]:
    async with daemons(tmp_path) as made:
        yield made[0]


async def pay(daemon: Daemon, address: str, request: str) -> str:
    """Ask for one payment of 1 DURE under a name."""
    return str(
        await daemon.call("sendtoaddress", address, 1, "", "", False, None, None, None, None, None, False, request)
    )


async def test_kill_9_at_any_moment_of_a_payment_and_a_retry_pay_once(daemon: Daemon) -> None:
    """A155: between any two of: the call, the coins chosen, the record, the mempool, the answer."""
    await daemon.start()
    await daemon.mine(110)
    payee = await daemon.call("getnewaddress", "payee")
    delays = [0.0, 0.002, 0.004, 0.006, 0.01, 0.02, 0.05]
    for number, delay in enumerate(delays):
        asked = asyncio.create_task(pay(daemon, payee, f"order {number}"))
        await asyncio.sleep(delay)
        await daemon.kill()
        answer = None
        with contextlib.suppress(Unreachable):
            answer = await asked
        await daemon.start()
        again = [await pay(daemon, payee, f"order {number}") for _ in range(2)]
        assert again[0] == again[1]
        assert answer in {None, again[0]}
    await daemon.mine(1)
    (received,) = await daemon.call("listreceivedbyaddress", False, False, payee)
    assert (received["amount"], received["payments"]) == (len(delays), len(delays))
    lines = await daemon.call("listtransactions", "payee", 100)
    assert Counter(line["category"] for line in lines) == {"send": len(delays), "receive": len(delays)}
    assert {line["state"] for line in lines} == {"confirmed"}


async def test_kill_9_while_a_passphrase_is_set_or_changed_leaves_one_that_opens(daemon: Daemon) -> None:
    """A142: the old keystore or the new one, never neither; and never a readable copy beside a sealed one."""
    await daemon.start()
    words = await daemon.call("getmnemonic")
    passphrases = [None, "one", "two", "three"]
    current: str | None = None
    for number, delay in ((1, 0.0), (1, 0.3), (1, 9.0), (2, 0.4), (2, 0.6), (3, 9.0)):
        new = passphrases[number]
        if current == new:
            continue
        change = ("encryptwallet", new) if current is None else ("walletpassphrasechange", current, new)
        asked = asyncio.create_task(daemon.call(*change))
        await asyncio.wait([asked], timeout=delay)
        await daemon.kill()
        done = True
        try:
            await asked
        except Unreachable:
            done = False
        await daemon.start()
        if done or await opens(daemon, new):
            assert await opens(daemon, new)
            current = new
        else:
            assert await opens(daemon, current)
        assert await daemon.call("getmnemonic") == words
        if current is not None:
            for name in ("wallet.keys", "wallet.keys.backup"):
                assert words.encode() not in (daemon.folder / "wallet" / name).read_bytes()
    assert current == "three"


async def opens(daemon: Daemon, passphrase: str | None) -> bool:
    """Whether this passphrase, or None for none, opens the wallet."""
    encrypted = (await daemon.call("getwalletinfo"))["encrypted"]
    if passphrase is None or not encrypted:
        return passphrase is None and not encrypted
    try:
        await daemon.call("walletpassphrase", passphrase, 60)
    except RpcError:
        return False
    return True


async def test_a_locked_daemon_locks_itself_and_pays_nothing_then(daemon: Daemon) -> None:
    """A151"""
    await daemon.start()
    await daemon.mine(101)
    await daemon.call("encryptwallet", "secret")
    address = await daemon.call("getnewaddress")
    await daemon.call("walletpassphrase", "secret", 2)
    assert (await daemon.call("getwalletinfo"))["unlocked_until"] > 0
    await pay(daemon, address, "a")
    await daemon.until("getwalletinfo", gives=lambda info: info["locked"])
    with pytest.raises(RpcError, match=r"\(-13\)"):
        await pay(daemon, address, "b")
    assert await pay(daemon, address, "a"), "it was paid: that takes no key"


async def test_every_file_of_a_wallet_is_its_owners_alone(daemon: Daemon) -> None:
    """A150: those that a change of passphrase, an import and a backup leave behind too."""
    await daemon.start()
    address = await daemon.call("getnewaddress")
    pem = await daemon.call("exportkey", address)
    await daemon.call("backupwallet", "one.backup")
    await daemon.call("encryptwallet", "secret")
    await daemon.call("walletpassphrasechange", "secret", "other secret")
    for path in daemon.folder.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
    log = str(daemon.lines)
    assert not any(secret in log for secret in ("secret", "PRIVATE KEY", pem.splitlines()[1]))
    assert core_size(daemon.pid) == "0"


def core_size(pid: int) -> str:
    """How large a core dump of a process may be, where the system tells."""
    limits = Path(f"/proc/{pid}/limits")
    if not limits.exists():
        return "0"
    (line,) = [line for line in limits.read_text().splitlines() if line.startswith("Max core file size")]
    return line.split()[4]


def test_every_command_on_the_page_works_in_its_order(tmp_path: Path) -> None:
    """docs/wallet.md, as a newcomer types it."""
    program = tmp_path / "bin" / "dure"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -P -m cli.main "$@"\n')
    program.chmod(0o755)
    page = (ROOT / "docs" / "wallet.md").read_text("utf-8")
    lines = [line[4:] for line in page.splitlines() if line.startswith("    ")]
    assert len(lines) > 30
    script = "\n".join(["set -e", "dure up -n 3 --miners 0 --detach", *lines])
    surroundings = environment(PATH=f"{program.parent}:{os.environ['PATH']}", DURE_DIR=str(tmp_path / "net"))
    try:
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=tmp_path,
            env=surroundings,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-2_000:] + done.stderr[-2_000:]
        assert "signed it." in done.stdout.splitlines()[-1]
    finally:
        subprocess.run([program, "down"], cwd=tmp_path, env=surroundings, capture_output=True, check=True)
