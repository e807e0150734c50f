"""The words of a plan's steps: what each verb takes, what is drawn, and how a step is told."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Final, NoReturn

from consensus.amounts import format_amount, parse_amount
from devnet.errors import Misused
from devnet.faults import format_groups, parse_groups
from devnet.lines import EVERYBODY, lines_between, parse_nodes
from devnet.lines import describe as describe_conditions
from devnet.plan_model import Expected
from devnet.plan_steps import (
    Action,
    Agree,
    ChangeLines,
    Heal,
    Mine,
    Partition,
    Process,
    ProcessVerb,
    Reorg,
    Send,
    Skew,
)
from devnet.reorg import MAX_DEPTH
from devnet.units import format_duration, parse_duration, parse_share, parse_skew, parse_speed
from node.skewed_clock import MAX_SKEW
from p2p.link_conditions import PERFECT

MAX_BLOCKS: Final = 10_000
"""That one step finds."""
MAX_AGREE_MS: Final = 24 * 3_600_000
AGREE_MS: Final = 60_000
"""How long `agree` waits unless it says so."""

ANY: Final = "any"
"""Stands for a node that is drawn among those that are fit for the step."""
OFF: Final = "off"
LAST: Final = "last"
"""Stands for the newest payment of the plan."""


class PlanError(Misused):
    """A plan that cannot be carried out; the text says in which line."""

    def __init__(self, line: int, sentence: str) -> None:
        """Args:
        line: from 1; 0 for the whole file.
        sentence: what is wrong, from small letter to full stop.
        """
        text = f"line {line}: {sentence}" if line else sentence
        super().__init__(f"{text.rstrip('.')}.")


def is_number(text: str) -> bool:
    """Tell whether a word is a number: digits, and not too many."""
    return text.isascii() and text.isdigit() and len(text) < 20


class Arguments:
    """The words of a step, taken one by one, each as what it has to be."""

    def __init__(self, line: int, words: Sequence[str], rng: random.Random, network: Expected) -> None:
        self._line = line
        self.verb, *self._words = words
        self._rng = rng
        self.network = network

    def fail(self, sentence: str) -> NoReturn:
        """Refuse the line.

        Raises:
            PlanError: always.
        """
        raise PlanError(self._line, sentence)

    def flag(self, name: str) -> bool:
        """Take an option without a value."""
        if name not in self._words:
            return False
        self._words.remove(name)
        return True

    def option(self, name: str) -> str | None:
        """Take an option with a value."""
        if name not in self._words:
            return None
        place = self._words.index(name)
        if place + 1 == len(self._words):
            self.fail(f"{name} needs a value")
        value = self._words[place + 1]
        del self._words[place : place + 2]
        return value

    def word(self, what: str) -> str:
        """Take the next word."""
        if not self._words:
            self.fail(f"{self.verb} needs {what}")
        return self._words.pop(0)

    def rest(self, what: str) -> list[str]:
        """Take all words that are left, at least one."""
        if not self._words:
            self.fail(f"{self.verb} needs {what}")
        words, self._words = self._words, []
        return words

    @property
    def is_empty(self) -> bool:
        """Whether no word is left."""
        return not self._words

    def end(self) -> None:
        """Refuse words that are left."""
        if self._words:
            self.fail(f"{self.verb} does not take {self._words[0]!r}")

    def node(self, fit: Sequence[int], what: str = "a node") -> int:
        """Take a node, or draw one of those that are fit."""
        return self.as_node(self.word(what), fit)

    def as_node(self, text: str, fit: Sequence[int]) -> int:
        """Read a node, or draw one."""
        if text == ANY:
            if not fit:
                self.fail(f"there is no node by then that {self.verb} could be for")
            return self._rng.choice(list(fit))
        if text == EVERYBODY:
            self.fail(f"{self.verb} takes one node")
        return parse_nodes(text, self.network.size)[0]

    def end_of_line(self, taken: str | None = None) -> str:
        """Take one end of a line: a node, "all", or one that is drawn."""
        text = self.word("two nodes")
        fit = [node for node in range(self.network.size) if str(node) != taken]
        return text if text == EVERYBODY else str(self.as_node(text, fit))

    def drawn(self, text: str, read: Callable[[str], int]) -> int:
        """Read a quantity, or draw one between two of them: 1..5."""
        low, dots, high = text.partition("..")
        if not dots:
            return read(text)
        least, most = read(low), read(high)
        if least > most:
            self.fail(f"{text} ends before it begins")
        return self._rng.randint(least, most)


def read_action(arguments: Arguments) -> Action:
    """Return what a step does.

    Raises:
        PlanError: it is none.
        Misused: what it names is not there; the line is not in the sentence.
    """
    if arguments.verb not in VERBS:
        arguments.fail(f"there is no step {arguments.verb!r}: it is one of {', '.join(VERBS)}")
    action = VERBS[arguments.verb](arguments)
    arguments.end()
    return action


def _partition(arguments: Arguments) -> Action:
    return Partition(parse_groups(" ".join(arguments.rest('groups, such as "0 1 | 2"')), arguments.network.size))


def _heal(_arguments: Arguments) -> Action:
    return Heal()


def _delay(arguments: Arguments) -> Action:
    jitter = arguments.option("--jitter")
    lines = _lines(arguments)
    text = arguments.word("a duration, or off")
    if text == OFF and jitter is not None:
        arguments.fail("without a delay there is nothing that a jitter could vary")
    delay = 0 if text == OFF else arguments.drawn(text, parse_duration)
    swing = 0 if jitter is None else arguments.drawn(jitter, parse_duration)
    if swing > delay:
        arguments.fail("a jitter is at most the delay that it varies")
    return ChangeLines(lines, {"delay_ms": delay, "jitter_ms": swing})


def _loss(arguments: Arguments) -> Action:
    lines = _lines(arguments)
    text = arguments.word("a share, or off")
    return ChangeLines(lines, {"loss_ppm": 0 if text == OFF else arguments.drawn(text, parse_share)})


def _bandwidth(arguments: Arguments) -> Action:
    lines = _lines(arguments)
    text = arguments.word("a speed, or off")
    return ChangeLines(lines, {"bits_per_second": None if text == OFF else arguments.drawn(text, parse_speed)})


def _lines(arguments: Arguments) -> tuple[tuple[int, int], ...]:
    one_way = arguments.flag("--one-way")
    one = arguments.end_of_line()
    other = arguments.end_of_line(one)
    return lines_between(one, other, arguments.network.size, one_way=one_way)


def _skew(arguments: Arguments) -> Action:
    text = arguments.word("a node")
    everybody = range(arguments.network.size)
    nodes = tuple(everybody) if text == EVERYBODY else (arguments.as_node(text, everybody),)
    amount = arguments.word("a skew, such as +90s, or off")
    seconds = 0 if amount == OFF else arguments.drawn(amount, parse_skew)
    if abs(seconds) > MAX_SKEW:
        arguments.fail(f"a clock is wrong by at most {MAX_SKEW // 86_400} days")
    return Skew(nodes, seconds)


def _process(verb: ProcessVerb) -> Callable[[Arguments], Action]:
    def read(arguments: Arguments) -> Action:
        network = arguments.network
        fit = {"start": network.down, "resume": network.paused}.get(verb, network.up)
        chosen: list[int] = []
        for word in arguments.rest("a node"):
            chosen.append(arguments.as_node(word, [node for node in fit if node not in chosen]))
        return Process(verb, tuple(dict.fromkeys(chosen)))

    return read


def _mine(arguments: Arguments) -> Action:
    node = arguments.node(arguments.network.up)
    return Mine(node, arguments.drawn(arguments.word("how many blocks"), _counting(arguments, MAX_BLOCKS, "blocks")))


def _send(arguments: Arguments) -> Action:
    sender = arguments.node(arguments.network.up, "who pays")
    receiver = arguments.node([node for node in arguments.network.up if node != sender], "who is paid")

    def amount(text: str) -> int:
        try:
            grain = int(parse_amount(text))
        except ValueError:
            arguments.fail(f"{text[:40]!r} is no amount in DURE, such as 12.5")
        return grain or arguments.fail("an amount is more than nothing")

    return Send(sender, receiver, arguments.drawn(arguments.word("an amount"), amount))


def _reorg(arguments: Arguments) -> Action:
    depth, drop, node = (arguments.option(name) for name in ("--depth", "--drop", "--node"))
    if depth is None:
        arguments.fail("reorg needs --depth N")
    if drop not in {None, LAST}:
        arguments.fail(f"--drop takes {LAST!r}: the newest payment of the plan")
    return Reorg(
        arguments.drawn(depth, _counting(arguments, MAX_DEPTH, "blocks")),
        drop is not None,
        None if node is None else arguments.as_node(node, arguments.network.up),
    )


def _agree(arguments: Arguments) -> Action:
    within = AGREE_MS if arguments.is_empty else arguments.drawn(arguments.word("a duration"), parse_duration)
    if within > MAX_AGREE_MS:
        arguments.fail("agree waits for a day at most")
    return Agree(within)


def _counting(arguments: Arguments, most: int, what: str) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not is_number(text) or not 1 <= int(text) <= most:
            arguments.fail(f"{text[:40]!r} is no number of {what} from 1 to {most}")
        return int(text)

    return read


VERBS: Final[dict[str, Callable[[Arguments], Action]]] = {
    "partition": _partition,
    "heal": _heal,
    "delay": _delay,
    "loss": _loss,
    "bandwidth": _bandwidth,
    "skew": _skew,
    "kill": _process("kill"),
    "stop": _process("stop"),
    "start": _process("start"),
    "pause": _process("pause"),
    "resume": _process("resume"),
    "mine": _mine,
    "send": _send,
    "reorg": _reorg,
    "agree": _agree,
}
"""What a plan can do, and how its words are read."""


def describe(action: Action) -> str:
    """Return a step in words, with nothing left to chance; those of its command, but for lines."""
    match action:
        case Partition(groups):
            return f'partition "{format_groups(groups)}"'
        case Heal():
            return "heal"
        case ChangeLines():
            return _describe_lines(action)
        case Skew(nodes, seconds):
            who = " ".join(map(str, nodes))
            return f"skew {who} {f'{seconds:+d}s' if seconds else OFF}"
        case Process(verb, nodes):
            return f"{verb} {' '.join(map(str, nodes))}"
        case Mine(node, blocks):
            return f"mine {node} {blocks}"
        case Send(sender, receiver, grain):
            return f"send {sender} {receiver} {format_amount(grain)}"
        case Reorg(depth, drop_last, node):
            more = (f" --drop {LAST}" if drop_last else "") + (f" --node {node}" if node is not None else "")
            return f"reorg --depth {depth}{more}"
        case Agree(within):
            return f"agree {format_duration(within).replace(' ', '')}"


def _describe_lines(action: ChangeLines) -> str:
    ends = ", ".join(f"{source}→{target}" for source, target in action.lines[:4])
    more = f" and {len(action.lines) - 4} more" if len(action.lines) > 4 else ""
    conditions = action.apply(PERFECT)
    names = {"delay_ms": "delay", "loss_ppm": "loss", "bits_per_second": "bandwidth"}
    became = f"{next(names[field] for field in action.fields if field in names)} {OFF}"
    return f"{ends}{more}: {became if conditions.are_perfect else describe_conditions(conditions)}"
