"""Settings: from four places, each before the next, and refused with the place where they are wrong."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from consensus.params import LOCAL, MAIN, REGTEST
from node.config import MAX_FILE, ConfigError, NodeConfig, read_config, sample_file, settings
from node.daemon import params_of, peer_settings
from node.flags import parse_flags
from node.version import VERSION
from p2p.transport import Address
from tests.support.repository import PROJECT


def config(*flags: str, environment: dict[str, str] | None = None) -> NodeConfig:
    return read_config(parse_flags(flags).flags, environment or {})


def test_flags_go_before_the_environment_and_that_before_the_file(tmp_path: Path) -> None:
    (tmp_path / "dured.toml").write_text('network = "regtest"\nport = 1\nrpc_port = 11\nhashrate = 111\n')
    here = {"DURED_DATADIR": str(tmp_path), "DURED_RPC_PORT": "22", "DURED_HASHRATE": "222", "HOME": "x"}
    found = config("--hashrate", "333", environment=here)
    assert (found.network, found.port, found.rpc_port, found.hashrate) == ("regtest", 1, 22, 333)
    assert found.folder == tmp_path
    assert found.mempool_mb == NodeConfig().mempool_mb


def test_lists_and_switches_are_read_from_all_places(tmp_path: Path) -> None:
    (tmp_path / "dured.toml").write_text('connect = ["a:1", "[::1]:2"]\ndiscovery = false\n')
    found = config("--datadir", str(tmp_path))
    assert (found.connect, found.discovery) == (("a:1", "[::1]:2"), False)
    found = config(environment={"DURED_CONNECT": "a:1, b:2", "DURED_MINE": "true", "DURED_DATADIR": str(tmp_path)})
    assert (found.connect, found.mine) == (("a:1", "b:2"), True)
    found = config("--datadir", str(tmp_path), "--connect", "c:3", "--connect", "d:4", "--discovery", "--no-wallet")
    assert (found.connect, found.discovery, found.wallet) == (("c:3", "d:4"), True, False)


def test_the_sample_file_changes_nothing_and_names_every_setting(tmp_path: Path) -> None:
    commented = sample_file()
    (tmp_path / "dured.toml").write_text(commented)
    assert config("--datadir", str(tmp_path)) == NodeConfig(datadir=str(tmp_path))
    used = re.sub(r"^# (\w+ = )", r"\1", commented, flags=re.MULTILINE)
    (tmp_path / "dured.toml").write_text(used)
    assert config("--datadir", str(tmp_path)) == NodeConfig(datadir=str(tmp_path))
    assert set(tomllib.loads(used)) == {setting.name for setting in settings() if setting.in_file}
    assert all(len(line) <= 140 for line in commented.splitlines())


@pytest.mark.parametrize(
    ("text", "where", "what"),
    [
        ("# nothing\n\nbogus = 1\n", "line 3", "bogus"),
        ("[rpc]\nport = 1\n", "line 1", "rpc"),
        ("a.b = 1\n", "line 1", "'a'"),
        ('port = "1"\n', "line 1", "port"),
        ("port = 70000\n", "line 1", "65535"),
        ("port = -1\n", "line 1", "port"),
        ("port = 1.0\n", "line 1", "port"),
        ("mine = 1\n", "line 1", "mine"),
        ('\n"mine" = "yes"\n', "line 2", "mine"),
        ("hashrate = true\n", "line 1", "hashrate"),
        ("connect = 'a:1'\n", "line 1", "connect"),
        ("connect = [1]\n", "line 1", "connect"),
        ("connect = ['a b']\n", "line 1", "connect"),
        ("network = 'mainnet'\n", "line 1", "it is one of main, test, local, regtest"),
        ("tag = 'xyz'\n", "line 1", "tag"),
        ("mempool_mb = 0\n", "line 1", "mempool_mb"),
        ("rpc_password = 'short'\n", "line 1", "rpc_password"),
        ("datadir = '/x'\n", "line 1", "datadir"),
        ("reindex = true\n", "line 1", "reindex"),
        ("port = \n", "line 1", "Invalid value"),
        ("port = 1\nport = 2\n", "line 2", "overwrite"),
        ("\n\nport 1\n", "line 3", "Expected"),
    ],
)
def test_a_file_is_refused_with_the_line_and_the_name(tmp_path: Path, text: str, where: str, what: str) -> None:
    """A136."""
    (tmp_path / "dured.toml").write_text(text)
    with pytest.raises(ConfigError) as refused:
        config("--datadir", str(tmp_path))
    said = str(refused.value)
    assert str(tmp_path / "dured.toml") in said
    assert where in said
    assert what in said
    assert "short" not in said
    assert "\n" not in said


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    """A136."""
    (tmp_path / "dured.toml").write_bytes(b"port = 1\n# \xff\n")
    with pytest.raises(ConfigError, match="line 2: not UTF-8"):
        config("--datadir", str(tmp_path))
    (tmp_path / "dured.toml").write_bytes(b"#" * (MAX_FILE + 1))
    with pytest.raises(ConfigError, match="no file of settings"):
        config("--datadir", str(tmp_path))
    (tmp_path / "dured.toml").unlink()
    (tmp_path / "dured.toml").mkdir()
    with pytest.raises(ConfigError, match="cannot be read"):
        config("--datadir", str(tmp_path))


@pytest.mark.parametrize(
    ("environment", "what"),
    [
        ({"DURED_BOGUS": "1"}, "DURED_BOGUS"),
        ({"DURED_PORT": "x"}, "DURED_PORT"),
        ({"DURED_MINE": "maybe"}, "DURED_MINE"),
        ({"DURED_RPC_PASSWORD": "short"}, "DURED_RPC_PASSWORD"),
    ],
)
def test_a_variable_is_refused_by_name(environment: dict[str, str], what: str) -> None:
    """A136: and a secret in it is not repeated."""
    with pytest.raises(ConfigError) as refused:
        config(environment=environment)
    assert what in str(refused.value)
    assert "short" not in str(refused.value)


@pytest.mark.parametrize(
    "flags",
    [
        ("--bogus",),
        ("--port",),
        ("--port", "x"),
        ("--mine=1",),
        ("--rpc", "1"),
        ("--rpc-password", "correct horse"),
        ("stray",),
    ],
    ids=str,
)
def test_a_flag_is_refused_by_name(flags: tuple[str, ...]) -> None:
    """A136, A150: a password is no flag, for every user of the machine could read it."""
    with pytest.raises(ConfigError) as refused:
        config(*flags)
    assert flags[0].partition("=")[0].lstrip("-") in str(refused.value)


@pytest.mark.parametrize(
    ("flags", "what"),
    [
        (("--network", "regtest", "--tag", "ab" * 16), "tag"),
        (("--rpc-bind", "0.0.0.0"), "rpc_password"),
        (("--rpc-bind", "192.168.0.9"), "rpc_password"),
        (("--rpc-bind", "::"), "rpc_password"),
        (("--port", "5", "--rpc-port", "5"), "must differ"),
        (("--mine", "--no-wallet"), "mine_address"),
        (("--rpc-read-user", "dure"), "rpc_read_user"),
    ],
    ids=str,
)
def test_settings_that_do_not_go_together_are_refused(flags: tuple[str, ...], what: str) -> None:
    """A136, A177."""
    with pytest.raises(ConfigError, match=what):
        config(*flags)


def test_a_password_lets_other_machines_call() -> None:
    """A177: the other side of the boundary."""
    found = config("--rpc-bind", "0.0.0.0", environment={"DURED_RPC_PASSWORD": "correct horse"})
    assert found.rpc_bind == "0.0.0.0"


def test_the_daemon_says_the_version_that_is_installed() -> None:
    assert PROJECT["project"]["version"] == VERSION


def test_a_tag_makes_another_network() -> None:
    """A062: nothing else that an operator chooses is part of the parameters."""
    assert params_of(NodeConfig()) is LOCAL
    assert params_of(NodeConfig(network="main", tag="ab" * 16)) is MAIN
    assert params_of(NodeConfig(network="regtest")) is REGTEST
    tagged = params_of(NodeConfig(tag="ab" * 16))
    assert tagged.genesis_hash != LOCAL.genesis_hash
    assert tagged.genesis.transactions[0].core.memo.endswith(b"\xab" * 16)


@pytest.mark.parametrize(
    ("chosen", "found"),
    [
        ({}, {"bind": Address("127.0.0.1", 27340), "private_addresses": True}),
        ({"network": "main"}, {"bind": Address("0.0.0.0", 7340), "private_addresses": False}),
        ({"bind": "10.0.0.1", "port": 0}, {"bind": Address("10.0.0.1", 0)}),
        ({"listen": False}, {"bind": None}),
        (
            {"connect": ("h:5", "[::1]:6", "name")},
            {"connect": (Address("h", 5), Address("::1", 6), Address("name", 27340))},
        ),
        ({"max_connections": 125}, {"max_outbound": 8, "max_inbound": 117}),
        ({"max_connections": 3}, {"max_outbound": 3, "max_inbound": 0}),
    ],
    ids=str,
)
def test_gossip_is_told_its_part_of_the_settings(chosen: dict[str, Any], found: dict[str, Any]) -> None:
    made = NodeConfig(**chosen)
    settings_ = peer_settings(made, params_of(made), made.max_connections)
    assert {name: getattr(settings_, name) for name in found} == found


def test_an_address_that_is_none_is_refused_by_its_setting() -> None:
    with pytest.raises(ConfigError, match="seed"):
        peer_settings(NodeConfig(seed=("a:b",)), LOCAL, 8)
