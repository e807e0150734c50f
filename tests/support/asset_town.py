"""Wallets that issue, pay and approve assets on a chain of their own, in memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from consensus.assets import Assets, asset_id
from consensus.state import SpendContext
from consensus.types import Amount, AssetId, Block, Coin, Core, Definition, LockId, NewAsset, OutPoint, Transaction
from node.relay_policy import check_relay_policy, required_fee, virtual_size
from tests.support.assets import records_for
from tests.support.rules import lock
from tests.support.wallets import DURE, OTHER_WORDS, PARAMS, TERMS, Chain, lock_of, new_wallet, outside
from wallet.assets.making import AssetPayment, AssetWish
from wallet.cosigning import finalise
from wallet.ports import Outside
from wallet.psdt import Psdt, read_psdt, write_psdt
from wallet.psdt_joining import combine
from wallet.results import AssetBalance, AssetSums, Sent
from wallet.waiting import WaitingTransfer
from wallet.wallet import Wallet

HIM = lock(9)


class Town:
    """A wallet on a chain of its own, and whatever other wallets follow it."""

    def __init__(self, chain: Chain, *coins: int, world: Outside | None = None) -> None:
        self.chain = chain
        self.wallet = new_wallet(world)
        self.wallets = [self.wallet]
        gift = chain.gift(chain.base, [(lock_of(self.wallet.new_address()), each) for each in coins or (DURE, DURE)])
        self.tip: Block = chain.base
        self.mine(gift)

    def join(self) -> Wallet:
        other = new_wallet(outside(2), OTHER_WORDS)
        self.wallets.append(other)
        self.mine(self.chain.gift(self.tip, [(lock_of(other.new_address()), DURE)], which=1))
        return other

    def mine(self, *transactions: Transaction) -> None:
        self.tip = self.chain.mine(self.tip, transactions)
        for wallet in self.wallets:
            self.chain.follow(wallet, self.tip)

    def make(self, wish: AssetWish, wallet: Wallet | None = None, **more: Any) -> Sent:
        """Make a transaction, and hold it against the relay's rules; its fee is what the relay asks."""
        records = self.chain.builder.assets(self.tip)
        sent = (wallet or self.wallet).assets.make(wish, records, TERMS, **more)
        assert isinstance(sent, Sent), "it waits for somebody's approval"
        check_relay_policy(sent.transaction)
        owed = required_fee(1_000, virtual_size(len(sent.transaction.encoded), signatures_of(sent.transaction)))
        assert owed <= sent.fee <= owed + 700
        return sent

    def begin(self, wish: AssetWish, wallet: Wallet | None = None, **more: Any) -> WaitingTransfer:
        """Make a transaction that waits for somebody's approval."""
        records = self.chain.builder.assets(self.tip)
        made = (wallet or self.wallet).assets.make(wish, records, TERMS, **more)
        assert isinstance(made, WaitingTransfer)
        return made

    def issue(self, definition: Definition, wallet: Wallet | None = None) -> AssetId:
        sent = self.make(AssetWish(issuances=(NewAsset(definition),)), wallet)
        self.mine(sent.transaction)
        return asset_id(sent.transaction.core.inputs[0], 0, definition)

    @property
    def coins(self) -> Mapping[OutPoint, Coin]:
        return self.chain.builder.coins(self.tip)

    @property
    def context(self) -> SpendContext:
        """Of the next block."""
        return SpendContext(self.chain.builder.state(self.tip).height + 1, 0)

    def records(self, core: Core) -> Assets:
        """What the rules are handed of assets for a transaction of this core."""
        spent = [self.coins[outpoint] for outpoint in core.inputs]
        return records_for([Transaction(core, ())], spent, self.chain.builder.assets(self.tip))

    def sign(self, wallet: Wallet, psdt: Psdt, **how: Any) -> Psdt:
        """Let a wallet sign a file that it was sent: what it gets and gives are bytes."""
        received = read_psdt(PARAMS, write_psdt(psdt))
        known = {outpoint: self.coins[outpoint].output for outpoint in received.core.inputs}
        return read_psdt(PARAMS, write_psdt(wallet.cosigner.sign(received, known, self.records(psdt.core), **how).psdt))

    def finished(self, *psdts: Psdt) -> Transaction:
        """The transaction of files that are put together."""
        psdt = combine(psdts)
        return finalise(PARAMS, psdt, self.context, self.records(psdt.core))

    def held(self, asset: AssetId, wallet: Wallet | None = None) -> AssetBalance:
        (found,) = [each for each in (wallet or self.wallet).assets.balances() if each.asset == asset]
        return found


def signatures_of(tx: Transaction) -> int:
    """How many signatures a transaction holds; none of these holds a preimage."""
    return sum(len(witness.satisfactions) for witness in tx.witnesses)


def reopened_like(town: Town) -> Wallet:
    """A wallet of the same words that finds everything in the chain."""
    again = new_wallet(outside(7))
    town.chain.follow(again, town.tip)
    return again


def pay(asset: AssetId, amount: int, to: LockId = HIM, memo: bytes = b"") -> AssetWish:
    return AssetWish(payments=(AssetPayment(to, asset, Amount(amount)),), memo=memo)


def sums(confirmed: int = 0, change: int = 0, pending: int = 0, waiting: int = 0) -> AssetSums:
    return AssetSums(Amount(confirmed), Amount(change), Amount(pending), Amount(waiting))
