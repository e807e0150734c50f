"""docs/protocol.md is complete: it has every field, bound and rule of the code. (Tags: see test_house.)"""

from __future__ import annotations

import re
from enum import IntEnum

import msgspec
import pytest

from consensus import codec, merkle, spend_policy, types, validation
from consensus.errors import Rule
from consensus.types import Asset, Attestation, Burn, Core, Definition, Reissue, SupplyKind, Threshold
from tests.support.repository import ROOT

PAGE = (ROOT / "docs" / "protocol.md").read_text()
BOUNDS = {
    f"{module.__name__}.{name}": value
    for module in (types, codec, spend_policy, validation, merkle)
    for name, value in vars(module).items()
    if re.fullmatch(r"MAX_[A-Z_]+", name) and isinstance(value, int) and not isinstance(value, IntEnum)
}
POWERS = {2**32 - 1: "2^32-1", 2**63 - 1: "2^63-1"}


@pytest.mark.parametrize("name", BOUNDS)
def test_a_bound_of_the_rules_stands_on_the_page(name: str) -> None:
    value = BOUNDS[name]
    written = POWERS.get(value, f"{value:,}")
    assert re.search(rf"(?<![\d,^]){re.escape(written)}(?![\d,]*\d)", PAGE), f"{name} = {written}"


def fields(line: str) -> list[str]:
    """The names in a drawn struct, without their bounds."""
    inside = line.partition("[")[2].rpartition("]")[0]
    return [part.partition(":")[0].partition("≥")[0].strip() for part in inside.split(",") if part.strip()]


STRUCTS: dict[str, type[msgspec.Struct]] = {
    r"core        = (\[.*\])": Core,
    r"transaction = (\[.*\])": types.Transaction,
    r"input       = (\[.*\])": types.OutPoint,
    r"output      = (\[.*\])": types.Output,
    r"witness     = (\[.*?\])": types.Witness,
    r"\| (\[1, asset: .*?\])": Reissue,
    r"\| (\[2, asset: .*?\])": Attestation,
    r"definition  = (\[supply kind(?:.|\n)*?\])": Definition,
    r"burn        = (\[.*\])": Burn,
    r"record of an asset, part of the chain's state = (\[.*\])": Asset,
}


@pytest.mark.parametrize("drawn", STRUCTS)
def test_a_struct_has_the_fields_that_are_drawn(drawn: str) -> None:
    found = re.search(drawn, PAGE)
    assert found is not None
    names = [name.replace(" ", "_") for name in fields(found[1].replace("4,294,967,295", "")) if not name.isdigit()]
    said = [name for name in names if name and not name[0].isdigit()]
    assert said == list(STRUCTS[drawn].__struct_fields__)


def test_every_policy_has_its_tag_and_its_text() -> None:
    rows = dict(re.findall(r"^\| \[(\d), [^|]*\| `(\w+)\(", PAGE.partition("## Spend policies")[2], re.MULTILINE))
    tags = {kind.__struct_config__.tag: kind for kind in types.Policy.__args__}
    assert {int(tag): name for tag, name in rows.items()} == {
        tag: re.sub(r"(?<=.)(?=[A-Z])", "_", kind.__name__).lower() for tag, kind in tags.items()
    }
    assert Threshold.__struct_config__.tag == 5
    kinds = re.findall(r"^\| (\d) (\w+) \|", PAGE.partition("record of an asset")[2], re.MULTILINE)
    assert [(int(number), name.upper()) for number, name in kinds] == [(each.value, each.name) for each in SupplyKind]


@pytest.mark.parametrize("rule", Rule)
def test_a_rule_has_a_line_of_a_table(rule: Rule) -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("|") and f"`{rule}`" in line]
    assert rows
    assert any(len(line.strip("| ").split("|")) > 1 for line in rows), "its line says what it asks"
