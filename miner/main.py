"""The miner as a program of its own: a client of one node."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from random import SystemRandom

from miner.miner import Miner
from miner.search import Pace
from rpc.client import RpcClient


def parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line; ends the program with code 2 where it is wrong."""
    parser = argparse.ArgumentParser(prog="python -m miner.main", description="Mine for a node of Dure.")
    parser.add_argument("--rpc-url", required=True, help="where the node answers, such as http://127.0.0.1:27341/")
    parser.add_argument("--cookie-file", required=True, type=Path, help="the node's .cookie, in its data directory")
    parser.add_argument("--hashrate", type=_rate, default=0, help="hashes per second at most; 0, the default: no bound")
    parser.add_argument("--address", help="where rewards go; by default an address of the node's wallet")
    parser.add_argument("--parent", type=int, help="end when the process with this id is no longer the parent")
    return parser.parse_args(arguments)


def _rate(text: str) -> int:
    rate = int(text)
    if rate < 0:
        raise argparse.ArgumentTypeError("hashes per second cannot be below 0")
    return rate


def say(event: str, **facts: object) -> None:
    """Write a line to the standard output, which a daemon that started this miner puts into its log."""
    line = " ".join((event, *(f"{name}={fact}" for name, fact in facts.items())))
    try:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        # Nobody listens: the daemon is gone, which `wanted` will tell.
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - lasts as long as the program


async def mine(arguments: argparse.Namespace) -> None:
    """Mine until the parent is gone, or until told to end (SIGTERM, SIGINT)."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)

    def wanted() -> bool:
        return not stopped.is_set() and arguments.parent in {None, os.getppid()}

    async with RpcClient(arguments.rpc_url, arguments.cookie_file) as node:
        miner = Miner(
            node,
            pace=Pace(arguments.hashrate, time.monotonic),
            entropy=SystemRandom(),
            monotonic=time.monotonic,
            log=say,
            address=arguments.address,
            wanted=wanted,
        )
        await miner.run()


def main() -> None:
    """Run the program."""
    asyncio.run(mine(parse_arguments(sys.argv[1:])))


if __name__ == "__main__":
    main()
