"""A method: a coroutine function whose signature and docstring are its parameters, its checks and its help."""

from __future__ import annotations

import inspect
import re
import types
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta

from node.api.parameters import FeeRate, HashHex, Hex, LockHex, read_parameter
from node.api.services import Services
from rpc.encoding import Dure
from rpc.errors import ErrorCode, RpcError

Function = Callable[..., Coroutine[Any, Any, object]]
Together = Callable[[Services, Sequence[Mapping[str, Any]]], Coroutine[Any, Any, Sequence[object]]]
"""Does several calls of one method in turn, given their parameters; returns of each its result or its `RpcError`."""

_REQUIRED: Any = inspect.Parameter.empty


class Area(StrEnum):
    """What a method is about: a heading of `help`."""

    BLOCKCHAIN = "Blockchain"
    ASSETS = "Assets"
    CONTROL = "Control"
    FAULTS = "Faults"
    MINING = "Mining"
    NETWORK = "Network"
    POLICIES = "Policies"
    RAW_TRANSACTIONS = "Rawtransactions"
    SWAPS = "Swaps"
    UTIL = "Util"
    WALLET = "Wallet"


@dataclass(frozen=True)
class Parameter:
    """One parameter, as signature and docstring have it."""

    name: str
    kind: Any
    default: Any
    about: str

    @property
    def required(self) -> bool:
        """Whether a call without it is refused."""
        return self.default is _REQUIRED


@dataclass(frozen=True)
class Method:
    """One method of the API."""

    name: str
    area: Area
    function: Function
    parameters: tuple[Parameter, ...]
    summary: str
    about: str
    """The docstring between its first line and its sections."""
    result: str
    reads: bool
    """Whether it changes nothing, so that a read-only user may call it."""
    waits: bool
    """Whether it may wait for something to happen: it is counted apart, and ended when its caller goes."""
    needs_wallet: bool
    private: bool
    """Whether it exists on local and regtest only."""
    early: bool
    """Whether it can be called while the node is still starting."""
    long: bool
    """Whether its answer may be long, and holds an `array` or a `table` of `long_answers`."""
    together: Together | None = None
    """Does what follows each other in a batch: the same answers in less time."""

    @property
    def usage(self) -> str:
        """One line: the name, and the parameters; in brackets those that may be left out."""
        words = [self.name]
        opened = False
        for parameter in self.parameters:
            if not parameter.required and not opened:
                words.append("(")
                opened = True
            words.append(f'"{parameter.name}"' if _is_text(parameter.kind) else parameter.name)
        return " ".join([*words, ")"] if opened else words)

    @property
    def help(self) -> str:
        """All about the method, as `help METHOD` shows it."""
        lines = [self.usage, "", self.summary]
        if self.about:
            lines += ["", self.about]
        if self.parameters:
            lines += ["", "Arguments:"]
            for number, parameter in enumerate(self.parameters, 1):
                must = "required" if parameter.required else f"optional, default={_json(parameter.default)}"
                about = f" {parameter.about}" if parameter.about else ""
                lines.append(f"{number}. {parameter.name} ({kind_name(parameter.kind)}, {must}){about}")
        return "\n".join([*lines, "", f"Result: {self.result}"])

    def bind(self, given: Sequence[object] | Mapping[str, object]) -> dict[str, Any]:
        """Read the parameters of a call, by position or by name; null stands for one that is left out.

        Raises:
            RpcError: too many or too few (`MISC_ERROR`, with the usage), an unknown name, or a value that does not fit.
        """
        named = self._named(given)
        bound = {}
        for parameter in self.parameters:
            value = named.get(parameter.name)
            if value is None and parameter.required:
                raise RpcError(ErrorCode.MISC_ERROR, self.usage)
            if value is not None:
                bound[parameter.name] = read_parameter(parameter.name, parameter.kind, value)
        return bound

    def _named(self, given: Sequence[object] | Mapping[str, object]) -> Mapping[str, object]:
        names = [parameter.name for parameter in self.parameters]
        if not isinstance(given, Mapping):
            if len(given) > len(names):
                raise RpcError(ErrorCode.MISC_ERROR, self.usage)
            return dict(zip(names, given, strict=False))
        positional = given.get("args", [])
        if not isinstance(positional, list) or len(positional) > len(names):
            raise RpcError(ErrorCode.INVALID_PARAMETER, "args must be an array, and no longer than the parameters")
        named = {name: value for name, value in given.items() if name != "args"}
        for name in named:
            if name not in names:
                raise RpcError(ErrorCode.INVALID_PARAMETER, f"Unknown named parameter {name[:64]}")
            if name in names[: len(positional)]:
                raise RpcError(ErrorCode.INVALID_PARAMETER, f"Parameter {name} specified twice")
        return {**dict(zip(names, positional, strict=False)), **named}


