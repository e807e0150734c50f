"""`python -m scripts.benchmarks.observed FILE ARGUMENT ...`: dured, seen from inside while it does what it always does.

SIGUSR1 begins a window of observation, SIGUSR2 ends it and writes to FILE what the main thread did with its time on a
processor, taken by surprise (SIGPROF): that slows the node down by little, where a profiler would change what it
measures. How late the event loop is, `watched` tells.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections import Counter
from pathlib import Path
from types import FrameType

import msgspec

from node import main as program
from node.config import NodeConfig
from scripts.benchmarks.programs import Dured, until

SURPRISE = 0.005
"""Seconds of processor time between two looks at what the main thread does."""
OTHER = "other"
KINDS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("signing", ("wallet/signer.py",)),
    ("choosing coins", ("wallet/coin_selection.py", "wallet/coin_table.py")),
    ("wallet", ("wallet/", "node/wallet_")),
    ("signatures", ("consensus/signatures.py", "node/workers.py", "node/signature_cache.py")),
    ("blocks", ("node/chain", "node/reorg.py", "node/storage/", "node/outlines.py", "node/block_", "node/mining.py")),
    ("mempool", ("node/admission.py", "node/mempool", "node/fee_history.py")),
    ("peers", ("p2p/", "node/relay.py", "node/node.py", "node/peer", "node/tx_requests.py", "node/sync.py", "node/s")),
    ("JSON-RPC", ("node/api/", "rpc/", "/aiohttp/")),
)
"""What a moment was spent on: the first of these of which a file is on the stack."""


class Seen(msgspec.Struct):
    """What was observed in a window."""

    moments: dict[str, int]
    """Of the main thread on a processor, by what it was at."""


def kind_of(files: list[str]) -> str:
    """Tell what a stack of files, relative to the folder of ours, is at."""
    for kind, places in KINDS:
        if any(
            place in file if place.startswith("/") else file.startswith(place) for file in files for place in places
        ):
            return kind
    return OTHER


class _Observer:
    def __init__(self, file: Path) -> None:
        self._file = file
        self._root = f"{Path(__file__).resolve().parent.parent.parent}{os.sep}"
        self._moments: Counter[str] = Counter()

    def begin(self) -> None:
        self._moments.clear()
        signal.signal(signal.SIGPROF, self._surprised)
        signal.setitimer(signal.ITIMER_PROF, SURPRISE, SURPRISE)

    def end(self) -> None:
        signal.setitimer(signal.ITIMER_PROF, 0)
        beside = self._file.with_suffix(".new")
        beside.write_bytes(msgspec.json.encode(Seen(dict(self._moments))))
        beside.replace(self._file)

    def _surprised(self, _number: int, frame: FrameType | None) -> None:
        files: list[str] = []
        while frame is not None:
            files.append(frame.f_code.co_filename.removeprefix(self._root))
            frame = frame.f_back
        self._moments[kind_of(files)] += 1


class Observed(Dured):
    """Our node, with an observer inside."""

    def command(self) -> list[str]:
        """See `Program`."""
        return [sys.executable, "-m", "scripts.benchmarks.observed", str(self._seen), *super().command()[1:]]

    @property
    def _seen(self) -> Path:
        return self.folder / "seen.json"

    def begin(self) -> None:
        """Begin a window of observation."""
        self._seen.unlink(missing_ok=True)
        os.kill(self.pid, signal.SIGUSR1)

    def end(self) -> Seen:
        """End it; return what was seen."""
        os.kill(self.pid, signal.SIGUSR2)
        until("what was observed", self._seen.exists)
        return msgspec.json.decode(self._seen.read_bytes(), type=Seen)


def main() -> int:
    """Run the daemon with an observer in its loop."""
    file, serve = Path(sys.argv[1]), program.serve

    async def observed(config: NodeConfig) -> None:
        observer, loop = _Observer(file), asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGUSR1, observer.begin)
        loop.add_signal_handler(signal.SIGUSR2, observer.end)
        await serve(config)

    program.serve = observed
    return program.main(sys.argv[2:])


if __name__ == "__main__":
    sys.exit(main())
