"""docs/wire.md is the specification: what it says of numbers and bounds is what the code does."""

from __future__ import annotations

import re
from pathlib import Path

from p2p.messages import ALL_MESSAGES

PAGE = (Path(__file__).parents[2] / "docs" / "wire.md").read_text()


def test_the_page_lists_every_message_with_its_number_bound_and_fields() -> None:
    rows = re.findall(r"^\| (\d+) \| `(\w+)` \| ([\d,]+) \| (.*) \|$", PAGE, re.MULTILINE)
    said = [(int(number), name, int(bound.replace(",", ""))) for number, name, bound, _ in rows]
    assert said == [(message.number, message.__name__, message.max_body) for message in ALL_MESSAGES]
    for (_, _, _, fields), message in zip(rows, ALL_MESSAGES, strict=True):
        for field in message.__struct_fields__:
            assert field in fields or field == "raw", f"{message.__name__}.{field} is not on the page"
