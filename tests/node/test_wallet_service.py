"""A wallet in its node: it follows blocks and the mempool, and a payment is either on its way or given up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from consensus.slices import Slices
from consensus.types import Amount, Block, LockId, OutPoint, Output, Transaction
from node.relay_policy import PolicyError
from node.storage.errors import StorageError
from node.storage.staged import StagedDatabase
from node.wallet_service import REBROADCAST_SECONDS, WalletService
from p2p.messages import Inv
from simnet.loop import run_virtual
from tests.support.chain import recorder
from tests.support.nodes import RunningNode, World, dial, until
from tests.support.rules import lock, pay
from tests.support.wallets import (
    DURE,
    OTHER_WORDS,
    PARAMS,
    WORDS,
    Chain,
    DyingDatabase,
    Killed,
    lock_of,
    new_wallet,
    outside,
    payment,
    reopened,
)
from wallet.ledger import TAKEN_AT_ONCE
from wallet.ports import Outside
from wallet.results import Payment, State
from wallet.wallet import Wallet

TO_HIM = Payment(lock(9), Amount(DURE))


def _fail(error: StorageError) -> None:
    raise error


@asynccontextmanager
async def service(
    running: RunningNode, words: str = WORDS, world: Outside | None = None
) -> AsyncIterator[WalletService]:
    """A wallet in a node; with a world that has one already, the next process that opens it."""
    log, _ = recorder()
    world = world or outside()
    database = StagedDatabase(world.database)  # type: ignore[arg-type]
    inside = world._replace(database=database)
    wallet = reopened(inside) if Wallet.exists(world.files) else new_wallet(inside, mnemonic=words)
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


@pytest.mark.parametrize("moment", ["before the record", "recorded", "in the mempool", "told to peers", "mined"])
@pytest.mark.parametrize("forgets", [False, True])
def test_a_retry_pays_once_wherever_the_process_was_killed(moment: str, *, forgets: bool) -> None:
    """A155: whether or not the mempool was kept over the restart, and whoever else has the first transaction."""

    async def whole() -> None:
        chain, world, disk = Chain(), World(params=PARAMS), outside()
        first: Transaction | None = None
        async with world.node() as running, service(running, world=disk) as paying:
            paid = chain.mine(chain.base, to=lock_of(paying.wallet.new_address()))
            tip = chain.mine_many(paid, PARAMS.coinbase_maturity)
            await running.feed(chain.builder.chain(tip))
            await paying.current()
            if moment == "before the record":
                dying = disk._replace(database=DyingDatabase(disk.database, 0))
                with pytest.raises(Killed):
                    reopened(dying).send([TO_HIM], paying.terms, request_id="order 7")
            else:
                sent = paying.wallet.send([TO_HIM], paying.terms, request_id="order 7")
                first = sent.transaction
                if moment != "recorded":
                    await running.mempool.accept_transaction(first)
                if moment in {"told to peers", "mined"}:
                    await paying.hand_over(sent)
                if moment == "mined":
                    tip = chain.mine(tip, [first])
                    await running.feed([tip])
        async with world.node() as running, service(running, world=disk) as paying:
            await running.feed(chain.builder.chain(tip))
            if first is not None and moment != "mined" and not forgets and first.txid not in running.mempool:
                await running.mempool.accept_transaction(first)
            await paying.current()
            terms = paying.terms
            answers = []
            for _ in range(2):
                answers.append(await paying.ask(lambda wallet: wallet.send([TO_HIM], terms, request_id="order 7")))
                await paying.hand_over(answers[-1])
            again = answers[0]
            assert answers[1].transaction == again.transaction
            assert first in {None, again.transaction}
            block = chain.mine(tip, [entry.tx for entry in running.mempool])
            await running.feed([block])
            paid_to_him = [
                output
                for b in chain.builder.chain(block)
                for tx in b.transactions
                for output in tx.core.outputs
                if output.lock == TO_HIM.lock
            ]
            assert [output.value for output in paid_to_him] == [TO_HIM.amount]
            await paying.current()
            assert paying.wallet.balances().total == 50 * DURE - TO_HIM.amount - again.fee

    run_virtual(whole)


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


def test_a_repeated_request_that_the_node_refuses_now_keeps_its_coins() -> None:
    """A155: others have the payment, this node's mempool does not take it any more; it must not come free."""

    async def body(chain: Chain, running: RunningNode, service: WalletService) -> None:
        wallet = service.wallet
        low = service.terms._replace(fee_rate=1)
        sent = wallet.send([TO_HIM], low, force=True, request_id="order 7")
        again = wallet.send([TO_HIM], low, request_id="order 7")
        await service.hand_over(again)
        assert sent.transaction.txid not in running.mempool
        assert wallet.transaction(sent.transaction.txid).state is State.PENDING
        assert wallet.balances().confirmed == 0
        assert wallet.rebroadcast() == [sent.transaction]

    story(body)


