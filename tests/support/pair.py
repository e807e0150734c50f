"""Two nodes with a wallet each, one chain, and files that go between them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

from consensus.params import REGTEST, Params
from rpc import schema
from tests.support.api import Api, running_api


class Pair(NamedTuple):
    """Ann, who mines, and Bob, who is given her blocks."""

    ann: Api
    bob: Api

    async def mine(self, count: int = 1) -> None:
        for block in await self.ann.mine(count):
            raw = await self.ann.client.call("getblock", block, 0)
            assert await self.bob.client.call("submitblock", raw) is None

    async def pass_on(self, txid: str) -> None:
        """A block with a transaction that one of both has in its mempool."""
        if txid in await self.bob.client.call("getrawmempool"):
            await self.ann.client.call("sendrawtransaction", await self.bob.client.call("getrawtransaction", txid))
        await self.mine()

    async def pay(self, address: str, amount: object) -> str:
        txid: str = await self.ann.client.call("sendtoaddress", address, amount)
        await self.mine()
        return txid

    async def issue(self, kind: str, *params: object) -> str:
        """An asset of Ann's, in a block; returns its id."""
        sent = await self.ann.client.call("issueasset", kind, *params, result=schema.SentAsset)
        await self.mine()
        assert isinstance(sent.asset, str)
        return sent.asset


@asynccontextmanager
async def running_pair(params: Params = REGTEST, seed: int = 1) -> AsyncIterator[Pair]:
    """Both, at height 102: Ann has two rewards that she can spend."""
    async with running_api(params, seed=seed) as ann, running_api(params, seed=seed + 1) as bob:
        both = Pair(ann, bob)
        await both.mine(102)
        yield both
