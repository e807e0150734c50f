"""What the commands of `dure wallet` share: one node's wallet, secrets that are typed, and how things are shown."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from cli.context import Context

if TYPE_CHECKING:
    from rpc.schema import WalletEntry

T = TypeVar("T")

SLOW_SECONDS = 600.0
"""For calls that derive a key from a passphrase, or look at the whole chain again."""
MAX_SECRET = 64 * 1024
"""Bytes of a file with a passphrase or a key."""
RECENT = 1_000
"""Lines of the history in which a shortened txid is looked for."""

passphrase_file = click.option(
    "--passphrase-file", type=click.Path(path_type=Path), metavar="F", help="Take the passphrase from F's first line."
)
"""For scripts: a passphrase never is an argument, which other programs could see."""


class NodeWallet:
    """The wallet of one running node."""

    def __init__(self, context: Context, number: int) -> None:
        """
        Raises:
            Refused, Misused, Unavailable: there is no network, no such node, or it does not run.
        """
        from devnet.status import require_running

        self.context = context
        self.folder = context.folder
        self.calls = context.calls
        self.record = self.folder.load()
        self.node = self.record.node(number)
        require_running(self.folder, self.node)

    def call(self, method: str, *params: Any, timeout: float = SLOW_SECONDS) -> Any:
        """Call a method and return its plain result.

        Raises:
            CallRefused: in the node's own words.
        """
        with self._explained():
            return self.calls.call(self.node, method, *params, timeout=timeout)

    def ask(self, kind: type[T], method: str, *params: Any) -> T:
        """Call a method and return its result as a type of `rpc.schema`."""
        with self._explained():
            return self.calls.ask(self.node, kind, method, *params, timeout=SLOW_SECONDS)

    def hint(self, command: str) -> str:
        """Return a command of `dure wallet` about this node, as the user has to type it."""
        verb, _, rest = command.partition(" ")
        return self.folder.hint(f"wallet {verb} {self.node.id} {rest}".rstrip())

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Say what to do where the node only says what is wrong."""
        from devnet.calls import CallRefused
        from devnet.errors import Refused
        from rpc.errors import ErrorCode

        try:
            yield
        except CallRefused as error:
            more = (
                {
                    ErrorCode.UNLOCK_NEEDED: f" Unlock it: {self.hint('unlock')}",
                    ErrorCode.WALLET_NOT_FOUND: f" Make one: {self.hint('create')}",
                }.get(ErrorCode(error.code))
                if error.code in ErrorCode.__members__.values()
                else None
            )
            if more is None:
                raise
            raise Refused(f"Node {self.node.id} refused: {error.message.rstrip('.')}.{more}") from None

    def txid(self, start: str) -> str:
        """Return the txid that `start` stands for: itself, or the only one of the newest payments that begins so.

        Raises:
            Refused: none does, or several.
        """
        from devnet.errors import Refused
        from rpc.schema import AssetEntry, WalletEntry

        if len(start) == 64:
            return start
        txids = [entry.txid for entry in self.ask(list[WalletEntry], "listtransactions", "*", RECENT)]
        txids += [entry.txid for entry in self.ask(list[AssetEntry], "listassettransactions", RECENT)]
        found = list(dict.fromkeys(txid for txid in txids if txid.startswith(start.lower())))
        if len(found) != 1:
            which = "No transaction" if not found else f"More than one transaction ({len(found)})"
            raise Refused(f"{which} of this wallet begins with {start!r}. See {self.hint('history')}")
        return found[0]


def read_secret(prompt: str, file: Path | None, *, confirm: bool = False) -> str:
    """Return a passphrase: from a file, or typed unseen, or from standard input if that is no terminal.

    Raises:
        Refused: it is empty, or the file cannot be read.
    """
    from devnet.errors import Refused

    if file is not None:
        secret = read_file(file).decode("utf-8", "replace").partition("\n")[0].rstrip("\r")
    elif sys.stdin.isatty():
        secret = click.prompt(prompt, hide_input=True, confirmation_prompt=confirm, err=True)
    else:
        secret = sys.stdin.readline(MAX_SECRET).rstrip("\r\n")
    if not secret:
        raise Refused("The passphrase is empty; nothing was done.")
    return secret


def read_file(path: Path, limit: int = MAX_SECRET) -> bytes:
    """Return a file's content.

    Raises:
        Refused: it cannot be read, or is too large to be what it should be.
    """
    from devnet.errors import Refused

    try:
        with path.expanduser().open("rb") as file:
            raw = file.read(limit + 1)
    except OSError as error:
        raise Refused(f"{path} cannot be read: {error.strerror}.") from None
    if len(raw) > limit:
        raise Refused(f"{path} is too large: more than {limit} bytes.")
    return raw


class SecondsType(click.ParamType[int]):
    """A duration such as 90s, 10m, 2h or 1d; in seconds."""

    name = "TIME"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read it."""
        if isinstance(value, int):
            return value
        text = str(value)
        unit = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}.get(text[-1:])
        number = text[:-1] if unit else text
        if not (number.isascii() and number.isdigit() and len(number) < 9):
            self.fail(f"{text[:20]!r} is no time, such as 90s, 10m or 2h.", param, ctx)
        return int(number) * (unit or 1)


class FeeRateType(click.ParamType[str]):
    """A fee rate in grain per byte; kept as text, so that no digit is lost on the way."""

    name = "RATE"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Read it."""
        text = str(value)
        whole, point, rest = text.partition(".")
        digits = whole + rest
        if not (digits.isascii() and digits.isdigit() and whole and len(rest) <= 3) or (point and not rest):
            self.fail(f"{text[:20]!r} is no fee rate: grain per byte, such as 2.5.", param, ctx)
        return text


fee_rate = click.option("--fee-rate", type=FeeRateType(), help="Grain per byte, such as 2.5.")


def moment(seconds: int, form: str = "%m-%d %H:%M") -> str:
    """Return a time as people write it, in UTC."""
    return datetime.fromtimestamp(seconds, UTC).strftime(form)


WHAT = {
    "send": "paid",
    "receive": "received",
    "generate": "mined",
    "immature": "maturing",
    "orphan": "lost",
}
"""What Bitcoin Core's categories are called here."""


def history_row(entry: WalletEntry) -> list[str]:
    """Return a line of the history for a table: time, what, amount, depth or state, whom, transaction."""
    state = {"confirmed": str(entry.confirmations)}.get(entry.state, entry.state)
    if isinstance(entry.replaced_by_txid, str):
        state = "replaced"
    style = {
        "conflicted": "[red]",
        "orphaned": "[red]",
        "abandoned": "[dim]",
        "dropped": "[dim]",
        "pending": "[yellow]",
    }
    return [
        moment(entry.time),
        WHAT[entry.category],
        str(entry.amount),
        style.get(entry.state, "") + state,
        entry.label[:18] or short_address(entry.address),
        f"{entry.txid[:8]}",
    ]


HISTORY_TITLES = ("time (UTC)", "what", "DURE", "depth", "with", "txid")


def short_address(address: str) -> str:
    """Return an address that fits a column: its ends tell it from others."""
    return f"{address[:10]}…{address[-6:]}"
