"""What waits for a block is there again after a restart, as far as today's rules allow; a damaged file stops nobody."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from consensus.params import LOCAL
from consensus.types import Transaction
from node import mempool_file
from node.mempool_entries import EXPIRY_SECONDS
from node.mempool_file import FILE, SAVE_SECONDS, MempoolFile, read_kept
from node.mempool_graph import Entry
from node.packages import accept_package
from node.storage.errors import DamagedError, StorageError
from node.storage.files import DirectoryFiles, Files, MemoryFiles
from node.storage.sealed_file import seal_file, unseal_file
from simnet.loop import run_virtual
from tests.support.chain import recorder
from tests.support.pool import FEE, PARAMS, Pool, forward, outputs_of


class Kept:
    """A mempool with its file, on a ledger that outlives it."""

    def __init__(self, pool: Pool, files: Files) -> None:
        self.pool = pool
        self.log, self.entries = recorder()
        self.entered: list[Entry] = []
        self.file = MempoolFile(pool.mempool, PARAMS, files, pool.clock, self.log, self.entered.append)

    def logged(self, event: str) -> list[Mapping[str, Any]]:
        return [entry for entry in self.entries if entry["event"] == event]

    async def until_loaded(self) -> None:
        self.file.start()
        await self.file.wait_loaded()


async def restarted(pool: Pool, files: Files) -> Kept:
    """Another mempool on the same ledger, with all that the file brings."""
    other = Pool(0)
    other.ledger, other.clock = pool.ledger, pool.clock
    other.mempool._chain = pool.ledger
    kept = Kept(other, files)
    await kept.until_loaded()
    await kept.file.stop()
    other.mempool.check_invariants()
    return kept


async def saved(pool: Pool, *txs: Transaction) -> MemoryFiles:
    files = MemoryFiles()
    for tx in txs:
        await pool.mempool.accept_transaction(tx)
    await Kept(pool, files).file.save()
    return files


def waiting(kept: Kept) -> list[Transaction]:
    return [entry.tx for entry in kept.pool.mempool]


async def test_what_waits_is_there_again_with_its_time_and_its_order() -> None:
    pool = Pool()
    parent = forward(pool.reward(1))
    child = forward(outputs_of(parent))
    files = await saved(pool, parent, child, forward(pool.reward(2)))
    pool.clock.now += 1_000
    kept = await restarted(pool, files)
    assert waiting(kept) == [entry.tx for entry in pool.mempool]
    assert {entry.time for entry in kept.pool.mempool} == {pool.clock.now - 1_000}
    assert [entry.tx for entry in kept.entered] == waiting(kept)
    assert [(line["transactions"], line["left_out"]) for line in kept.logged("mempool_loaded")] == [(3, 0)]


async def test_loading_keeps_all_the_rules() -> None:
    """A199: mined or contradicted meanwhile, expired, or no longer worth it: it stays out."""
    pool = Pool(6)
    expired = forward(pool.reward(1))
    await pool.mempool.accept_transaction(expired)
    pool.clock.now += EXPIRY_SECONDS
    mined, rival, orphan = forward(pool.reward(2)), forward(pool.reward(3)), forward(pool.reward(4))
    good = forward(pool.reward(5))
    files = await saved(pool, mined, rival, orphan, forward(outputs_of(orphan)), good)
    pool.clock.now += 1
    pool.ledger.mine([mined, forward(pool.reward(3), fee=2 * FEE), forward(pool.reward(4), fee=3 * FEE)])
    kept = await restarted(pool, files)
    assert waiting(kept) == [good]
    assert [(line["transactions"], line["left_out"]) for line in kept.logged("mempool_loaded")] == [(1, 5)]


async def test_a_parent_comes_back_with_the_child_that_pays_for_it() -> None:
    pool = Pool()
    parent = forward(pool.reward(1), fee=0)
    await accept_package(pool.mempool, [parent, child := forward(outputs_of(parent))])
    kept = await restarted(pool, await saved(pool))
    assert waiting(kept) == [parent, child]


async def test_what_a_wallet_offers_again_before_it_is_loaded_counts_as_loaded() -> None:
    pool = Pool()
    files = await saved(pool, forward(pool.reward(1)))
    kept = Kept(pool, files)
    await kept.until_loaded()
    await kept.file.stop()
    assert [(line["transactions"], line["left_out"]) for line in kept.logged("mempool_loaded")] == [(1, 0)]


async def test_without_a_file_nothing_is_said() -> None:
    kept = await restarted(Pool(), MemoryFiles())
    assert kept.entries == []


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (lambda raw: b"", "not such a file"),
        (lambda raw: bytes(range(256)) * 40, "not such a file"),
        (lambda raw: raw[:-1], "checksum"),
        (lambda raw: raw[:60], "checksum"),
        (lambda raw: raw[:100] + bytes([raw[100] ^ 1]) + raw[101:], "checksum"),
        (lambda raw: raw + b"\0", "checksum"),
        (lambda raw: seal_file(mempool_file.KIND, 0, bytes(unseal_file(mempool_file.KIND, 1, raw))), "version 0"),
        (lambda raw: seal_file(mempool_file.KIND, 2, b"from tomorrow"), "version 2"),
        (lambda raw: seal_file(mempool_file.KIND, 1, LOCAL.genesis_hash), "another network"),
        (lambda raw: seal_file(mempool_file.KIND, 1, PARAMS.genesis_hash + bytes(11)), "middle of a record"),
        (lambda raw: seal_file(mempool_file.KIND, 1, PARAMS.genesis_hash + bytes(8) + b"\xff" * 4), "too long"),
        (lambda raw: seal_file(mempool_file.KIND, 1, PARAMS.genesis_hash + bytes(11) + b"\x09short"), "too long"),
    ],
)
async def test_a_file_that_cannot_be_read_is_passed_over_with_one_warning(damage: Any, why: str) -> None:
    """A134: empty, random, cut, flipped, of another version or network."""
    pool = Pool()
    files = await saved(pool, forward(pool.reward(1)))
    files.write(FILE, damage(files.read(FILE)))
    kept = await restarted(pool, files)
    assert waiting(kept) == []
    assert kept.file.loaded
    (line,) = kept.entries
    assert (line["event"], line["log_level"]) == ("mempool_unreadable", "warning")
    assert why in line["why"]


async def test_a_huge_file_is_not_even_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A134."""
    pool = Pool()
    files = DirectoryFiles(tmp_path)
    await pool.mempool.accept_transaction(forward(pool.reward(1)))
    await Kept(pool, files).file.save()
    monkeypatch.setattr(mempool_file, "MAX_FILE_SIZE", (files.size(FILE) or 0) - 1)
    monkeypatch.setattr(DirectoryFiles, "read", lambda *_: pytest.fail("it was read"))
    kept = Kept(pool, files)
    assert kept.file._read() == []
    assert "more than" in kept.logged("mempool_unreadable")[0]["why"]


