"""People with wallets on one chain: real blocks, the real mempool, and files that pass between them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from consensus.params import Params
from consensus.state import ChainState, SpendContext
from consensus.types import (
    Amount,
    Asset,
    AssetId,
    Block,
    Coin,
    Core,
    LockId,
    OutPoint,
    Output,
    Policy,
    Transaction,
    Witness,
)
from node.chain_events import TipChanged
from node.mempool import Mempool
from node.workers import InlineWorkers
from tests.support.chain import ManualClock, recorder
from tests.support.wallets import DURE, PARAMS, TERMS, Chain, Silent, lock_of, new_wallet, outside
from wallet.cosigning import finalise
from wallet.ports import Outside
from wallet.psdt import Psdt, SpentCoin, new_psdt, read_psdt, write_psdt
from wallet.psdt_joining import combine, with_policy
from wallet.results import Payment
from wallet.spend_policies.book import KnownPolicy
from wallet.spend_policies.spends import Everything, Plan
from wallet.spend_policies.templates import Made
from wallet.wallet import Wallet


class Village:
    """A chain whose tip is `tip`, a mempool on it, and a wallet with `wealth` DURE for each person."""

    def __init__(
        self, *people: str, wealth: int = 20, params: Params = PARAMS, clock: ManualClock | None = None
    ) -> None:
        self.params = params
        self.chain = Chain(params)
        self.block: Block = self.chain.base
        self.mempool = Mempool(params, self, clock or ManualClock(), InlineWorkers(), recorder()[0])
        self.logs: dict[str, Silent] = {}
        self.worlds: dict[str, Outside] = {}
        self.wallets: dict[str, Wallet] = {}
        for number, person in enumerate(people, 1):
            world = self.worlds[person] = outside(number)._replace(clock=clock or ManualClock())
            self.logs[person] = world.log  # type: ignore[assignment]
            self.wallets[person] = new_wallet(world, mnemonic=None, params=params)
        gifts = [
            self.chain.gift(self.block, [(lock_of(self.wallets[person].new_address()), wealth * DURE)], which)
            for which, person in enumerate(people)
        ]
        self._connect(self.chain.mine(self.block, gifts))

    def __getitem__(self, person: str) -> Wallet:
        return self.wallets[person]

    # What the mempool asks of a chain

    @property
    def tip(self) -> ChainState:
        return self.chain.builder.state(self.block)

    def get_assets(self, names: Iterable[AssetId]) -> Mapping[AssetId, Asset]:
        assets = self.chain.builder.assets(self.block)
        return {name: assets[name] for name in names if name in assets}

    def get_coins(self, outpoints: Iterable[OutPoint]) -> Mapping[OutPoint, Coin]:
        coins = self.chain.builder.coins(self.block)
        return {outpoint: coins[outpoint] for outpoint in outpoints if outpoint in coins}

    @property
    def context(self) -> SpendContext:
        """Of the next block."""
        return SpendContext(self.tip.height + 1, self.tip.median_time)

    # Time

    def mine(self, count: int = 1) -> None:
        """Blocks with all that waits in the mempool."""
        for _ in range(count):
            waiting = [entry.tx for entry in self.mempool.select(10**6, 10**4)]
            self._connect(self.chain.mine(self.block, waiting))

    def _connect(self, block: Block) -> None:
        before = self.tip
        self.block = block
        self.mempool.on_tip_changed(TipChanged((), (block,), before, self.tip, before.height))
        self._follow()

    def reorg(self, depth: int, length: int) -> None:
        """Another branch of `length` empty blocks, in place of the last `depth`."""
        chain = self.chain.builder.chain(self.block)
        before, lost, fork = self.tip, chain[len(chain) - depth :], chain[len(chain) - depth - 1]
        won = self.chain.builder.mine_chain(fork, length)
        self.block = won[-1]
        self.mempool.on_tip_changed(TipChanged(tuple(lost[::-1]), tuple(won), before, self.tip, before.height - depth))
        self._follow()
        for entry in self.mempool:
            self._tell(entry.tx)

    def _follow(self) -> None:
        for wallet in self.wallets.values():
            self.chain.follow(wallet, self.block)

    # Payments

    async def send(self, tx: Transaction) -> None:
        """Hand a transaction to the mempool, which tells the wallets."""
        await self.mempool.accept_transaction(tx)
        self._tell(tx)

    def _tell(self, tx: Transaction) -> None:
        for wallet in self.wallets.values():
            wallet.add_pending(tx)

    async def pay(self, person: str, lock: LockId, amount: int) -> Transaction:
        """An ordinary payment, in grain."""
        sent = self[person].send([Payment(lock, Amount(amount))], TERMS)
        await self.send(sent.transaction)
        return sent.transaction

    # Policies

    def remember(self, name: str, made: Made, *people: str) -> list[KnownPolicy]:
        """Let the wallets of some people, or of all, watch what a template made; the last part first."""
        known: dict[str, KnownPolicy] = {}
        for person in people or tuple(self.wallets):
            for part in reversed(made.parts):
                full_name = f"{name}/{part.name}" if part.name else name
                known[part.name] = self[person].policies.remember(full_name, part.policy, made.roles)
        return [known[part.name] for part in made.parts]

    def plan(
        self, person: str, known: KnownPolicy, wish: Sequence[Payment] | Everything, number: int | None = None
    ) -> Plan:
        return self[person].policies.spends.plan(known, wish, TERMS, self.context, number=number)

    def sign(self, person: str, psdt: Psdt, **how: Any) -> Psdt:
        """Let a person sign a file that he was sent: what he gets and gives are bytes."""
        received = read_psdt(self.params, write_psdt(psdt))
        known = {outpoint: coin.output for outpoint, coin in self.get_coins(received.core.inputs).items()}
        return read_psdt(self.params, write_psdt(self[person].cosigner.sign(received, known, {}, **how).psdt))

    def with_coin_of(self, psdt: Psdt, person: str) -> Psdt:
        """The same file, but it also spends the first coin of a person, to where the first output goes."""
        coin = self[person].coins.unspent().__next__()
        more = SpentCoin(Output(coin.value, coin.lock, None), coin.height, coin.coinbase)
        first, *others = psdt.core.outputs
        outputs = (Output(Amount(first.value + coin.value), first.lock, None), *others)
        core = replace(psdt.core, inputs=(*psdt.core.inputs, coin.outpoint), outputs=outputs)
        made = new_psdt(self.params, core, (*psdt.coins, more))
        for part in psdt.parts:
            made = made if part.policy is None else with_policy(made, part.policy)
        return made

    def finish(self, *psdts: Psdt) -> Transaction:
        return finalise(self.params, combine(psdts), self.context, {})

    def at(self, lock: LockId) -> int:
        """Grain in the chain at a lock."""
        coins = self.chain.builder.coins(self.block).values()
        return sum(coin.output.value for coin in coins if coin.output.lock == lock)

    def owned(self, person: str) -> int:
        """Grain that a person can spend by himself, as the rules see it."""
        return sum(self.chain.owned(self.block, self[person]).values())


def forged(core: Core, policy: Policy, satisfactions: Sequence[bytes]) -> Transaction:
    """A transaction with one witness, whatever it is worth."""
    return Transaction(core, (Witness(policy, tuple(satisfactions)),))


def payment(lock: LockId, amount: int) -> Payment:
    return Payment(lock, Amount(amount))
