"""The language's own traps, looked for in the source of the product: what must not be there, what must stay bounded."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from re import _constants, _parser  # type: ignore[attr-defined]
from typing import Any

import pytest

from tests.support.repository import PACKAGES, ROOT

MODULES = {
    path.relative_to(ROOT).as_posix(): ast.parse(path.read_text())
    for package in PACKAGES
    for path in sorted((ROOT / package).rglob("*.py"))
}


def nodes(*folders: str) -> Iterator[tuple[str, ast.AST]]:
    """Every node of the syntax of every module of the product, or of these folders of it, with where it is."""
    for name, tree in MODULES.items():
        if not folders or name.split("/")[0] in folders:
            for node in ast.walk(tree):
                yield f"{name}:{getattr(node, 'lineno', 0)}", node


def called(node: ast.AST) -> str:
    """The name of what a call calls, as it is written; "" for anything but a call."""
    return ast.unparse(node.func) if isinstance(node, ast.Call) else ""


# Dictionary keys

OUR_NUMBERS = {
    "_Ranges": "prefix lengths of a table of ours",
    "_Bucket": "places of a table, drawn by a keyed hash",
    "_new": "buckets, drawn by a keyed hash",
    "_tried": "buckets, drawn by a keyed hash",
    "_place": "buckets, drawn by a keyed hash",
    "BY_NUMBER": "the numbers of our own messages",
    "_asked": "four message numbers, or peers by the number that we gave them",
    "_peers": "peers by the number that we gave them",
    "peers": "peers by the number that we gave them",
    "_sources": "peers by the number that we gave them",
    "_of_peer": "peers by the number that we gave them",
    "_listeners": "peers by the number that we gave them",
    "_askers": "peers by the number that we gave them",
    "_answered": "peers by the number that we gave them",
    "announcers": "peers by the number that we gave them",
    "_told": "peers by the number that we gave them",
    "_drafts": "peers by the number that we gave them",
    "waits": "numbers of blocks, up to a bound of ours",
    "read": "places in a batch of calls, which is bounded",
    "refused": "places in a batch of calls, which is bounded",
    "_said": "numbers of blocks, up to a bound of ours",
    "_waiting": "heights of tips that we had, and buckets of ours",
    "rows": "a file of our own: numbers of blocks, up to a bound",
    "_overdue": "buckets of ours",
    "found": "buckets of ours",
    "missing": "places in a block, from 0 up to a bound of ours",
    "_running": "processes that we started",
    "running_calls": "calls by the number that we gave them",
}
INTEGER_KEYS = re.compile(r"\b(?:dict|set|frozenset|defaultdict|Counter)\[(?:int\b|tuple\[int\b)")


def test_no_table_that_peers_feed_has_keys_that_they_choose_as_integers() -> None:
    """A201: an integer is its own hash, so that who chooses keys makes them collide; bytes are hashed with a secret."""
    found = []
    for place, node in nodes("node", "p2p"):
        match node:
            case ast.AnnAssign(target=target, annotation=annotation):
                name, kind = ast.unparse(target).removeprefix("self."), ast.unparse(annotation)
            case ast.Assign(targets=[target], value=value):
                name, kind = ast.unparse(target), ast.unparse(value)
            case ast.FunctionDef(name=name, returns=ast.expr() as returns):
                kind = ast.unparse(returns)
            case _:
                continue
        if INTEGER_KEYS.search(kind) and name not in OUR_NUMBERS:
            found.append(f"{place}: {name}")
    assert not found, "say in OUR_NUMBERS who chooses these integers, or take bytes"


def test_the_hash_of_bytes_depends_on_a_secret_of_the_process() -> None:
    """A201: as it must where tables are keyed by hashes that peers choose."""
    told = {
        subprocess.run(
            [sys.executable, "-c", "print(hash(bytes(32)))"], capture_output=True, text=True, check=True, env={}
        ).stdout
        for _ in range(4)
    }
    assert len(told) > 1
    # The daemon inherits no switch that turns it off: who sets PYTHONHASHSEED for it knows why.
    assert not [name for name in MODULES if "PYTHONHASHSEED" in (ROOT / name).read_text()]


# Threads


def is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def test_nothing_waits_in_the_loops_own_threads_but_names() -> None:
    """A203: verification and disk have executors of their own; one slow thing does not hold up another."""
    shared = [
        f"{place}: {called(node)}"
        for place, node in nodes()
        if called(node).endswith("to_thread")
        or (isinstance(node, ast.Call) and called(node).endswith("run_in_executor") and is_none(node.args[0]))
    ]
    assert not shared
    names = {place.split(":")[0] for place, node in nodes() if called(node).endswith("getaddrinfo")}
    assert names == {"p2p/tcp.py", "node/api/listening.py"}  # the second before anything runs


# Regular expressions

MATCHING = {"compile", "match", "fullmatch", "search", "split", "sub", "findall", "finditer"}


def patterns() -> Iterator[tuple[str, str, str | bytes]]:
    """Each pattern in the product: where it is, how it is used, and its text; a number for what is filled in."""
    for place, node in nodes():
        if isinstance(node, ast.Call) and called(node) in {f"re.{name}" for name in MATCHING}:
            given = node.args[0]
            match given:
                case ast.Constant(value=str() | bytes() as text):
                    yield place, called(node), text
                case ast.JoinedStr(values=parts):
                    yield place, called(node), "".join(_text(part) for part in parts)
                case _:
                    raise AssertionError(f"{place}: a pattern that is not written here")


def _text(part: ast.expr) -> str:
    return part.value if isinstance(part, ast.Constant) and isinstance(part.value, str) else "64"


def repeats(parsed: Any, inside: bool = False) -> Iterator[bool]:
    """Tell for each endless repetition in a parsed pattern whether it stands in another that may give back."""
    for operation, argument in parsed:
        endless = operation in {_constants.MAX_REPEAT, _constants.MIN_REPEAT} and argument[1] is _constants.MAXREPEAT
        if endless:
            yield inside
        for child in _children(argument):
            yield from repeats(child, inside or endless)


def _children(argument: Any) -> Iterator[Any]:
    if isinstance(argument, _parser.SubPattern):
        yield argument
    elif isinstance(argument, tuple | list):
        yield from chain.from_iterable(map(_children, argument))


HOSTILE = (" ", "0", "a", "f", "_", ".", "-", "[", '"', "\\", '\\"', " [", "a,", "0.", "\n", "é", "\ud800")


@pytest.mark.parametrize(
    ("use", "text"), [pytest.param(use, text, id=place.split(":")[0]) for place, use, text in patterns()]
)
def test_every_pattern_takes_time_in_proportion_to_the_text(use: str, text: str | bytes) -> None:
    """A204: no repetition within a repetition; and 200,000 characters of anything are looked through at once.

    With time that grows as the square this would take minutes, so that nobody would let it pass.
    """
    assert not any(repeats(_parser.parse(text)))
    pattern = re.compile(text)
    for piece in HOSTILE:
        long = piece * (200_000 // len(piece))
        subject: Any = long if isinstance(text, str) else long.encode(errors="surrogatepass")
        pattern.fullmatch(subject)
        pattern.match(subject)
        if use not in {"re.compile", "re.match", "re.fullmatch"}:
            pattern.sub(subject[:0], subject)


def test_a_pattern_that_may_explode_is_found() -> None:
    """A204: the look above is not blind."""
    assert any(repeats(_parser.parse(r"(a+)+b")))
    assert any(repeats(_parser.parse(r"(?:x*y?)*")))
    assert not any(repeats(_parser.parse(r"a+b+(?:cd?)*")))
    assert not any(repeats(_parser.parse(r'"(?:[^"]++|\\.)*+"')))


# What runs when it is read

RUNS_WHAT_IT_READS = (
    "import pickle",
    "import marshal",
    "import shelve",
    "import yaml\n\nyaml.load(open('x'))",
    "eval(input())",
    "exec(input())",
    "import subprocess\n\nsubprocess.run(input(), shell=True)",
    "import os\n\nos.system(input())",
    "from xml.etree import ElementTree\n\nElementTree.parse('x')",
    "import tarfile\n\ntarfile.open('x').extractall()",
    "assert input()",
)


@pytest.mark.parametrize("text", RUNS_WHAT_IT_READS)
def test_the_linter_refuses_what_runs_when_it_is_read(text: str) -> None:
    """A205, A207: for every package, and without a comment that could switch it off."""
    ruff = [str(Path(sys.executable).parent / "ruff"), "check", "--quiet", "--stdin-filename", "node/x.py", "-"]
    done = subprocess.run(ruff, input=text + "\n", cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert re.search(r"\b(S\d{3}|TID251)\b", done.stdout), done.stdout


def test_no_module_asks_the_linter_to_look_away_from_that() -> None:
    """A205."""
    hushed = re.compile(r"noqa:.*\b(S102|S301|S302|S307|S506|S602|S605|S202|S31\d|TID251)\b")
    found = [
        f"{name}: {line}" for name in MODULES for line in (ROOT / name).read_text().splitlines() if hushed.search(line)
    ]
    assert not found


def test_no_text_from_outside_is_a_format() -> None:
    """A205: a format string reaches into the objects that it is given."""
    found = []
    for place, node in nodes():
        match node:
            case ast.Call(
                func=ast.Attribute(attr="format" | "format_map", value=receiver), args=args, keywords=keywords
            ):
                literal = isinstance(receiver, ast.Constant)
                if not literal and (args or keywords) and ast.unparse(receiver) != "msgspec.json":
                    found.append(place)
            case ast.BinOp(op=ast.Mod(), left=left, right=ast.Tuple() | ast.Dict()) if not isinstance(
                left, ast.Constant
            ):
                found.append(place)
            case ast.ImportFrom(module="string", names=names) if any(name.name == "Template" for name in names):
                found.append(place)
    assert not found


# Asserts


def test_every_bad_block_is_refused_without_asserts() -> None:
    """A207: the whole catalogue, under `python -O`."""
    program = """
from tests.support.bad_inputs import bad_blocks
from tests.support.stage import Stage, verdict

stage = Stage()
cases = bad_blocks(stage)
print(__debug__, len(cases), [case.what for case in cases if verdict(stage, case.raw) is not case.rule])
print(verdict(stage, stage.good_block().encoded))
"""
    done = subprocess.run([sys.executable, "-O", "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert re.fullmatch(r"False 1\d\d \[\]\nNone\n", done.stdout), done.stdout + done.stderr
