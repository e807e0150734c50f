"""The process that libFuzzer takes over. Nothing of ours may be imported before it is instrumented."""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["consensus", "p2p", "tests.fuzzing"]):
    from tests.fuzzing.targets import TARGETS


def main() -> None:
    """Never return: call the target until libFuzzer ends the process."""
    target = TARGETS[sys.argv[1]]

    def one(data: bytes) -> None:
        target(data)

    atheris.Setup([sys.argv[0], *sys.argv[2:]], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
