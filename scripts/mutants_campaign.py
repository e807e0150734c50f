"""Campaigns of mutation testing of `consensus/` that add up. `scripts/mutants` calls this inside .venv.

scripts/mutants --resume DIR           try each mutant that has no verdict in DIR, and say which ones no test noticed
scripts/mutants --resume DIR --write   besides, write what is known then into the record
scripts/mutants --changed              only functions that are not as in the record: what CI does

A mutant is a copy of a function with one small change: another comparison, a number one more, an argument left out.
mutmut makes them all, and for each forks a process that has everything loaded already, which runs the tests that reach
the function, quick ones first, until one fails.

The record, tests/consensus/mutants.json, has for each function a hash of its source, how many mutants it has and how
many the tests kill; and the survivors, each with the reason why it may live. `equivalent` ones are the same function
by another road, and do not count.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from scripts.kept import write_whole

ROOT = Path(__file__).resolve().parent.parent
RECORD = ROOT / "tests" / "consensus" / "mutants.json"
WANTED = 0.95
"""Of the mutants that are not equivalent, at least so many must be killed."""

KILLED = frozenset({1, 3, -9, -11, 24, -24, 36, 152, 255})
"""mutmut's codes for a test that failed, an error in pytest, no memory left, a crash, and too much time."""
SURVIVED = frozenset({0, 5, 33, 35})
"""Every test held, or none reaches the function, or something else that is no kill."""

POLL_SECONDS = 1.0
TELL_SECONDS = 30.0


class Survivor(NamedTuple):
    """A mutant that no test notices."""

    function: str
    change: str
    """The lines that differ, with - and +."""


class Score(NamedTuple):
    """What a function's mutants came to."""

    source: str
    """Hash of the function, see `sources`."""
    mutants: int
    killed: int


class Record:
    """What the last campaign found, as kept in the repository."""

    def __init__(self, path: Path) -> None:
        self._path = path
        stored = json.loads(path.read_text()) if path.is_file() else {"functions": {}, "survivors": []}
        self.functions = {name: Score(*score) for name, score in stored["functions"].items()}
        self.reasons: dict[Survivor, tuple[str, str]] = {
            Survivor(entry["function"], "\n".join(entry["change"])): (entry["kind"], entry["why"])
            for entry in stored["survivors"]
        }

    def write(self, functions: dict[str, Score], survivors: Sequence[Survivor]) -> None:
        """Write everything down, all or nothing; a survivor without a reason gets an empty one, to be filled in."""
        scores = ",\n".join(f"  {json.dumps(name)}: {json.dumps(score)}" for name, score in sorted(functions.items()))
        reasons = []
        for each in sorted(survivors):
            kind, why = self.reasons.get(each, ("", ""))
            entry = {"function": each.function, "change": each.change.split("\n"), "kind": kind, "why": why}
            reasons.append(json.dumps(entry, indent=1, ensure_ascii=False))
        told = ",\n".join(reasons)
        write_whole(self._path, f'{{"functions": {{\n{scores}\n}},\n"survivors": [\n{told}\n]}}\n')


def sources(folder: Path) -> dict[str, str]:
    """Return a hash of each function of `folder/consensus`, by its full name, methods as Class.method.

    Of the source as it stands, but for the docstring: syntax trees look different from one Python to the next.
    """
    found: dict[str, str] = {}
    for path in sorted((folder / "consensus").glob("*.py")):
        text = path.read_text()
        lines = text.splitlines()
        for name, node in _functions(ast.parse(text)):
            first = node.body[0]
            told = ast.get_docstring(node, clean=False) is not None
            head = lines[node.lineno - 1 : first.lineno - 1]
            body = lines[(first.end_lineno or first.lineno) if told else first.lineno - 1 : node.end_lineno]
            found[f"consensus.{path.stem}.{name}"] = hashlib.sha256("\n".join(head + body).encode()).hexdigest()[:12]
    return found


def _functions(module: ast.Module) -> Iterator[tuple[str, ast.FunctionDef]]:
    for node in module.body:
        if isinstance(node, ast.FunctionDef):
            yield node.name, node
        elif isinstance(node, ast.ClassDef):
            yield from ((f"{node.name}.{each.name}", each) for each in node.body if isinstance(each, ast.FunctionDef))


