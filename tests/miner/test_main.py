"""The miner as a real process, with a small node behind real HTTP."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from miner.main import parse_arguments
from rpc import schema
from rpc.encoding import decode_any, encode
from tests.support.pool import NodeInMemory, Pool

COOKIE = "__cookie__:c0ffee"


@asynccontextmanager
async def served(node: NodeInMemory) -> AsyncIterator[str]:
    """Serve a node in memory by HTTP on a free port; give its URL."""

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        call = decode_any(await request.read())
        result = schema.BlockTemplate if call["method"] == "getblocktemplate" else None
        value = await node.call(call["method"], *call["params"], result=result)
        return web.Response(body=encode({"jsonrpc": "2.0", "id": call["id"], "result": value}))

    runner = web.ServerRunner(web.Server(answer), handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def process(folder: Path, url: str, *more: str) -> AsyncIterator[asyncio.subprocess.Process]:
    (folder / ".cookie").write_text(COOKIE)
    command: Sequence[str] = ("-m", "miner.main", f"--rpc-url={url}", f"--cookie-file={folder / '.cookie'}", *more)
    running = await asyncio.create_subprocess_exec(
        sys.executable,
        *command,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)},
    )
    try:
        yield running
    finally:
        if running.returncode is None:
            running.kill()
        await running.wait()


async def line_of(running: asyncio.subprocess.Process) -> str:
    assert running.stdout is not None
    async with asyncio.timeout(60):
        return (await running.stdout.readline()).decode()


@pytest.mark.e2e
async def test_a_real_miner_finds_blocks_and_ends_when_asked(tmp_path: Path) -> None:
    node = NodeInMemory(Pool())
    async with (
        served(node) as url,
        process(tmp_path, url, "--hashrate=2000", f"--parent={os.getpid()}") as miner,
    ):
        assert (await line_of(miner)).startswith("block_found height=")
        assert node.submitted
        miner.send_signal(signal.SIGTERM)
        async with asyncio.timeout(60):
            assert await miner.wait() == 0


@pytest.mark.e2e
async def test_a_real_miner_ends_with_its_parent_even_when_no_node_answers(tmp_path: Path) -> None:
    # This process is not the one that is named: to the miner, its parent is gone.
    async with process(tmp_path, "http://127.0.0.1:9/", f"--parent={os.getppid()}") as miner:
        async with asyncio.timeout(60):
            assert await miner.wait() == 0


@pytest.mark.parametrize(
    "wrong",
    [
        [],
        ["--rpc-url=u"],
        ["--rpc-url=u", "--cookie-file=c", "--hashrate=-1"],
        ["--rpc-url=u", "--cookie-file=c", "--hashrate=fast"],
        ["--rpc-url=u", "--cookie-file=c", "--parent=me"],
    ],
)
def test_wrong_arguments_end_with_code_two(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse_arguments(wrong)
    assert ended.value.code == 2
    assert "usage" in capsys.readouterr().err


def test_arguments_have_their_defaults() -> None:
    read: Any = parse_arguments(["--rpc-url=http://h:1/", "--cookie-file=/d/.cookie"])
    assert (read.hashrate, read.address, read.parent, read.cookie_file) == (0, None, None, Path("/d/.cookie"))
