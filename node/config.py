"""What an operator chooses: NodeConfig, from defaults, then the file, then the environment, then flags.

Everything said about a setting is said once, in `NodeConfig`: the documented sample file, the help of the flags, the
names in the environment and the checks are all made from it. No rule ever sees any of this.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta

FILE_NAME = "dured.toml"
ENVIRONMENT_PREFIX = "DURED_"
MAX_FILE = 1024 * 1024
"""Bytes of a file of settings; the documented sample has some four thousand."""

Host = Annotated[str, Meta(min_length=1, max_length=255, pattern=r"^[^\s/@\[\]]+$")]
AddressText = Annotated[str, Meta(min_length=3, max_length=262, pattern=r"^[^\s/@]+$")]
Port = Annotated[int, Meta(ge=0, le=65535)]
NetworkName = Literal["main", "test", "local", "regtest"]
LogLevel = Literal["debug", "info", "warning", "error"]


class ConfigError(Exception):
    """A setting cannot be taken. The message is a sentence that names where it was made."""


def _setting(description: str, **more: Any) -> Meta:
    return Meta(description=description, extra=more)


class NodeConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The settings of one node, complete and checked."""

    datadir: Annotated[
        str, _setting("Folder that holds everything: this file, chain, wallet, cookie, log.", in_file=False)
    ] = "~/.dured"
    network: Annotated[
        NetworkName,
        _setting("Which network: local and regtest are for machines of one's own, and their coins are worth nothing."),
    ] = "local"
    tag: Annotated[
        Annotated[str, Meta(pattern=r"^[0-9a-fA-F]{32}$")] | None,
        _setting("Tells one local network from another: 16 bytes in hex, the same on all its nodes."),
    ] = None

    bind: Annotated[
        Host | None,
        _setting("Where to listen for peers. Default: 127.0.0.1 on local and regtest, all addresses elsewhere."),
    ] = None
    port: Annotated[
        Port | None,
        _setting("Port for peers (TCP, and UDP for discovery); 0 takes a free one. Default: the network's."),
    ] = None
    listen: Annotated[bool, _setting("Whether to accept peers at all.")] = True
    advertise: Annotated[
        Host | None, _setting("The IP address under which other nodes reach this one, if it is not the one they see.")
    ] = None
    connect: Annotated[
        tuple[AddressText, ...], _setting("HOST:PORT of peers. If given, these are dialled and nobody else.")
    ] = ()
    seed: Annotated[tuple[AddressText, ...], _setting("HOST:PORT of nodes to begin with; the others are found.")] = ()
    discovery: Annotated[bool, _setting("Whether to find nodes by UDP.")] = True
    max_connections: Annotated[
        int, Meta(ge=1, le=1000), _setting("Peers at most, those that dial us and those that we dial.")
    ] = 125

    rpc_bind: Annotated[
        Host, _setting("Where JSON-RPC answers. Anything but this machine's loopback needs rpc_password.")
    ] = "127.0.0.1"
    rpc_port: Annotated[Port | None, _setting("Port of JSON-RPC; 0 takes a free one. Default: the network's.")] = None
    rpc_user: Annotated[
        Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[^:\s]+$")],
        _setting("User name that goes with rpc_password."),
    ] = "dure"
    rpc_password: Annotated[
        Annotated[str, Meta(min_length=8, max_length=256)] | None,
        _setting("Password for JSON-RPC, beside the cookie file. Never a flag: others could see it.", flag=False),
    ] = None
    rpc_read_user: Annotated[
        Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[^:\s]+$")],
        _setting("User name that goes with rpc_read_password."),
    ] = "reader"
    rpc_read_password: Annotated[
        Annotated[str, Meta(min_length=8, max_length=256)] | None,
        _setting(
            "Password of a user who may read the chain, and neither change anything nor see the wallet.", flag=False
        ),
    ] = None
    rpc_hosts: Annotated[
        tuple[Host, ...],
        _setting("Further host names under which JSON-RPC may be called; it refuses others (DNS rebinding)."),
    ] = ()

    wallet: Annotated[bool, _setting("Whether this node has a wallet.")] = True
    passphrase_file: Annotated[
        str | None,
        _setting(
            "File whose first line is the wallet's passphrase: it then encrypts a new wallet and opens an old one."
        ),
    ] = None
    restore_wallet: Annotated[
        str | None,
        _setting(
            "At the first start: file with a backup of a wallet, or with its words, to make the wallet from.",
            in_file=False,
        ),
    ] = None
    mine: Annotated[bool, _setting("Whether to keep a miner running, as a process of its own.")] = False
    hashrate: Annotated[
        int, Meta(ge=0, le=10**12), _setting("Hashes per second that the miner does at most; 0 is as many as it can.")
    ] = 0
    mine_address: Annotated[
        Annotated[str, Meta(max_length=128)] | None,
        _setting("Address that the miner's rewards go to. Default: one of this node's wallet."),
    ] = None
    mempool_mb: Annotated[
        int, Meta(ge=1, le=4096), _setting("MiB of memory for transactions that wait for a block.")
    ] = 64
    log_level: Annotated[LogLevel, _setting("How much to write to terminal and debug.log.")] = "info"
    log_terminal: Annotated[bool, _setting("Whether to log to standard error too, besides debug.log.")] = True
    reindex: Annotated[
        bool, _setting("Forget all that was derived from the stored blocks, and build it anew.", in_file=False)
    ] = False

    @property
    def folder(self) -> Path:
        """The data directory."""
        return Path(self.datadir).expanduser()

    @property
    def is_private(self) -> bool:
        """Whether the network is one of the operator's own machines."""
        return self.network in {"local", "regtest"}


