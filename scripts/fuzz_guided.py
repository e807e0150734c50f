"""Fuzzing led by coverage: atheris and libFuzzer call a target of tests/fuzzing, and change what reaches new code.

libFuzzer takes over the process that it runs in, so a campaign starts one of its own, and reads what that wrote.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from scripts.kept import write_whole
from tests.fuzzing.corpora import FOLDER, corpus
from tests.fuzzing.targets import TARGETS

ROOT = Path(__file__).resolve().parent.parent

MAX_INPUT = {"codec": 4_096, "framing": 8_192, "policy": 2_048}
"""Bytes of an input: room for every shape, small enough for thousands in a second."""
MAX_SECONDS = 10
"""Of one input; a slower one is a finding."""
MAX_MEMORY = 1_024
"""MiB of the process; more is a finding."""
TRACED = ("consensus", "p2p")
KEPT_BYTES = 6_000
"""Of a kept corpus: small inputs that together reach everything that any input reached."""
NOT_HERE = 78


def campaign(target: str, minutes: float, folder: Path) -> int:
    """Fuzz a target from what is kept and what `folder` has; add up; return the exit status."""
    if find_spec("atheris") is None:
        print("atheris, which leads the fuzzing, has no wheel for this platform: it is there for Linux on x86-64")
        return NOT_HERE
    inputs, log = folder / "corpus", folder / "log"
    inputs.mkdir(parents=True, exist_ok=True)
    for raw in corpus(target):
        (inputs / sha256(raw).hexdigest()).write_bytes(raw)
    command = [sys.executable, "-m", "scripts.fuzz_process", target, str(inputs)]
    command += [f"-max_total_time={max(1, round(60 * minutes))}", f"-max_len={MAX_INPUT[target]}"]
    command += [f"-timeout={MAX_SECONDS}", f"-rss_limit_mb={MAX_MEMORY}", "-print_final_stats=1"]
    print(f"{target}: from {len(list(inputs.iterdir()))} inputs, for {minutes:g} min", flush=True)
    command.append(f"-artifact_prefix={folder}/")
    started = time.monotonic()
    try:
        with log.open("wb") as output:
            ended = subprocess.run(command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT, check=False).returncode
    finally:  # also when it was interrupted
        said = log.read_text(errors="replace")
        executions, seconds = add_up(folder, said, time.monotonic() - started)
    print(
        f"{executions:,} executions in {seconds / 60:.1f} min so far; {len(list(inputs.iterdir()))} inputs in {inputs}"
    )
    if not ended:
        print("nothing found")
        return 0
    found = re.search(r"Test unit written to (\S+)", said)
    print("\n".join(line for line in said.splitlines() if not line.startswith("#"))[-3000:])
    if found:
        print(f"repeat it with: scripts/fuzz {target} --repeat {found[1]}")
    return 1


def add_up(folder: Path, said: str, seconds: float) -> tuple[int, float]:
    """Add a run to what the folder came to: libFuzzer's last count of executions, which it tells as #N on the way.

    Returns:
        Executions and seconds of all runs.
    """
    path = folder / "progress.json"
    stored: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {"executions": 0, "seconds": 0.0}
    counts = re.findall(r"^(?:#|stat::number_of_executed_units: )(\d+)", said, re.MULTILINE)
    executions: int = stored["executions"] + (int(counts[-1]) if counts else 0)
    total: float = round(stored["seconds"] + seconds, 1)
    write_whole(path, json.dumps({"executions": executions, "seconds": total}) + "\n")
    return executions, total


def repeat(target: str, path: Path) -> int:
    """Give one input to a target, without atheris; what it finds is raised."""
    TARGETS[target](path.read_bytes())
    print(f"{path}: everything holds")
    return 0


def keep(target: str, folder: Path) -> int:
    """Write the smallest inputs that reach all that any input reaches into tests/corpora; return the exit status."""
    known = {raw for path in (folder / "corpus").iterdir() for raw in [path.read_bytes()]} | set(corpus(target))
    reached: set[object] = set()
    kept: list[bytes] = []
    for raw in sorted(known, key=lambda each: (len(each), each)):
        new = edges(TARGETS[target], raw) - reached
        if new and sum(map(len, kept)) + len(raw) <= KEPT_BYTES:
            kept.append(raw)
            reached |= new
    path = FOLDER / f"{target}.txt"
    notes = [line for line in path.read_text().splitlines() if line.startswith("#")] if path.exists() else []
    path.write_text("".join(f"{line}\n" for line in [*notes, *(raw.hex() for raw in kept)]))
    print(f"{path.relative_to(ROOT)}: {len(kept)} of {len(known)} inputs, {sum(map(len, kept))} bytes")
    return 0


def edges(target: Callable[[bytes], str], raw: bytes) -> set[object]:
    """Return the steps from line to line that a target takes in our own code, and what it says in the end."""
    found: set[object] = set()
    last: dict[FrameType, int] = {}
    ours: dict[CodeType, bool] = {}

    def trace(frame: FrameType, _event: str, _argument: object) -> object:
        code = frame.f_code
        if code not in ours:
            path = Path(code.co_filename)
            ours[code] = path.is_relative_to(ROOT) and path.relative_to(ROOT).parts[0] in TRACED
        if not ours[code]:
            return None
        found.add((code.co_filename, last.get(frame, 0), frame.f_lineno))
        last[frame] = frame.f_lineno
        return trace

    sys.settrace(trace)  # type: ignore[arg-type]
    try:
        said = target(raw)
    finally:
        sys.settrace(None)
    return found | {said}


def folder_for(target: str, chosen: Path | None) -> Path:
    """Return where a campaign adds up."""
    return (chosen or Path(tempfile.mkdtemp(prefix=f"dure-fuzz-{target}-"))).resolve()
