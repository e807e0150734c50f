"""The command line of dured, made from the settings of `NodeConfig`. A started node has no more use for it."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import msgspec

from node.config import FILE_NAME, ConfigError, Setting, settings


class Command(msgspec.Struct, frozen=True):
    """What the command line asks for."""

    flags: Mapping[str, Any]
    version: bool = False
    print_config: bool = False


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"command line: {message}")


def parse_flags(arguments: Sequence[str], program: str = "dured") -> Command:
    """Read the command line. `--help` prints and exits.

    Raises:
        ConfigError: an unknown flag, or one without its value.
    """
    parser = _Parser(
        prog=program, description="A Dure node.", argument_default=argparse.SUPPRESS, allow_abbrev=False, add_help=True
    )
    for setting in settings():
        if not setting.flag:
            continue
        about = setting.description.replace("%", "%%")
        if setting.is_switch:
            parser.add_argument(setting.flag_name, action=argparse.BooleanOptionalAction, help=about)
        elif setting.is_list:
            parser.add_argument(setting.flag_name, action="append", metavar=_metavar(setting), help=about)
        else:
            parser.add_argument(setting.flag_name, metavar=_metavar(setting), help=about)
    parser.add_argument("--version", action="store_true", help="Print the version, and end.")
    parser.add_argument("--print-config", action="store_true", help=f"Print a documented {FILE_NAME}, and end.")
    given = vars(parser.parse_args(list(arguments)))
    version, print_config = given.pop("version", False), given.pop("print_config", False)
    return Command(given, version, print_config)


def _metavar(setting: Setting) -> str:
    return "HOST:PORT" if setting.name in {"connect", "seed"} else setting.name.rpartition("_")[2].upper()
