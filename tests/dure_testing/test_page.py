"""docs/testing.md says what is so: its example runs as it stands there, in a folder of somebody else's."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from dure_testing import Network, Node
from dure_testing.processes import ProcessNode
from tests.support.repository import ROOT

PAGE = (ROOT / "docs" / "testing.md").read_text()


def test_the_example_passes_as_it_stands_on_the_page(tmp_path: Path) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "test_shop.py").write_text(example)
    # Somebody else's project: it has the installed packages, and none of our settings for pytest.
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "PYTHON"))}
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "-p",
            "no:asyncio",
            "-W",
            "error",
            "test_shop.py",
        ],
        cwd=tmp_path,
        env=kept,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout


def test_what_the_page_lists_is_there() -> None:
    for name in re.findall(r"`network\.(\w+)", PAGE):
        assert hasattr(Network, name) or name in {"nodes", "sim"}, name
    for name in re.findall(r"`node\.(\w+)", PAGE):
        assert hasattr(Node, name) or hasattr(ProcessNode, name) or name == "url", name
