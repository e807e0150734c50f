"""Swaps across two networks, driven from outside: one person's node on each, and the file that the two pass around.

A node sees one chain. What one chain says about what may be done on the other is put together here, for the taker
before he locks, and for the secret that he reads off the second chain; each wallet guards the rest by itself.
"""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from consensus.codec import display_hash
from devnet.calls import CallRefused, Calls
from devnet.errors import Misused, Refused
from devnet.files import read_bounded
from devnet.folder import NodeRecord
from rpc.schema import Swap, SwapHere, SwapKey, SwapStep
from wallet.swaps.errors import SwapError
from wallet.swaps.frame import MAX_SWAP_SIZE, FileKind, file_kind
from wallet.swaps.steps import Advice, Seen, Side, advise, check_first_lock
from wallet.swaps.terms import Terms, margin_of, read_terms
from wallet.swaps.watching import Stage

T = TypeVar("T")

USUAL_MARGINS = 8
"""Margins until the second lock can be taken back, where nobody says otherwise: twice what the four steps need."""
SLOW_SECONDS = 600.0
"""For calls that look at the whole chain again."""


class Party(NamedTuple):
    """One person's node on one network."""

    calls: Calls
    node: NodeRecord
    name: str
    """As the user named it, such as 0@north."""
    network: str
    """Such as north."""

    def call(self, method: str, *params: Any) -> Any:
        """Call a method and return its plain result.

        Raises:
            Refused: in the node's own words, with its name: both networks have a node 0.
        """
        try:
            return self.calls.call(self.node, method, *params, timeout=SLOW_SECONDS)
        except CallRefused as error:
            raise self._refused(error) from None

    def _refused(self, error: CallRefused) -> Refused:
        who = f"Node {self.name}" if self.name.isdigit() else self.name
        return Refused(f"{who} refused: {error.message}")

    def ask(self, kind: type[T], method: str, *params: Any) -> T:
        """Call a method and return its result as a type of `rpc.schema`.

        Raises:
            Refused: as `call`.
        """
        try:
            return self.calls.ask(self.node, kind, method, *params, timeout=SLOW_SECONDS)
        except CallRefused as error:
            raise self._refused(error) from None


class File(NamedTuple):
    """A file about a swap across two networks."""

    path: Path
    terms: Terms
    text: str
    """Its bytes as base64."""


class Sides(NamedTuple):
    """One person's nodes, by the leg of their network."""

    first: Party
    second: Party


class Sight(NamedTuple):
    """A swap as one person's two nodes see it."""

    side: Side
    first: SwapHere
    second: SwapHere
    first_seen: Seen
    second_seen: Seen

    def advice(self, terms: Terms, depth: int) -> Advice:
        """Return what to do next."""
        return advise(terms, self.side, self.first_seen, self.second_seen, depth)


class Asked(NamedTuple):
    """An amount of something on one network."""

    asset: str | None
    amount: int


# Files


def read_raw(path: Path) -> bytes:
    """Return a file about a swap, whatever is in it.

    Raises:
        Refused: it cannot be read, or is larger than any.
    """
    return read_bounded(path, MAX_SWAP_SIZE, "file about a swap")


def kind_of(path: Path, raw: bytes) -> FileKind:
    """Return what a file is about.

    Raises:
        Refused: it is damaged, or no such file.
    """
    try:
        return file_kind(raw)
    except SwapError as error:
        raise Refused(f"{path} is refused: {error}") from None


def read_file(path: Path) -> File:
    """Read a file about a swap across two networks; what was changed in it after it was signed is found out.

    Raises:
        Refused: with the rule that it breaks.
    """
    raw = read_raw(path)
    try:
        return File(path, read_terms(raw), base64.b64encode(raw).decode("ascii"))
    except SwapError as error:
        raise Refused(f"{path} is refused: {error}") from None


# Agreeing


def propose(sides: Sides, gives: Asked, wants: Asked, seconds: int | None) -> bytes:
    """Return the file of a proposal.

    Args:
        seconds: until the taker can take back what he locks; the proposer waits for twice as long.

    Raises:
        Refused: one of the nodes refuses; nothing was locked.
    """
    key = sides.second.ask(SwapKey, "getswapkey")
    here = sides.first.ask(SwapKey, "getswapkey")
    margin = margin_of(here.spacing, key.spacing)
    until = USUAL_MARGINS * margin if seconds is None else seconds
    now = max(here.now, key.now)
    wanted = {
        "genesis": key.genesis,
        "spacing": key.spacing,
        "amount": wants.amount,
        "asset": wants.asset,
        "receiver": key.pubkey,
        "refund_at": now + until,
        "hash": key.hash,
    }
    refund_at = now + until + max(until, margin)
    return base64.b64decode(str(sides.first.call("proposeswap", gives.amount, refund_at, wanted, gives.asset)))