class Setting(msgspec.Struct, frozen=True):
    """One field of `NodeConfig`, as people meet it."""

    name: str
    description: str
    kind: Any
    default: Any
    in_file: bool = True
    flag: bool = True

    @property
    def is_switch(self) -> bool:
        """Whether it is on or off."""
        return isinstance(self.default, bool)

    @property
    def is_list(self) -> bool:
        """Whether it may be given several times."""
        return isinstance(self.default, tuple)

    @property
    def flag_name(self) -> str:
        """Such as --rpc-port."""
        return "--" + self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        """Such as DURED_RPC_PORT."""
        return ENVIRONMENT_PREFIX + self.name.upper()


def settings() -> tuple[Setting, ...]:
    """Return all settings, in the order of the sample file."""
    hints = get_type_hints(NodeConfig, include_extras=True)
    found = []
    for field in msgspec.structs.fields(NodeConfig):
        about = next(meta for meta in hints[field.name].__metadata__ if isinstance(meta, Meta) and meta.description)
        kind = hints[field.name]
        found.append(Setting(field.name, str(about.description), kind, field.default, **(about.extra or {})))
    return tuple(found)


def sample_file() -> str:
    """Return a `dured.toml` that sets nothing and explains everything."""
    lines = [
        "# Settings of dured, the Dure node. Every line is what holds if it is left out.",
        "# A flag (--rpc-port 1) goes before the environment (DURED_RPC_PORT=1), and that before this file.",
    ]
    for setting in settings():
        if setting.in_file:
            lines += ["", f"# {setting.description}", f"# {setting.name} = {_toml(setting.default)}"]
    return "\n".join(lines) + "\n"


def _toml(value: object) -> str:
    """Write a value as TOML does; None, which TOML lacks, as an empty text."""
    return msgspec.json.encode("" if value is None else value).decode()


# Reading


def read_config(flags: Mapping[str, Any], environment: Mapping[str, str]) -> NodeConfig:
    """Put the sources together; each goes before the ones under it: flags, environment, file, defaults.

    Args:
        flags: from the command line, by setting name; only those given.
        environment: all variables; those that do not start with DURED_ are passed over.

    Raises:
        ConfigError: an unknown name, a value of the wrong type or out of range, or settings that do not go together.
    """
    layer = _from_environment(environment)
    typed = {name: _checked(name, value, f"flag {_by_name(name).flag_name}") for name, value in flags.items()}
    folder = Path(typed.get("datadir", layer.get("datadir", NodeConfig().datadir))).expanduser()
    chosen = {**_from_file(folder / FILE_NAME), **layer, **typed}
    config = NodeConfig(**chosen)
    _check_together(config)
    return config