async def test_a_record_that_is_no_transaction_is_left_out() -> None:
    files = MemoryFiles()
    files.write(FILE, seal_file(mempool_file.KIND, 1, PARAMS.genesis_hash + b"\x7f" + bytes(10) + b"\x03abc"))
    kept = await restarted(Pool(), files)
    assert [line["left_out"] for line in kept.logged("mempool_loaded")] == [1]


async def test_what_could_not_be_loaded_in_time_is_written_again() -> None:
    """A stop right after a start must not lose what an earlier run kept."""
    pool = Pool()
    txs = [forward(pool.reward(n)) for n in (1, 2, 3)]
    files = await saved(pool, *txs)
    other = Kept(Pool(), files)
    other.file.start()
    await asyncio.sleep(0)
    await other.file.stop()
    assert not other.file.loaded
    raw = files.read(FILE)
    assert raw is not None
    assert [record.raw for record in read_kept(PARAMS, raw)] == [tx.encoded for tx in txs]


def test_it_is_written_now_and_then_if_something_has_changed() -> None:
    async def story() -> None:
        pool, files = Pool(), MemoryFiles()
        kept = Kept(pool, files)
        await kept.until_loaded()
        await asyncio.sleep(SAVE_SECONDS + 1)
        assert files.read(FILE) is None
        await pool.mempool.accept_transaction(forward(pool.reward(1)))
        await asyncio.sleep(SAVE_SECONDS + 1)
        first = files.read(FILE)
        assert first is not None
        assert len(read_kept(PARAMS, first)) == 1
        await kept.file.stop()

    run_virtual(story)


class FullDisk(MemoryFiles):
    def write(self, name: str, data: bytes) -> None:
        raise StorageError("no space left")


async def test_a_full_disk_costs_a_warning_and_no_more() -> None:
    kept = Kept(Pool(), FullDisk())
    await kept.until_loaded()
    await kept.file.stop()
    assert [line["why"] for line in kept.logged("mempool_not_saved")] == ["no space left"]
    with pytest.raises(StorageError):
        await kept.file.save()


def test_the_envelope_tells_kind_and_version_apart() -> None:
    raw = seal_file(b"one kind", 3, b"content")
    assert bytes(unseal_file(b"one kind", 3, raw)) == b"content"
    for kind, version in ((b"another1", 3), (b"one kind", 4)):
        with pytest.raises(DamagedError):
            unseal_file(kind, version, raw)
    with pytest.raises(ValueError, match="8 bytes"):
        seal_file(b"short", 1, b"")


def test_a_network_is_another_by_its_tag() -> None:
    content = seal_file(mempool_file.KIND, 1, PARAMS.genesis_hash)
    assert read_kept(replace(PARAMS, subsidy_interval=7), content) == []
