"""How many bytecodes the hottest functions take on fixed work: the same on any machine, busy or not.

Time tells a slow machine from a quick one; this tells a slow program from a quick one. It sees what Python does, and
not what the libraries below do. Counts differ between versions of Python, so each has a column of its own in
instructions.json: `.venv/bin/python -m scripts.benchmarks.instructions` writes that of the version that runs it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

from consensus.apply import apply_block
from consensus.codec import decode_block, decode_transaction
from consensus.merkle import merkle_root
from consensus.params import REGTEST
from consensus.state import ChainState, SpendContext, genesis_state
from consensus.types import NULL_TXID, Amount, Block, Coin, Core, Header, OutPoint, Output, Transaction, TxId
from consensus.validation import check_block, check_spends, check_transaction, transaction_fee
from node.mempool_graph import Entry, MempoolGraph
from node.outlines import Outlines
from node.state_view import StateView
from p2p.framing import FrameReader, ReceiveBudget, encode_frame
from p2p.messages import Inv, Item, ItemKind
from scripts.benchmarks.money import Coin as Source
from scripts.benchmarks.money import DurePurse

_T = TypeVar("_T")
COUNTS = Path(__file__).with_name("instructions.json")
SLACK = 1.1
"""A function may take so many times what is written down: below is chance and small repairs, above is a change."""
PAYMENTS = 50
VALUE = 50_000


def version() -> str:
    """Return which column is this Python's."""
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def count(work: Callable[[], object]) -> int:
    """Return how many bytecodes a call runs, in Python functions of all modules."""
    return _count_monitored(work) if sys.version_info >= (3, 12) else _count_traced(work)


def _count_monitored(work: Callable[[], object]) -> int:
    """Count as Python 3.12 and later do best (PEP 669)."""
    monitoring: Any = vars(sys)["monitoring"]
    tool, ran = monitoring.PROFILER_ID, 0

    def step(_code: object, _offset: int) -> None:
        nonlocal ran
        ran += 1

    monitoring.use_tool_id(tool, "instructions")
    monitoring.register_callback(tool, monitoring.events.INSTRUCTION, step)
    monitoring.set_events(tool, monitoring.events.INSTRUCTION)
    try:
        work()
    finally:
        monitoring.set_events(tool, 0)
        monitoring.free_tool_id(tool)
    return ran


def _count_traced(work: Callable[[], object]) -> int:
    """Count by tracing every function."""
    ran = 0

    def trace(frame: FrameType, event: str, _argument: object) -> Callable[..., Any]:
        nonlocal ran
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        ran += event == "opcode"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return ran


class _Nothing:
    """No coin and no asset is stored."""

    def read_coins(self, _outpoints: object) -> dict[OutPoint, Coin]:
        return {}

    def read_assets(self, _assets: object) -> dict[Any, Any]:
        return {}


def _each(items: Iterable[_T], work: Callable[[_T], object]) -> None:
    for item in items:
        work(item)


def hottest() -> dict[str, Callable[[], object]]:
    """Return the work that is counted, by name; each may be done once."""
    purse = DurePurse()
    sources = [Source(number.to_bytes(32, "big"), 0, VALUE) for number in range(1, PAYMENTS + 1)]
    raws = [bytes.fromhex(purse.pay(source)) for source in sources]
    lock = decode_transaction(raws[0]).core.outputs[0].lock
    coins = {OutPoint(TxId(s.txid), 0): Coin(Output(Amount(VALUE), lock, None), 1, False) for s in sources}
    parent: ChainState = genesis_state(REGTEST)
    reward = Transaction(Core(1, (OutPoint(NULL_TXID, 1),), (), (), (), bytes(40)), ())
    payments = tuple(decode_transaction(raw) for raw in raws)
    root = merkle_root([tx.wtxid for tx in (reward, *payments)])
    block = Block(Header(1, parent.hash, root, 1, REGTEST.start_bits, 0), (reward, *payments))
    raw_block = block.encoded
    applied = apply_block(REGTEST, parent, block, coins, {})
    inventory = Inv(tuple(Item(ItemKind.TX, tx.wtxid) for tx in payments))
    frames = encode_frame(Inv.number, inventory.encode_body()) * 10
    view, graph = StateView(_Nothing()), MempoolGraph()
    entries = [Entry(tx, Amount(10_000), len(tx.encoded), 1, 0, False) for tx in payments]
    context = SpendContext(2, 0)

    def take_step() -> None:
        view.apply(applied.delta)
        list(view.changes())

    def add_all() -> None:
        for entry in entries:
            graph.add(entry)

    def read_frames() -> None:
        reader = FrameReader(ReceiveBudget())
        reader.feed(frames)
        while reader.next_frame(lambda _number, _size: None) is not None:
            pass

    return {
        "decode_transaction": lambda: [decode_transaction(raw) for raw in raws],
        "decode_block": lambda: decode_block(raw_block),
        "check_transaction": lambda: _each(payments, lambda tx: check_transaction(REGTEST, tx)),
        "transaction_fee": lambda: [transaction_fee(REGTEST, 2, tx, coins) for tx in payments],
        "check_spends": lambda: [check_spends(REGTEST, context, tx, coins) for tx in payments],
        "check_block": lambda: check_block(REGTEST, block),
        "apply_block": lambda: apply_block(REGTEST, parent, block, coins, {}),
        "state_view": take_step,
        "mempool_graph": add_all,
        "merkle_root": lambda: merkle_root([tx.wtxid for tx in block.transactions]),
        "read_frames": read_frames,
        "outline_of": lambda: Outlines.outline_of(block),
    }


def measured() -> dict[str, int]:
    """Return the bytecodes of each, for one payment of `PAYMENTS`."""
    return {name: count(work) // PAYMENTS for name, work in hottest().items()}


def recorded() -> dict[str, dict[str, int]]:
    """Return what is written down, by version of Python, then by name."""
    found: dict[str, dict[str, int]] = json.loads(COUNTS.read_text()) if COUNTS.exists() else {}
    return found


def main() -> int:
    """Write down the counts of this Python."""
    counts = recorded() | {version(): measured()}
    COUNTS.write_text(json.dumps(dict(sorted(counts.items())), indent=2) + "\n")
    for name, number in counts[version()].items():
        print(f"{name:<20} {number:>6}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