def function_of(mutant: str) -> str:
    """Return whose mutant `consensus.pow.x_next_bits__mutmut_3` is; a method's has its class between two ǁ."""
    module, _, name = mutant.rpartition(".")
    name = name.rpartition("__mutmut_")[0]
    return f"{module}.{'.'.join(name.split('ǁ')[1:]) if 'ǁ' in name else name.removeprefix('x_')}"


def pattern_of(function: str) -> str:
    """Return the names of all mutants of a function, as mutmut's command line takes them."""
    module, name = ".".join(function.split(".")[:2]), function.split(".")[2:]
    return f"{module}.{'xǁ' + 'ǁ'.join(name) if len(name) > 1 else 'x_' + name[0]}__mutmut_*"


class Campaign:
    """A copy of the project in a folder of its own, where mutmut works, and what it found there so far."""

    def __init__(self, folder: Path, modules: Sequence[str] = ()) -> None:
        """
        Args:
            folder: made if it is not there.
            modules: those of `consensus` to be mutated; all, if none is named.
        """
        self.folder = folder
        self.project = folder / "project"
        self._log = folder / "mutmut.log"
        self._take_in(modules)

    def _take_in(self, modules: Sequence[str]) -> None:
        """Copy what is newer here; forget survivors, and which test reaches what, where the tests are other ones."""
        settings: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mutmut"]
        self.project.mkdir(parents=True, exist_ok=True)
        seen = hashlib.sha256()
        for name in [*settings["source_paths"], *settings["also_copy"], "tests", "pyproject.toml"]:
            if name not in settings["source_paths"]:
                shutil.rmtree(self.project / name, ignore_errors=True)
            for path in _files(ROOT / name):
                raw, place = path.read_bytes(), self.project / path.relative_to(ROOT)
                if not (place.is_file() and place.read_bytes() == raw):
                    place.parent.mkdir(parents=True, exist_ok=True)
                    place.write_bytes(raw)
                if name in ("tests", "consensus"):
                    seen.update(f"{path.relative_to(ROOT)} {len(raw)} ".encode() + raw)
        if modules:
            settings_file = self.project / "pyproject.toml"
            only = json.dumps([f"consensus/{name}.py" for name in modules])
            text = settings_file.read_text()
            settings_file.write_text(text.replace("[tool.mutmut]\n", f"[tool.mutmut]\nonly_mutate = {only}\n"))
            seen.update(only.encode())
        for path in _files(self.project / "consensus"):
            if not (ROOT / path.relative_to(self.project)).is_file():
                path.unlink()
        stamp = self.folder / "tests.sha256"
        if stamp.is_file() and stamp.read_text() != seen.hexdigest():
            (self.project / "mutants" / "mutmut-stats.json").unlink(missing_ok=True)
            shutil.rmtree(self.project / "mutants" / "tests", ignore_errors=True)
            self._forget(SURVIVED)
        stamp.write_text(seen.hexdigest())

    def _metas(self) -> list[Path]:
        return sorted((self.project / "mutants" / "consensus").glob("*.meta"))

    def _forget(self, codes: frozenset[int]) -> None:
        for path in self._metas():
            meta = json.loads(path.read_text())
            verdicts = meta["exit_code_by_key"]
            meta["exit_code_by_key"] = {name: None if code in codes else code for name, code in verdicts.items()}
            path.write_text(json.dumps(meta, indent=4))

    def verdicts(self) -> dict[str, int | None]:
        """Return mutmut's code for each mutant it knows, by name; None where none was reached yet."""
        found: dict[str, int | None] = {}
        for path in self._metas():
            found |= json.loads(path.read_text())["exit_code_by_key"]
        return {name: code if code in KILLED | SURVIVED else None for name, code in found.items()}

    def run(self, names: Sequence[str], until: float, jobs: int) -> bool:
        """Let mutmut try the mutants `names`, or all without a verdict; tell whether it came to its end."""
        environment = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "PYTHONHOME"}}
        command = [str(Path(sys.executable).parent / "mutmut"), "run", "--max-children", str(jobs), *names]
        with self._log.open("wb") as log:
            mutmut = subprocess.Popen(
                command,
                cwd=self.project,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                self._watch(mutmut, until)
            finally:
                if mutmut.poll() is None:
                    os.killpg(mutmut.pid, signal.SIGKILL)
                    mutmut.wait()
        if mutmut.returncode > 0:
            raise SystemExit(f"mutmut failed:\n{self._log.read_text(errors='replace')[-3000:]}")
        return mutmut.returncode == 0

    def _watch(self, mutmut: subprocess.Popen[bytes], until: float) -> None:
        told = time.monotonic()
        while mutmut.poll() is None and time.monotonic() < until:
            time.sleep(POLL_SECONDS)
            if time.monotonic() - told >= TELL_SECONDS:
                told = time.monotonic()
                print(f"  {tally(self.verdicts())}", flush=True)

    def change(self, mutant: str) -> Survivor:
        """Return what a mutant changes."""
        shown = subprocess.run(
            [Path(sys.executable).parent / "mutmut", "show", mutant],
            cwd=self.project,
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        lines = [line for line in shown.splitlines() if line[:1] in "+-" and line[:3] not in ("---", "+++")]
        return Survivor(function_of(mutant), "\n".join(line[0] + " " + line[1:].strip() for line in lines))


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    return sorted(each for each in path.rglob("*") if each.is_file() and "__pycache__" not in each.parts)


def tally(verdicts: dict[str, int | None]) -> str:
    """Return how many mutants there are, and what became of them, as a line."""
    killed = sum(code in KILLED for code in verdicts.values())
    open_ = sum(code is None for code in verdicts.values())
    return f"{len(verdicts)} mutants: {killed} killed, {len(verdicts) - killed - open_} survived, {open_} to be tried"


def share_of(record: Record, functions: dict[str, Score], survivors: Sequence[Survivor]) -> float:
    """Return how many of the mutants that are not equivalent are killed, as a part of 1."""
    mutants = sum(score.mutants for score in functions.values())
    killed = sum(score.killed for score in functions.values())
    equivalent = sum(record.reasons.get(each, ("", ""))[0] == "equivalent" for each in survivors)
    return killed / max(1, mutants - equivalent)


def judge(record: Record, functions: dict[str, Score], survivors: Sequence[Survivor]) -> list[str]:
    """Return what is wrong: too few killed, or a survivor that nobody explained."""
    wrong = [
        f"survived, and nobody says why it may: {each.function}\n{each.change}"
        for each in survivors
        if not all(record.reasons.get(each, ("", "")))
    ]
    mutants = sum(score.mutants for score in functions.values())
    killed = sum(score.killed for score in functions.values())
    share = share_of(record, functions, survivors)
    kinds = Counter(record.reasons.get(each, ("unexplained", ""))[0] or "unexplained" for each in survivors)
    told = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items())) or "none"
    print(f"{mutants} mutants, {killed} killed ({share:.1%} of those not equivalent); survivors: {told}")
    return wrong if share >= WANTED else [*wrong, f"{share:.1%} killed; at least {WANTED:.0%} must be"]


