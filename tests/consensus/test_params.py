"""What each network is, number by number, as the module makes it when it is loaded."""

from __future__ import annotations

import importlib.util
from types import ModuleType

import pytest

from consensus import params
from consensus.params import LOCAL, MAIN, REGTEST, TAG_SIZE, TEST, Params, local_params, sim_params

DURE = 100_000_000
KINDS = {
    "main": (60, 172_800, 0x1D00FFFF, 0x1D00FFFF, True, 5 * DURE, 2_100_000, 2_099_999_472_700_000, 100, 120),
    "test": (60, 172_800, 0x1D00FFFF, 0x1D00FFFF, True, 5 * DURE, 2_100_000, 2_099_999_472_700_000, 100, 120),
    "local": (5, 120, 0x1E53E2D6, 0x1F014F8B, True, 50 * DURE, 210_000, 2_099_994_997_690_000, 10, 120),
    "regtest": (60, 172_800, 0x207FFFFF, 0x207FFFFF, False, 50 * DURE, 150, 1_494_999_998_350, 100, None),
    "sim": (7, 168, 0x1F00FFFF, 0x2000FFFF, True, 50 * DURE, 210_000, 2_099_994_997_690_000, 10, 120),
}
PLACES = {
    "main": ("dure", 7340, 7341),
    "test": ("tdure", 17340, 17341),
    "local": ("ldure", 27340, 27341),
    "regtest": ("rdure", 37340, 37341),
    "sim": ("sdure", 47340, 47341),
}


@pytest.fixture
def anew() -> ModuleType:
    """The module, loaded once more for each test: what it makes at that time is made under our eyes."""
    spec = importlib.util.find_spec(params.__name__)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", KINDS)
def test_a_network_is_what_the_page_says(anew: ModuleType, name: str) -> None:
    made: Params = anew.sim_params(7, 0x1F00FFFF, 0x2000FFFF) if name == "sim" else anew.NETWORKS[name]
    assert made.name == name
    assert (
        made.spacing,
        made.half_life,
        made.start_bits,
        made.limit_bits,
        made.retarget,
        made.initial_subsidy,
        made.subsidy_interval,
        made.total_supply,
        made.coinbase_maturity,
        made.max_future_seconds,
    ) == KINDS[name]
    assert (made.address_prefix, made.p2p_port, made.rpc_port) == PLACES[name]


@pytest.mark.parametrize("name", KINDS)
def test_a_network_begins_with_its_genesis_block(anew: ModuleType, name: str) -> None:
    made: Params = anew.sim_params(7, 0x1F00FFFF, 0x2000FFFF) if name == "sim" else anew.NETWORKS[name]
    header, (first,) = made.genesis.header, made.genesis.transactions
    assert (header.version, header.previous, header.time, header.bits, header.nonce) == (
        1,
        bytes(32),
        1_767_225_600,
        made.start_bits,
        0,
    )
    assert header.merkle_root == first.wtxid
    assert (first.core.version, first.core.outputs, first.core.issuances, first.core.burns) == (1, (), (), ())
    assert [(each.txid, each.index) for each in first.core.inputs] == [(bytes(32), 0)]
    assert first.core.memo == b"dure/" + name.encode() + (bytes(16) if name == "local" else b"")
    assert first.witnesses == ()
    assert (made.genesis_hash, made.magic) == (made.genesis.hash, made.genesis.hash[:4])


def test_two_local_networks_never_merge() -> None:
    one, other = local_params(b"a" * TAG_SIZE), local_params(b"b" * TAG_SIZE)
    assert len({each.genesis_hash for each in (one, other, LOCAL)}) == 3
    for length in (0, TAG_SIZE - 1, TAG_SIZE + 1):
        with pytest.raises(ValueError, match=rf"^a network's tag has 16 bytes, not {length}$"):
            local_params(bytes(length))


def test_networks_differ_where_they_could_be_taken_for_each_other() -> None:
    known = [MAIN, TEST, LOCAL, REGTEST, sim_params(7, 0x1F00FFFF, 0x2000FFFF)]
    for field in ("magic", "address_prefix", "p2p_port", "rpc_port", "name"):
        assert len({getattr(each, field) for each in known}) == len(known), field
