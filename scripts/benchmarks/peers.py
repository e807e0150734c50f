"""Other people's nodes, where they are installed. docs/performance.md says how to install each."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from scripts.benchmarks.programs import Program
from scripts.benchmarks.rpc import HOST


class Litecoind(Program):
    """Bitcoin Core's code base, 0.21, from the package of that name: $LITECOIND, or the one that is installed."""

    name = "litecoind"
    minable = "mfWxJ45yp2SFn7UciZyNpvDKrzbhyfKrY8"

    @classmethod
    def program(cls) -> str | None:
        """Return where it is, or None."""
        return os.environ.get("LITECOIND") or shutil.which("litecoind")

    @classmethod
    def installed(cls) -> bool:
        """See `Program`."""
        return cls.program() is not None

    def command(self) -> list[str]:
        """See `Program`. Without the self-checks that regtest turns on, and without the extension blocks of later."""
        return [
            self.program() or "", "-regtest", f"-datadir={self.folder}", "-server=1", "-rpcuser=bench",
            "-rpcpassword=benchmark", f"-rpcbind={HOST}", f"-rpcallowip={HOST}", f"-rpcport={self.rpc_port}",
            "-listen=1", f"-bind={HOST}:{self.port}", "-listenonion=0", "-discover=0", "-dnsseed=0", "-upnp=0",
            "-disablewallet=1", "-checkmempool=0", "-checkblockindex=0", "-printtoconsole=0",
            "-vbparams=mweb:4000000000:4100000000", "-whitelist=noban@127.0.0.1",
            f"-connect={HOST}:{self.dial.port}" if self.dial else "-connect=0", *self.extra,
        ]  # fmt: skip


class Bcoin(Program):
    """A full node in JavaScript: $BCOIN is the folder of the package, $NODE what runs it (or `node`)."""

    name = "bcoin"
    minable = "R9HC5WtHbpoa51NCUAz86XLCmGTbkf45NT"

    @classmethod
    def installed(cls) -> bool:
        """See `Program`."""
        return "BCOIN" in os.environ

    def command(self) -> list[str]:
        """See `Program`."""
        return [
            os.environ.get("NODE", "node"), str(Path(__file__).with_name("bcoin.js")), "--network=regtest",
            f"--prefix={self.folder}", f"--http-host={HOST}", f"--http-port={self.rpc_port}", "--api-key=benchmark",
            f"--host={HOST}", f"--port={self.port}", "--listen=true", "--upnp=false", "--bip37=false",
            "--discover=false", "--log-level=error",
            *([f"--only={HOST}:{self.dial.port}"] if self.dial else []), *self.extra,
        ]  # fmt: skip


class Kernel(Program):
    """Bitcoin Core's validation as a library, `pbk` from the package py-bitcoinkernel: no wire, no RPC, no mempool.

    It is fed with the blocks of a chain that bcoin mined: both have the genesis block of Bitcoin's regtest.
    """

    name = "kernel"
    minable = Bcoin.minable
    measures = frozenset({"sync"})

    @classmethod
    def installed(cls) -> bool:
        """See `Program`."""
        return Bcoin.installed() and importlib.util.find_spec("pbk") is not None

    @classmethod
    def source(cls) -> type[Program]:
        """See `Program`."""
        return Bcoin

    def command(self) -> list[str]:
        """See `Program`: a process that reads blocks in hex, a line each, and says how many seconds they took."""
        return [sys.executable, "-c", FEED, str(self.folder)]

    @classmethod
    def catch_up(cls, source: Program) -> float:
        """See `Program`: from the first block to the last, which it has in memory as it begins."""
        hashes = [source.rpc.call("getblockhash", height) for height in range(1, source.height() + 1)]
        blocks = "\n".join(source.rpc.call("getblock", each, False) for each in hashes)
        node = cls()
        try:
            said = subprocess.run(node.command(), input=blocks, capture_output=True, text=True, check=True)
        finally:
            node.__exit__()
        return float(said.stdout)


FEED = """
import sys, time, pbk
folder = sys.argv[1]
blocks = [bytes.fromhex(line) for line in sys.stdin]
options = pbk.ContextOptions()
options.set_chainparams(pbk.ChainParameters(pbk.ChainType.REGTEST))
chain = pbk.ChainstateManager(pbk.ChainstateManagerOptions(pbk.Context(options), folder, folder + "/blocks"))
began = time.monotonic()
for block in blocks:
    chain.process_block(pbk.Block(block))
took = time.monotonic() - began
if chain.get_active_chain().height != len(blocks):
    sys.exit("a block was refused")
print(took)
"""


class Anvil(Program):
    """Ethereum's development node, $ANVIL: one process that mines when asked to, without peers or proof of work."""

    name = "anvil"
    minable = ""
    measures = frozenset({"start", "memory", "mempool", "rpc"})
    version = "2.0"
    cheap_call = "eth_blockNumber"
    hand_in_call = "eth_sendRawTransaction"

    @classmethod
    def installed(cls) -> bool:
        """See `Program`: the program, and `eth_account` to sign with."""
        return "ANVIL" in os.environ and importlib.util.find_spec("eth_account") is not None

    def command(self) -> list[str]:
        """See `Program`."""
        return [
            os.environ["ANVIL"],
            "--host",
            HOST,
            "--port",
            str(self.rpc_port),
            "--silent",
            "--no-mining",
            *self.extra,
        ]

    def mine(self, count: int, address: str | None = None) -> list[str]:
        """See `Program`. Nobody is rewarded, and no ids are told."""
        del address
        self.rpc.call("anvil_mine", hex(count))
        return []

    def waiting(self) -> int:
        """See `Program`."""
        pool: dict[str, Any] = self.rpc.call("txpool_status")
        return int(pool["pending"], 16) + int(pool["queued"], 16)


PEERS: tuple[type[Program], ...] = (Litecoind, Bcoin, Kernel, Anvil)