def _by_name(name: str) -> Setting:
    return next(setting for setting in settings() if setting.name == name)


def _checked(name: str, value: object, where: str) -> Any:
    """Return one value in its type.

    Raises:
        ConfigError: naming `where` it was set.
    """
    setting = _by_name(name)
    # Flags and variables are text; what a file holds has its type already.
    strict = not isinstance(value, str) and not setting.is_list
    try:
        return msgspec.convert(value, setting.kind, strict=strict)
    except msgspec.ValidationError as error:
        raise ConfigError(
            f"{where}: {name} = {_shown(setting, value)} cannot be: {_plain(error, setting.kind)}"
        ) from None


def _shown(setting: Setting, value: object) -> str:
    return "..." if setting.name.endswith("_password") else repr(value)


def _plain(error: msgspec.ValidationError, kind: Any) -> str:
    """Say in words what msgspec says in types."""
    bare = get_args(kind)[0]
    if get_origin(bare) is Literal:
        return f"it is one of {', '.join(get_args(bare))}"
    text = str(error).replace(" | null", "").replace("`", "")
    return text[:1].lower() + text[1:]


def _from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    known = {setting.variable: setting for setting in settings()}
    found: dict[str, Any] = {}
    for variable in sorted(environment):
        if not variable.startswith(ENVIRONMENT_PREFIX):
            continue
        setting = known.get(variable)
        if setting is None:
            raise ConfigError(f"environment variable {variable}: there is no such setting")
        text = environment[variable]
        value: object = text
        if setting.is_list:
            value = [part.strip() for part in text.split(",") if part.strip()]
        found[setting.name] = _checked(setting.name, value, f"environment variable {variable}")
    return found


def _from_file(path: Path) -> dict[str, Any]:
    """Read the file of settings, if there is one."""
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_FILE + 1)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
    if len(raw) > MAX_FILE:
        raise ConfigError(f"{path} has more than {MAX_FILE} bytes: that is no file of settings")
    try:
        text = raw.decode("utf-8")
        values = tomllib.loads(text)
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise ConfigError(f"{path}, line {line}: not UTF-8 text") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: {error}") from None
    known = {setting.name for setting in settings() if setting.in_file}
    found = {}
    for name, value in values.items():
        where = f"{path}, line {_line_of(name, text)}"
        if name not in known:
            raise ConfigError(f"{where}: there is no setting {name!r}")
        if value != "" or _by_name(name).default is not None:
            found[name] = _typed(name, value, where)
    return found


def _typed(name: str, value: object, where: str) -> Any:
    """Return a value of the file, whose types must be right: "1" is no number and 1 no switch."""
    setting = _by_name(name)
    try:
        return msgspec.convert(value, setting.kind)
    except msgspec.ValidationError as error:
        problem = _plain(error, setting.kind)
        raise ConfigError(f"{where}: {name} = {_shown(setting, value)} cannot be: {problem}") from None


def _line_of(name: str, text: str) -> int:
    """Return the line that sets a name: settings are flat, so it begins with the name, or with [name]."""
    key = re.escape(name)
    pattern = re.compile(rf"""\s*+\[*+\s*+["']?{key}["']?\s*+[=.\]]""")
    lines = text.splitlines()
    return next((number for number, line in enumerate(lines, 1) if pattern.match(line)), 1)


# Settings that do not go together

LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
"""Hosts at which only this machine can call."""


def _check_together(config: NodeConfig) -> None:
    if config.tag is not None and config.network != "local":
        raise ConfigError(f"tag: only a local network has one, and this is {config.network}")
    if config.rpc_bind not in LOOPBACK and config.rpc_password is None:
        raise ConfigError(
            f"rpc_bind = {config.rpc_bind!r}: to answer calls from other machines, a node needs an rpc_password"
        )
    if config.rpc_read_user == config.rpc_user:
        raise ConfigError(f"rpc_read_user and rpc_user are both {config.rpc_user!r}: they must differ")
    if config.port not in {None, 0} and config.port == config.rpc_port:
        raise ConfigError(f"port and rpc_port are both {config.port}: they must differ")
    if config.mine and not config.wallet and config.mine_address is None:
        raise ConfigError("mine: without a wallet, mine_address must say whom the rewards go to")
