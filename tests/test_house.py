"""The repository itself: what may stand in its files, and what its configuration promises."""

from __future__ import annotations

import ast
import re
import subprocess
from importlib import metadata
from pathlib import Path

import pytest

from tests.support.repository import PACKAGES, PROJECT, ROOT, pins, tracked

GROUPS = PROJECT["dependency-groups"]
NO_PACKAGES = {"docs", "explorer", "scripts", "tests"}


def texts() -> list[tuple[Path, str]]:
    """Return every tracked file that is text, with its contents."""
    found = []
    for path in tracked():
        raw = path.read_bytes()
        if b"\0" not in raw:
            found.append((path.relative_to(ROOT), raw.decode()))
    return found


# Each is written with a bracket in it, or this file would find itself.
FORBIDDEN = {
    "a package registry": r"[p]ypi\.(org|python)|[p]ythonhosted\.org|--(extra-)?[i]ndex-url",
    "a path of one machine": r"(?<![\w.])/([r]oot|[w]ork)/|/([h]ome|[U]sers)/\w+|/[o]pt/py",
    "a mark of a merge": r"(?m)^(<{7}|>{7}) ",
}


@pytest.mark.parametrize("what", FORBIDDEN)
def test_no_file_names(what: str) -> None:
    found = [f"{path}: {match.group()}" for path, text in texts() for match in re.finditer(FORBIDDEN[what], text)]
    assert not found, f"{what} in {found}"


def test_every_folder_of_modules_is_a_listed_package_and_typed() -> None:
    folders = {path.relative_to(ROOT).parts[0] for path in tracked() if path.suffix == ".py" and path.parent != ROOT}
    assert folders - NO_PACKAGES <= set(PACKAGES), (
        "a new top-level folder: list it in pyproject.toml, or in NO_PACKAGES"
    )
    assert [name for name in PACKAGES if not (ROOT / name / "py.typed").is_file()] == []


def test_the_lists_of_packages_in_pyproject_agree() -> None:
    tools = PROJECT["tool"]
    assert set(PACKAGES) <= set(tools["mypy"]["files"])
    assert set(PACKAGES) <= set(tools["hatch"]["build"]["targets"]["sdist"]["only-include"])
    assert tools["importlinter"]["root_packages"] == sorted(PACKAGES)
    layers = tools["importlinter"]["contracts"][0]["layers"]
    assert {name for layer in layers for name in re.findall(r"\w+", layer)} == set(PACKAGES)


def test_an_image_holds_every_package_and_the_libraries_by_hash() -> None:
    let_in = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert {*PACKAGES, "pyproject.toml", "requirements.lock"} <= let_in
    assert "--require-hashes" in (ROOT / "Dockerfile").read_text()


def test_everything_that_pyproject_asks_for_is_pinned_once_and_hashed() -> None:
    """A206: what is installed is the very file that was looked at, or nothing is."""
    run, dev, fuzz = (pins(f"requirements{name}.lock") for name in ("", "-dev", "-fuzz"))
    assert not run.keys() & (dev.keys() | fuzz.keys())
    asked = PROJECT["project"]["dependencies"] + PROJECT["build-system"]["requires"]
    for wanted, pinned in ((asked, run), (GROUPS["dev"], dev), (GROUPS["fuzz"], fuzz)):
        names = [re.match(r"[a-z0-9-]+", line) for line in wanted]
        assert [match.group() for match in names if match and match.group() not in pinned] == []
    for name in ("requirements.lock", "requirements-dev.lock", "requirements-fuzz.lock"):
        entries = re.split(r"\n(?=[a-z])", (ROOT / name).read_text())[1:]
        assert [entry for entry in entries if "--hash=sha256:" not in entry] == []


def test_the_commands_are_installed_under_this_version() -> None:
    points = metadata.distribution("dure").entry_points
    commands = {point.name: point.value for point in points.select(group="console_scripts")}
    assert commands == {"dured": "node.main:main", "dure": "cli.main:main"}
    assert [point.value for point in points.select(group="pytest11")] == ["dure_testing.plugin"]
    assert metadata.version("dure") == PROJECT["project"]["version"]


def modules(package: str) -> list[tuple[Path, ast.Module]]:
    """Return the syntax tree of each module of a package."""
    return [(path.relative_to(ROOT), ast.parse(path.read_text())) for path in sorted((ROOT / package).rglob("*.py"))]


def test_the_rules_compute_with_integers_only() -> None:
    """A rule with a float in it is a rule that two machines may disagree about."""
    found = []
    for path, tree in modules("consensus"):
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, float):
                found.append(f"{path}:{node.lineno}: the float {node.value}")
            elif isinstance(node, (ast.BinOp, ast.AugAssign)) and isinstance(node.op, ast.Div):
                found.append(
                    f"{path}:{node.lineno}: a division that gives a float; write // and say which way it rounds"
                )
            elif isinstance(node, ast.Name) and node.id == "float":
                found.append(f"{path}:{node.lineno}: float")
    assert not found


@pytest.mark.parametrize("package", PACKAGES)
def test_no_safety_depends_on_an_assert(package: str) -> None:
    """A207: `python -O` drops every assert, so that the product has none (ruff's S101 says the same in the editor)."""
    found = [
        f"{path}:{node.lineno}"
        for path, tree in modules(package)
        for node in ast.walk(tree)
        if isinstance(node, ast.Assert)
    ]
    assert not found


def test_scripts_of_the_shell_parse() -> None:
    shell = [path for path in tracked() if path.read_bytes().startswith(b"#!/bin/sh") or path.suffix == ".sh"]
    assert {path.name for path in shell} >= {"dure", "environment.sh", "run", "test", "up"}
    for path in shell:
        subprocess.run(["sh", "-n", path], check=True)


def test_every_picture_in_the_text_is_there_and_none_is_left_over() -> None:
    shown = set(re.findall(r"\((docs/pictures/[^)]+)\)", (ROOT / "README.md").read_text()))
    for page in (ROOT / "docs").glob("*.md"):
        shown |= {f"docs/{name}" for name in re.findall(r"\((pictures/[^)]+)\)", page.read_text())}
    assert shown == {str(path.relative_to(ROOT)) for path in (ROOT / "docs" / "pictures").iterdir()}


def test_links_within_the_documentation_lead_somewhere() -> None:
    broken = [
        f"{path}: {target}"
        for path, text in texts()
        if path.suffix == ".md"
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", text)
        if not (ROOT / path.parent / target).exists()
    ]
    assert not broken


def test_every_tag_of_a_hash_stands_in_the_table_of_hashes() -> None:
    """The page of rules names them all, and no other."""
    page = (ROOT / "docs" / "protocol.md").read_text()
    table = page.partition("## Hashes")[2].partition("## Transactions")[0]
    said = re.findall(r'tagged\("(dure/[a-z/]+)"', table)
    used = set()
    for path in [*sorted((ROOT / "consensus").glob("*.py")), ROOT / "wallet" / "messages.py"]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "tagged_hash":
                assert isinstance(node.args[0], ast.Constant), "a tag is written where it is used"
                used.add(node.args[0].value)
    assert set(said) == used
    # The other hashes of the table are H, or plain.
    assert all(name in table for name in ("txid", "wtxid", "block id", "inner Merkle node", "id of opaque(x)"))