def test_a_payment_is_offered_again_to_a_node_that_forgot_it() -> None:
    """A157: the process died after the payment was recorded and before any peer had it."""

    async def body(chain: Chain, running: RunningNode, service: WalletService) -> None:
        sent = service.wallet.send([TO_HIM], service.terms)
        assert sent.transaction.txid not in running.mempool
        await asyncio.sleep(REBROADCAST_SECONDS + 1)
        assert sent.transaction.txid in running.mempool

    story(body)


def test_a_payment_is_offered_again_with_the_next_block_and_not_with_each_transaction_that_is_seen() -> None:
    """A157: many payments may wait, and many transactions be seen: offering all with each would be their product."""

    async def body(chain: Chain, running: RunningNode, service: WalletService) -> None:
        forgotten = service.wallet.send([TO_HIM], service.terms)
        tip = chain.builder.blocks[running.chain.tip.hash]
        seen = chain.gift(tip, [(lock(9), DURE)])
        await running.node.submit_transaction(seen)
        await asyncio.sleep(1)
        assert seen.txid in running.mempool
        assert forgotten.transaction.txid not in running.mempool
        await running.feed([chain.mine(tip)])
        await asyncio.sleep(1)
        assert forgotten.transaction.txid in running.mempool

    story(body)


def test_peers_that_came_later_hear_of_a_payment_that_waits() -> None:
    """A157: the mempool has it, so nothing is offered again; yet whoever could mine it came after it was told."""

    async def whole() -> None:
        chain, world = Chain(), World(params=PARAMS)
        async with world.node() as one, service(one) as payer:
            paid = chain.mine(chain.base, to=lock_of(payer.wallet.new_address()))
            tip = chain.mine_many(paid, PARAMS.coinbase_maturity)
            await one.feed(chain.builder.chain(tip))
            await payer.current()
            terms = payer.terms
            sent = await payer.ask(lambda wallet: wallet.send([TO_HIM], terms))
            await payer.hand_over(sent)
            async with world.node(connect=[one.address]) as two:
                await until(lambda: two.chain.tip.hash == tip.hash)
                await until(lambda: sent.transaction.txid in two.mempool)

    run_virtual(whole)


def test_peers_are_told_again_and_again_of_a_payment_that_waits_for_long() -> None:
    """A157: a peer may have had no use for it at first, as on another branch, or have lost it."""

    async def whole() -> None:
        chain, world = Chain(), World(params=PARAMS)
        async with world.node() as one, service(one) as payer:
            paid = chain.mine(chain.base, to=lock_of(payer.wallet.new_address()))
            await one.feed(chain.builder.chain(chain.mine_many(paid, PARAMS.coinbase_maturity)))
            await payer.current()
            terms = payer.terms
            await payer.hand_over(await payer.ask(lambda wallet: wallet.send([TO_HIM], terms)))
            peer = await dial(world, one)
            await until(lambda: bool(peer.got(Inv)))
            for _ in range(2):
                peer.received.clear()
                took = await until(lambda: bool(peer.got(Inv)), within=REBROADCAST_SECONDS + 60)
                assert took > REBROADCAST_SECONDS / 2

    run_virtual(whole)


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