def method(
    area: Area,
    *,
    reads: bool = False,
    waits: bool = False,
    needs_wallet: bool = False,
    private: bool = False,
    early: bool = False,
    long: bool = False,
    together: Together | None = None,
) -> Callable[[Function], Method]:
    """Make a method of a coroutine function `(services, parameter, ...) -> result`; see `Method` for the marks."""

    def make(function: Function) -> Method:
        hints = get_type_hints(function, include_extras=True)
        documentation = _Documentation(inspect.getdoc(function) or "")
        signature = list(inspect.signature(function).parameters.values())[1:]
        return Method(
            name=function.__name__.rstrip("_"),
            area=area,
            function=function,
            parameters=tuple(
                Parameter(each.name, hints[each.name], each.default, documentation.parameters.get(each.name, ""))
                for each in signature
            ),
            summary=documentation.summary,
            about=documentation.about,
            result=documentation.result or _described(hints["return"]),
            reads=reads,
            waits=waits,
            needs_wallet=needs_wallet,
            private=private,
            early=early,
            long=long,
            together=together,
        )

    return make


def by_name(methods: Iterable[Method], services: Services) -> dict[str, Method]:
    """Return those of the methods that exist on this node, by name."""
    return {each.name: each for each in methods if services.is_private or not each.private}


class _Documentation:
    """A docstring in Google's form, taken apart."""

    def __init__(self, text: str) -> None:
        parts = re.split(r"^(Args|Returns|Raises):\n", text, flags=re.MULTILINE)
        sections = dict(zip(parts[1::2], parts[2::2], strict=True))
        summary, _, about = parts[0].strip().partition("\n\n")
        self.summary = _joined(summary)
        self.about = _joined(about)
        self.result = _joined(sections.get("Returns", ""))
        entries = re.split(r"^ {4}(\w+): ", sections.get("Args", ""), flags=re.MULTILINE)
        self.parameters = {name: _joined(about) for name, about in zip(entries[1::2], entries[2::2], strict=True)}


def _joined(text: str) -> str:
    return " ".join(text.split())


# Types in words

_NAMES: dict[Any, str] = {
    str: "string",
    int: "number",
    float: "number",
    bool: "boolean",
    type(None): "null",
    msgspec.UnsetType: "left out",
    Dure: "amount",
    FeeRate: "number",
    HashHex: "hash",
    LockHex: "hash",
    Hex: "hex string",
    dict: "object",
}


def kind_name(kind: Any) -> str:
    """Return what a type is called in help."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return kind_name(inner[0])
    if origin is Literal:
        return "one of " + ", ".join(map(_json, inner))
    if origin in {Union, types.UnionType}:
        return " or ".join(dict.fromkeys(kind_name(each) for each in inner))
    if origin in {list, tuple, Sequence}:
        return f"array of {kind_name(inner[0])}" if inner else "array"
    if origin is dict:
        return f"object of {kind_name(inner[1])}"
    return _NAMES.get(kind) or str(getattr(kind, "__name__", kind))


def _described(kind: Any) -> str:
    """Return what a type is called, and the fields of those that are objects of ours."""
    lines = [kind_name(kind)]
    structs = _structs(kind)
    for struct in structs:
        lines += [f"{struct.__name__}:"] if len(structs) > 1 else []
        lines += [f"  {name} {about}" for name, about in _fields(struct)]
    return "\n".join(lines)


def _structs(kind: Any) -> list[type[msgspec.Struct]]:
    """Return the objects in a type: it, or those of which it is an array, an object or a choice."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return [kind]
    return [found for inner in get_args(kind) for found in _structs(inner)]


def _fields(struct: type[msgspec.Struct]) -> list[tuple[str, str]]:
    hints = get_type_hints(struct, include_extras=True)
    fields = [(field.encode_name, hints[field.name]) for field in msgspec.structs.fields(struct)]
    return [(name, f"({kind_name(kind)})") for name, kind in fields]


def _is_text(kind: Any) -> bool:
    return kind_name(kind) in {"string", "hash", "hex string"} or get_origin(_bare(kind)) is Literal


def _bare(kind: Any) -> Any:
    return get_args(kind)[0] if get_origin(kind) is Annotated else kind


def _json(value: object) -> str:
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, bool):
        return str(value).lower()
    return "null" if value is None else str(value)


__all__ = ["Area", "Function", "Meta", "Method", "Parameter", "by_name", "kind_name", "method"]