def accept(file: File, sides: Sides) -> bytes:
    """Return the file with the taker's part in it; both of his wallets watch the swap from now on.

    Raises:
        Refused: one of the nodes refuses; nothing was locked.
    """
    for party in sides:
        said = party.ask(Swap, "decodeswap", file.text)
        if isinstance(said.problem, str):
            raise Refused(f"{party.name} refused: {said.problem}")
    key = sides.first.ask(SwapKey, "getswapkey").pubkey
    text = str(sides.second.call("acceptswap", file.text, key))
    sides.first.call("watchswap", text, False)
    return base64.b64decode(text)


def place(terms: Terms, parties: tuple[Party, ...]) -> Sides:
    """Tell which of two nodes is on which network.

    Raises:
        Misused: they are not one on each.
    """
    by_genesis = {str(party.call("getblockchaininfo")["genesis"]): party for party in parties}
    found = [by_genesis.get(display_hash(leg.genesis)) for leg in (terms.first, terms.second)]
    if len(parties) != 2 or found[0] is None or found[1] is None:
        raise Misused("Name one node on each of the two networks of the swap, such as 0@north 0@south.")
    return Sides(found[0], found[1])


# Going on


def look(file: File, sides: Sides) -> Sight:
    """See how an accepted swap stands on both networks; both wallets watch it from now on.

    Raises:
        Refused: it is not accepted, a node finds something wrong with it, or the two nodes' wallets are not those of
            one of the two.
    """
    if file.terms.accepted is None:
        raise Refused(f"{file.path} is only proposed: nobody has accepted it yet.")
    found: list[tuple[Swap, SwapHere]] = []
    for party in sides:
        party.call("watchswap", file.text)
        said = party.ask(Swap, "decodeswap", file.text)
        if isinstance(said.problem, str) or not isinstance(said.here, SwapHere):
            raise Refused(f"{party.name} refused: {said.problem}")
        found.append((said, said.here))
    (first, first_here), (second, second_here) = found
    roles = {(True, False): Side.PROPOSER, (False, True): Side.TAKER}
    side = roles.get((bool(first_here.gives), bool(second_here.gives)))
    if side is None or None in {first_here.gives, second_here.gives}:
        raise Refused(
            f"The wallets of {sides.first.name} and {sides.second.name} are not both those of one of the two who swap."
        )
    return Sight(side, first_here, second_here, _seen(first, first_here), _seen(second, second_here))


def _seen(said: Swap, here: SwapHere) -> Seen:
    secret = bytes.fromhex(here.secret) if isinstance(here.secret, str) else None
    return Seen(Stage(here.stage), here.depth, secret, said.mediantime, said.now)


def lock(file: File, sides: Sides, sight: Sight, depth: int, fee_rate: str | None) -> SwapStep:
    """Lock what this person gives: the taker only once he has seen the other's lock, so deep.

    Raises:
        Refused: it is not his turn, or too late; nothing was locked.
    """
    if sight.side is Side.PROPOSER:
        return sides.first.ask(SwapStep, "lockswap", file.text, fee_rate)
    if sight.second_seen.stage in {Stage.NOTHING, Stage.DIFFERENT}:
        try:
            check_first_lock(sight.first_seen, depth)
        except SwapError as error:
            raise Refused(f"{sides.first.name} refused: {error}") from None
    return sides.second.ask(SwapStep, "lockswap", file.text, fee_rate)


def claim(file: File, sides: Sides, sight: Sight, depth: int, fee_rate: str | None) -> SwapStep:
    """Claim what this person gets: the proposer with her secret, the taker with what he read of it on her chain.

    Raises:
        Refused: it is too early or too late, or the secret is not known.
    """
    if sight.side is Side.PROPOSER:
        shown = sight.first_seen.secret
        secret = None if shown is None else shown.hex()
        return sides.second.ask(SwapStep, "claimswap", file.text, secret, depth, fee_rate)
    known = sight.second_seen.secret or sight.first_seen.secret
    return sides.first.ask(SwapStep, "claimswap", file.text, None if known is None else known.hex(), depth, fee_rate)


def refund(file: File, sides: Sides, sight: Sight, fee_rate: str | None) -> SwapStep:
    """Take back what this person locked.

    Raises:
        Refused: it is too early, or it was claimed.
    """
    giver = sides.first if sight.side is Side.PROPOSER else sides.second
    return giver.ask(SwapStep, "refundswap", file.text, fee_rate)