def scores(verdicts: dict[str, int | None], now: dict[str, str]) -> dict[str, Score]:
    """Return what each function's mutants came to; one without mutants has none to kill."""
    found = {name: Score(source, 0, 0) for name, source in now.items()}
    for mutant, code in verdicts.items():
        name = function_of(mutant)
        if name in found:
            score = found[name]
            found[name] = score._replace(mutants=score.mutants + 1, killed=score.killed + (code in KILLED))
    return found


def campaign(folder: Path, minutes: float, jobs: int, *, changed: bool, write: bool) -> int:
    """Try mutants until the time is over or all have a verdict; return the exit status."""
    record, now = Record(RECORD), sources(ROOT)
    other = sorted(name for name, source in now.items() if record.functions.get(name, ("",))[0] != source)
    if changed and not other:
        print("no function of consensus/ has changed since the last campaign:", end=" ")
        return report(judge(record, record.functions, list(record.reasons)))
    print(f"{len(other)} of {len(now)} functions are not as in the record", flush=True)
    work = Campaign(folder, sorted({name.split(".")[1] for name in other}) if changed else ())
    until = time.monotonic() + 60 * minutes
    known = work.verdicts()
    names: list[str] = []
    if changed:
        begun = {function_of(name) for name in known}
        names = [name for name, code in known.items() if code is None and function_of(name) in other]
        names += [pattern_of(name) for name in mutable(ROOT, [name for name in other if name not in begun])]
    finished = work.run(names, until, jobs) if names or not changed else True
    verdicts = work.verdicts()
    if changed:
        verdicts = {name: code for name, code in verdicts.items() if function_of(name) in other}
    print(tally(verdicts))
    survivors = [work.change(name) for name, code in verdicts.items() if code in SURVIVED]
    functions, survivors = together(record, now, other if changed else list(now), verdicts, survivors)
    if write:
        record.write(functions, survivors)
        print(f"written: {RECORD.relative_to(ROOT)}")
    wrong = judge(record, functions, survivors)
    if not finished or None in verdicts.values():
        again = f"scripts/mutants {'--changed ' if changed else ''}--resume {folder}"
        wrong.append(f"not all were tried in {minutes:g} min: {again} goes on from here; --write keeps what it finds")
    if changed and not write:
        # Who changes a rule is told what he owes; only the next record has to be whole.
        report(wrong)
        return 0 if share_of(record, functions, survivors) >= WANTED else 1
    return report(wrong)


