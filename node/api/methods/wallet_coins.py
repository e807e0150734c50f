"""The wallet's coins, one by one: list them, and set some aside."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import UNSET, Meta

from consensus.address import encode_address
from consensus.codec import display_hash
from consensus.slices import Slices
from consensus.types import OutPoint, TxId
from node.api.long_answers import array
from node.api.method import Area, method
from node.api.methods.transactions import read_address
from node.api.methods.wallet import current_wallet, service_of
from node.api.parameters import AddressText, HashHex
from node.api.services import Services
from rpc import schema
from rpc.encoding import Dure
from rpc.errors import ErrorCode, RpcError
from wallet.errors import WalletError
from wallet.results import ListedCoin
from wallet.wallet import Wallet

MAX_CONFIRMATIONS = 9_999_999
"""As in Bitcoin Core: more than there will ever be."""

COINS_AT_ONCE = 50
"""Coins that are looked at in a slice: what is in no block is looked at with all that it descends from."""
Confirmations = Annotated[int, Meta(ge=0, le=MAX_CONFIRMATIONS)]


class CoinName(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An output, as JSON names it."""

    txid: HashHex
    vout: Annotated[int, Meta(ge=0, lt=2**32)]

    @property
    def outpoint(self) -> OutPoint:
        """The same, as the rules name it."""
        # Plain bytes: what is encoded knows no type of the API.
        return OutPoint(TxId(bytes(self.txid)), self.vout)


class CoinFilter(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which coins to list: of what worth, and how many."""

    minimumAmount: Dure = Dure(0)  # noqa: N815 - Bitcoin Core's name, as are the others
    maximumAmount: Dure | None = None  # noqa: N815
    maximumCount: Annotated[int, Meta(ge=0)] = 0  # noqa: N815
    minimumSumAmount: Dure | None = None  # noqa: N815
    include_immature_coinbase: bool = False


CoinNames = Annotated[list[CoinName], Meta(max_length=10_000)]


@method(Area.WALLET, needs_wallet=True, long=True)
async def listunspent(
    services: Services,
    minconf: Confirmations = 1,
    maxconf: Confirmations = MAX_CONFIRMATIONS,
    addresses: Annotated[list[AddressText], Meta(max_length=10_000)] | None = None,
    include_unsafe: bool = True,
    query_options: CoinFilter | None = None,
) -> list[schema.UnspentCoin]:
    """Return the wallet's coins that no transaction has spent. Those that are set aside are left out.

    Args:
        minconf: the least depth in the chain; 0 for coins in no block too.
        maxconf: the largest depth.
        addresses: only coins at these.
        include_unsafe: whether to list what others paid and no block holds yet.
        query_options: an object with minimumAmount, maximumAmount, maximumCount (0 for all), minimumSumAmount (enough
            coins to reach it), include_immature_coinbase.
    """
    wanted = None if addresses is None else {read_address(services.params, address) for address in addresses}
    only = query_options or CoinFilter()

    def find(wallet: Wallet) -> Slices[list[tuple[ListedCoin, int]]]:
        listed: list[tuple[ListedCoin, int]] = []
        total = 0
        for place, coin in enumerate(wallet.coins.unspent()):
            if place % COINS_AT_ONCE == COINS_AT_ONCE - 1:
                yield
            depth = wallet.coins.confirmations(coin)
            if not minconf <= depth <= maxconf or coin.aside or (wanted is not None and coin.lock not in wanted):
                continue
            if _is_wanted(coin, only, include_unsafe=include_unsafe):
                listed.append((coin, depth))
                total += coin.value
            if only.maximumCount and len(listed) >= only.maximumCount:
                break
            if only.minimumSumAmount is not None and total >= only.minimumSumAmount.grain:
                break
        return listed

    service = service_of(services)
    listed = await service.read(find)
    return array(_coin(services, service.wallet, coin, depth) for coin, depth in listed)


def _is_wanted(coin: ListedCoin, only: CoinFilter, *, include_unsafe: bool) -> bool:
    return (
        only.minimumAmount.grain <= coin.value
        and (only.maximumAmount is None or coin.value <= only.maximumAmount.grain)
        and (coin.mature or only.include_immature_coinbase)
        and (coin.safe or include_unsafe)
    )


def _coin(services: Services, wallet: Wallet, coin: ListedCoin, depth: int) -> schema.UnspentCoin:
    return schema.UnspentCoin(
        txid=display_hash(coin.outpoint.txid),
        vout=coin.outpoint.index,
        address=encode_address(services.params, coin.lock),
        label=wallet.addresses.facts(coin.lock).label,
        scriptPubKey=coin.lock.hex(),
        amount=Dure(coin.value),
        confirmations=depth,
        generated=True if coin.coinbase else UNSET,
        spendable=coin.spendable,
        solvable=True,
        safe=coin.safe,
    )


@method(Area.WALLET, needs_wallet=True)
async def lockunspent(
    services: Services, unlock: bool, transactions: CoinNames | None = None, persistent: bool = False
) -> bool:
    """Set coins aside, or take them back: no payment uses a coin that is set aside, and balances show it apart.

    All of the coins that are named, or none.

    Args:
        unlock: true to take back, false to set aside.
        transactions: an array of objects with txid and vout; to take back, null for all that are set aside.
        persistent: whether to set aside for good, not only until the node stops.
    """
    await current_wallet(services)
    ask = service_of(services).ask
    outpoints = None if transactions is None else [name.outpoint for name in transactions]
    try:
        if unlock:
            await ask(lambda wallet: wallet.coins.take_back(outpoints))
        elif outpoints is not None:
            await ask(lambda wallet: wallet.coins.set_aside(outpoints, for_good=persistent))
    except WalletError as error:
        raise RpcError(ErrorCode.INVALID_PARAMETER, f"Invalid parameter, {error}") from None
    return True


@method(Area.WALLET, needs_wallet=True)
async def listlockunspent(services: Services) -> list[schema.CoinName]:
    """Return the coins that are set aside."""
    wallet = await current_wallet(services)
    return [schema.CoinName(txid=display_hash(outpoint.txid), vout=outpoint.index) for outpoint in wallet.coins.aside()]


METHODS = (listunspent, lockunspent, listlockunspent)