def test_a_payment_that_its_sender_replaces_by_one_to_himself_is_shown_as_lost() -> None:
    """A156: paid to us in the mempool, then with a higher fee to somebody else; and mined so."""

    async def body(chain: Chain, running: RunningNode, service: WalletService) -> None:
        tip = chain.builder.blocks[running.chain.tip.hash]
        source = chain.builder.mature(tip)[5]
        value = chain.builder.coins(tip)[source].output.value
        ours = Output(Amount(3 * DURE), lock_of(service.wallet.new_address()), None)
        promise = chain.builder.spend(tip, [source], [ours, pay(1, value - 3 * DURE - 1_000)])
        await running.node.submit_transaction(promise)
        assert (await service.current()).balances().pending == 3 * DURE
        betrayal = chain.builder.spend(tip, [source], [pay(1, value - 9_000)])
        await running.node.submit_transaction(betrayal)
        wallet = await service.current()
        assert promise.txid not in running.mempool
        assert (wallet.balances().pending, wallet.transaction(promise.txid).state) == (0, State.CONFLICTED)
        assert wallet.transaction(promise.txid).conflicts == (betrayal.txid,)
        await running.feed([chain.mine(tip, [betrayal])])
        wallet = await service.current()
        assert (wallet.balances().total, wallet.transaction(promise.txid).confirmations) == (50 * DURE, -1)
        # A branch on which the promise is kept.
        await running.feed([block := chain.mine(tip, [promise]), chain.mine(block)])
        wallet = await service.current()
        assert (wallet.balances().total, wallet.transaction(promise.txid).state) == (53 * DURE, State.CONFIRMED)

    story(body)


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


def storm(chain: Chain, tip: Block, to: LockId) -> tuple[Block, Block, int]:
    """A block that makes many coins of the rest of the world, and one that gives all to a wallet; how much that is."""
    count = 3 * TAKEN_AT_ONCE
    fan = chain.gift(tip, [(lock(1), 100_000)] * count)
    first = chain.mine(tip, [fan])
    gifts = [
        chain.builder.spend(first, [OutPoint(fan.txid, n)], [Output(Amount(90_000), to, None)]) for n in range(count)
    ]
    return first, chain.mine(first, gifts), 90_000 * count


def test_nobody_sees_the_wallet_half_way_through_a_block() -> None:
    """It is followed in slices, between which others run: they see it before the block, or after it."""

    async def body(chain: Chain, running: RunningNode, service: WalletService) -> None:
        tip = chain.builder.blocks[running.chain.tip.hash]
        first, second, gifts = storm(chain, tip, lock_of(service.wallet.new_address()))
        seen: list[tuple[int, int, int]] = []

        async def look() -> None:
            while True:
                wallet = await service.current()
                seen.append((wallet.cursor.height, wallet.balances().confirmed, len(list(wallet.coins.unspent()))))
                await asyncio.sleep(0)

        async def count() -> None:
            def work(wallet: Wallet) -> Slices[tuple[int, int, int]]:
                coins = []
                for coin in wallet.coins.unspent():
                    yield
                    coins.append(coin)
                return wallet.cursor.height, wallet.balances().confirmed, len(coins)

            while True:
                seen.append(await service.read(work))
                await asyncio.sleep(0)

        readers = [asyncio.create_task(work()) for work in (look, look, count)]
        await running.feed([first, second])
        await service.current()
        await running.chain.set_aside(running.chain.index.tip)
        await service.current()
        for reader in readers:
            reader.cancel()
        await asyncio.wait(readers)
        height = chain.builder.state(tip).height
        before, after = (50 * DURE, 1), (50 * DURE + gifts, 1 + 3 * TAKEN_AT_ONCE)
        assert {(height, *before), (height + 2, *after)} <= set(seen)
        left = {each for each in seen if each[0] != height + 2}
        assert set(seen) - left == {(height + 2, *after)}
        assert left <= {(height, *before), (height + 1, *before), (height + 1, 50 * DURE, 1 + 3 * TAKEN_AT_ONCE)}

    story(body)


@pytest.mark.parametrize("turns", range(1, 10))
def test_a_caller_that_goes_away_leaves_the_wallet_on_the_tip_or_before_it(turns: int) -> None:
    """Never between: neither in memory nor, after a restart, on disk."""

    async def whole() -> None:
        chain, disk = Chain(), outside()
        async with World(params=PARAMS).node() as running:
            async with service(running, world=disk) as following:
                await running.feed(chain.builder.chain(chain.base))
                await following.current()
                following._ends[0]()  # from now on it follows when it is asked, and not else
                first, second, gifts = storm(chain, chain.base, lock_of(following.wallet.new_address()))
                await running.feed([first, second])
                asking = asyncio.create_task(following.current())
                for _ in range(turns):
                    await asyncio.sleep(0)
                asking.cancel()
                await asyncio.wait([asking])
                height = chain.builder.state(second).height
                wallet = following.wallet
                assert (wallet.cursor.height, wallet.balances().confirmed) in {
                    (height - 2, 0),
                    (height - 1, 0),
                    (height, gifts),
                }
            async with service(running, world=disk) as following:
                assert (await following.current()).balances().confirmed == gifts
                assert following.wallet.cursor.height == height

    run_virtual(whole)
