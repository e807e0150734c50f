"""`wallet`: a wallet with a hundred thousand coins."""

from __future__ import annotations

import time
from collections.abc import Iterator

from consensus.address import decode_address
from consensus.params import REGTEST
from consensus.types import LockId
from scripts.benchmarks.harness import Bound, Figure, Measure, Sample
from scripts.benchmarks.money import FAN, DurePurse, rewards
from scripts.benchmarks.programs import Dured, Program, drain, until

COINS = 100_000
ADDRESSES = 100
"""Of the wallet: coins lie at a thousand each, as those of a shop or an exchange do."""
CALLS = 20
"""Of each kind in a run."""


class WithWallet(Dured):
    """Our node with its wallet."""

    wallet = "--wallet"


def take_wallet(_kind: type[Program]) -> Iterator[Sample]:
    """Milliseconds of a payment and of a balance, asked by JSON-RPC."""
    for balance, send in ask(COINS):
        yield Sample("wallet_balance", balance)
        yield Sample("wallet_send", send)


def ask(coins: int) -> Iterator[tuple[float, float]]:
    """Ask a wallet with so many coins for its balance, and for a payment; yield how many milliseconds both took."""
    purse = DurePurse()
    with WithWallet() as node:
        locks: list[LockId] = [
            decode_address(REGTEST, node.rpc.call("getnewaddress", "", "bech32")) for _ in range(ADDRESSES)
        ]
        fans = -(-coins // FAN)
        each = -(-coins // fans)
        for number, reward in enumerate(rewards(node, purse, fans)):
            made = purse.fan(reward, locks[number % ADDRESSES], each)
            node.rpc.call("sendrawtransaction", made.encoded.hex())
        drain(node)
        until("a wallet that has seen them", lambda: node.rpc.call("getwalletinfo")["txcount"] >= fans)
        address = node.rpc.call("getnewaddress")
        for _ in range(CALLS):
            began = time.monotonic()
            node.rpc.call("getbalances")
            balance = (time.monotonic() - began) * 1_000
            began = time.monotonic()
            node.rpc.call("sendtoaddress", address, 0.01)
            yield balance, (time.monotonic() - began) * 1_000


MEASURES = {
    "wallet": Measure(
        take_wallet,
        {
            "wallet_balance": Figure("ms", must=Bound(10)),
            "wallet_send": Figure("ms", must=Bound(300)),
        },
        runs=1,
        compared=False,
    )
}
