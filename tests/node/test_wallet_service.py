"""A wallet in its node: it follows blocks and the mempool, and a payment is either on its way or given up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from consensus.types import Amount, LockId
from node.relay_policy import PolicyError
from node.storage.errors import StorageError
from node.storage.memory_store import MemoryDatabase
from node.storage.staged import StagedDatabase
from node.wallet_service import REBROADCAST_SECONDS, WalletService
from simnet.loop import run_virtual
from tests.support.chain import recorder
from tests.support.nodes import RunningNode, World, until
from tests.support.rules import lock
from tests.support.wallets import DURE, OTHER_WORDS, PARAMS, WORDS, Chain, lock_of, new_wallet, outside, payment
from wallet.results import Payment, State
from wallet.store import TABLES

TO_HIM = Payment(lock(9), Amount(DURE))


def _fail(error: StorageError) -> None:
    raise error


@asynccontextmanager
async def service(running: RunningNode, words: str = WORDS) -> AsyncIterator[WalletService]:
    log, _ = recorder()
    world = outside()
    database = StagedDatabase(MemoryDatabase(TABLES))
    wallet = new_wallet(world._replace(database=database), mnemonic=words)
    made = WalletService(wallet, database, running.node, log, _fail)
    await made.start()
    try:
        yield made
    finally:
        await made.stop()


def story(body: Callable[[Chain, RunningNode, WalletService], Awaitable[None]]) -> None:
    """A node alone, whose wallet has 50 DURE that may be spent."""

    async def whole() -> None:
        chain = Chain()
        async with World(params=PARAMS).node() as running, service(running) as wallet:
            paid = chain.mine(chain.base, to=lock_of(wallet.wallet.new_address()))
            await running.feed(chain.builder.chain(chain.mine_many(paid, PARAMS.coinbase_maturity)))
            await wallet.current()
            assert wallet.wallet.balances().confirmed == 50 * DURE
            await body(chain, running, wallet)

    run_virtual(whole)


def test_a_request_that_is_repeated_leaves_its_payment_on_its_way() -> None:
    """A155: while it waits, and after it is mined; its coins never come free."""

    async def body(chain: Chain, running: RunningNode, service: WalletService) -> None:
        wallet, order = service.wallet, [TO_HIM]
        sent = wallet.send(order, service.terms, request_id="order 7")
        await service.hand_over(sent)
        await service.hand_over(wallet.send(order, service.terms, request_id="order 7"))
        assert wallet.transaction(sent.transaction.txid).state is State.PENDING
        assert wallet.balances().total == 49 * DURE - sent.fee
        tip = chain.builder.blocks[running.chain.tip.hash]
        await running.feed([chain.mine(tip, [sent.transaction])])
        await service.current()
        await service.hand_over(wallet.send(order, service.terms, request_id="order 7"))
        assert wallet.transaction(sent.transaction.txid).state is State.CONFIRMED
        assert wallet.balances().total == 49 * DURE - sent.fee

    story(body)


def test_a_payment_that_the_node_refuses_is_given_up() -> None:
    async def body(chain: Chain, running: RunningNode, service: WalletService) -> None:
        wallet = service.wallet
        low = service.terms._replace(fee_rate=1)
        sent = wallet.send([TO_HIM], low, force=True)
        with pytest.raises(PolicyError):
            await service.hand_over(sent)
        assert wallet.transaction(sent.transaction.txid).state is State.ABANDONED
        assert wallet.balances().confirmed == 50 * DURE

    story(body)


def test_a_payment_is_offered_again_to_a_node_that_forgot_it() -> None:
    """A157: the process died after the payment was recorded and before any peer had it."""

    async def body(chain: Chain, running: RunningNode, service: WalletService) -> None:
        sent = service.wallet.send([TO_HIM], service.terms)
        assert sent.transaction.txid not in running.mempool
        await asyncio.sleep(REBROADCAST_SECONDS + 1)
        assert sent.transaction.txid in running.mempool

    story(body)


def test_a_payment_between_two_nodes_is_pending_then_confirmed() -> None:
    async def whole() -> None:
        chain, world = Chain(), World(params=PARAMS)
        async with (
            world.node() as one,
            world.node(connect=[one.address]) as two,
            service(one) as payer,
            service(two, OTHER_WORDS) as payee,
        ):
            paid = chain.mine(chain.base, to=lock_of(payer.wallet.new_address()))
            tip = chain.mine_many(paid, PARAMS.coinbase_maturity)
            await one.feed(chain.builder.chain(tip))
            await until(lambda: two.chain.tip.hash == tip.hash)
            await payer.current()
            sent = payer.wallet.send([payment(payee.wallet.new_address(), 2 * DURE)], payer.terms)
            await payer.hand_over(sent)
            await until(lambda: payee.wallet.balances().pending == 2 * DURE)
            await two.feed([chain.mine(tip, [sent.transaction])])
            await until(lambda: payee.wallet.balances().confirmed == 2 * DURE)
            await until(lambda: payer.wallet.balances().confirmed == sent.change)

    run_virtual(whole)


def test_a_reorg_reaches_the_wallet() -> None:
    async def body(chain: Chain, running: RunningNode, service: WalletService) -> None:
        tip = chain.builder.blocks[running.chain.tip.hash]
        gift = chain.gift(tip, [(lock_of(service.wallet.new_address()), 3 * DURE)])
        await running.feed([chain.mine(tip, [gift])])
        await service.current()
        assert service.wallet.balances().confirmed == 53 * DURE
        await running.feed(chain.builder.chain(chain.mine_many(tip, 2))[-2:])
        await service.current()
        balances = service.wallet.balances()
        assert (balances.confirmed, balances.pending) == (50 * DURE, 3 * DURE)
        assert not service.wallet.is_mine(LockId(bytes(32)))

    story(body)
