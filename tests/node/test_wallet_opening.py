"""What a node says of its wallet when it starts."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

from consensus.params import REGTEST
from node.config import NodeConfig
from node.storage.executor import INLINE
from node.wallet_opening import open_wallet
from tests.support.chain import ManualClock, recorder


def opened(folder: Path) -> tuple[str, list[str]]:
    """Open the wallet of a folder; return its first address that is not handed out, and the warnings."""
    log, entries = recorder()
    config = NodeConfig(network="regtest", datadir=str(folder))
    wallet, database = open_wallet(config, REGTEST, random.Random(1), ManualClock(), log, INLINE)
    assert wallet is not None
    address = wallet.new_address()
    database.close()
    return address, [str(entry["event"]) for entry in entries if entry["log_level"] == "warning"]


def test_keys_without_their_database_are_told_of_and_go_on(tmp_path: Path) -> None:
    """A125, A132: its file is gone, or empty."""
    first, warnings = opened(tmp_path)
    assert not warnings
    second, warnings = opened(tmp_path)
    assert (second != first, warnings) == (True, [])
    data = next(tmp_path.rglob("data.mdb"))
    data.write_bytes(b"")
    assert opened(tmp_path) == (first, ["wallet_records_missing"])
    data.unlink()
    assert opened(tmp_path) == (first, ["wallet_records_missing"])
    shutil.rmtree(data.parent)
    assert opened(tmp_path)[1] == []  # another wallet