def together(
    record: Record,
    now: dict[str, str],
    tried: Sequence[str],
    verdicts: dict[str, int | None],
    survivors: Sequence[Survivor],
) -> tuple[dict[str, Score], list[Survivor]]:
    """Return scores and survivors of the functions that were tried to their last mutant, and of the record's others."""
    unfinished = {function_of(name) for name, code in verdicts.items() if code is None}
    done = [name for name in tried if name not in unfinished]
    functions = {name: score for name, score in record.functions.items() if score.source == now.get(name)}
    functions |= scores(verdicts, {name: now[name] for name in done})
    old = [each for each in record.reasons if each.function in functions and each.function not in done]
    return functions, [each for each in survivors if each.function in done] + old


def mutable(folder: Path, names: Sequence[str]) -> list[str]:
    """Return those of `names` that mutmut makes mutants of: it leaves alone what has a decorator, as a property has."""
    from mutmut.mutation.file_mutation import mutate_file_contents

    found: set[str] = set()
    for module in sorted({name.split(".")[1] for name in names}):
        path = folder / "consensus" / f"{module}.py"
        made = mutate_file_contents(str(path), path.read_text()).mutant_names
        found |= {function_of(f"consensus.{module}.{name}") for name in made}
    return [name for name in names if name in found]


def report(wrong: Sequence[str]) -> int:
    """Show what is wrong; return the exit status."""
    for line in wrong:
        print(line)
    return 1 if wrong else 0


def main() -> int:
    """Read the command line and run; return the exit status: 1 if mutants live that may not, or were not tried."""
    parser = argparse.ArgumentParser(
        prog="scripts/mutants", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--changed", action="store_true", help="only functions that differ from the record")
    parser.add_argument("--minutes", type=float, default=120.0, help="how long at most (default: 120)")
    parser.add_argument("--jobs", type=int, default=2, help="mutants at a time (default: 2)")
    parser.add_argument("--resume", type=Path, metavar="DIR", help="where campaigns add up (default: a new folder)")
    parser.add_argument("--write", action="store_true", help="write the record, for survivors to be explained in")
    chosen = parser.parse_args()
    if chosen.minutes <= 0 or chosen.jobs < 1:
        parser.error("--minutes and --jobs are above 0")
    folder = (chosen.resume or Path(tempfile.mkdtemp(prefix="dure-mutants-"))).resolve()
    status = campaign(folder, chosen.minutes, chosen.jobs, changed=chosen.changed, write=chosen.write)
    if chosen.resume is None and status == 0:
        shutil.rmtree(folder)
    return status


if __name__ == "__main__":
    raise SystemExit(main())
