"""Transactions that several sign: files that pass from wallet to wallet, here as base64.

The methods have Bitcoin Core's names, because they do the same and their clients carry the text without looking
into it; what is in it is this project's own (docs/psdt.md).
"""
# ruff: noqa: ARG001 (parameters that mean nothing here are taken for the sake of Bitcoin Core's clients)

from __future__ import annotations

import binascii
from base64 import b64decode, b64encode
from typing import Annotated

from msgspec import UNSET, Meta

from consensus.codec import display_hash
from consensus.errors import ConsensusError, NotYet
from consensus.types import MAX_INPUTS, MAX_MEMO, MAX_OUTPUTS, Amount, Coin, Core, Output, Transaction
from node.api.method import Area, method
from node.api.methods.transactions import read_address, refuse
from node.api.methods.wallet import current_wallet, refuse_wallet
from node.api.methods.wallet_coins import CoinName
from node.api.parameters import AddressText, LockHex
from node.api.policy_views import PolicyView, context_of, known_coins, known_outputs
from node.api.services import Services
from node.relay_policy import PolicyError
from rpc import schema
from rpc.encoding import Dure
from rpc.errors import ErrorCode, RpcError
from wallet.cosigning import IncompleteError, finalise
from wallet.errors import WalletError
from wallet.psdt import MAX_FILE_SIZE, Psdt, PsdtError, SpentCoin, combine, new_psdt, read_psdt, write_psdt
from wallet.results import Sent

MAX_COMBINED = 64
"""Files at once: each may be of a megabyte."""
MAX_BASE64 = 4 * -(-MAX_FILE_SIZE // 3)

PsbtText = Annotated[str, Meta(max_length=MAX_BASE64)]
PsbtOutputs = Annotated[list[dict[AddressText, Dure]], Meta(min_length=1, max_length=MAX_OUTPUTS)]


def psbt_text(psdt: Psdt) -> str:
    """Return a file as base64.

    Raises:
        RpcError: it would be too large.
    """
    try:
        return b64encode(write_psdt(psdt)).decode("ascii")
    except PsdtError as error:
        raise RpcError(ErrorCode.INVALID_PARAMETER, str(error)) from None


def _read(services: Services, text: str) -> Psdt:
    try:
        return read_psdt(services.params, b64decode(text, validate=True))
    except (binascii.Error, ValueError):
        raise RpcError(ErrorCode.DESERIALIZATION_ERROR, "TX decode failed: this is not base64") from None
    except PsdtError as error:
        raise RpcError(ErrorCode.DESERIALIZATION_ERROR, f"TX decode failed: {error}") from None


def _finished(services: Services, psdt: Psdt) -> Transaction | None:
    """Return the finished transaction for the next block, or None if it lacks anything."""
    try:
        return finalise(services.params, psdt, context_of(services))
    except (IncompleteError, PsdtError):
        return None


@method(Area.RAW_TRANSACTIONS)
async def createpsbt(
    services: Services,
    inputs: Annotated[list[CoinName], Meta(min_length=1, max_length=MAX_INPUTS)],
    outputs: PsbtOutputs,
    locktime: int = 0,
    replaceable: bool | None = None,
    memo: Annotated[str, Meta(max_length=2 * MAX_MEMO)] = "",
) -> str:
    """Make a partially signed transaction, not signed yet, of coins that this node knows. Returns it as base64.

    Args:
        inputs: an array of objects with txid and vout.
        outputs: an array of objects of address and DURE, in their order.
        locktime: not used: time lives in policies.
        replaceable: not used.
        memo: in hex.
    """
    outpoints = [coin.outpoint for coin in inputs]
    known = known_coins(services, outpoints)
    for outpoint in outpoints:
        if outpoint not in known:
            name = f"{display_hash(outpoint.txid)}:{outpoint.index}"
            raise RpcError(ErrorCode.INVALID_PARAMETER, f"Input not found or already spent: {name}")
    paid = [
        Output(_amount(amount), read_address(services.params, address), None)
        for each in outputs
        for address, amount in each.items()
    ]
    core = Core(1, tuple(outpoints), tuple(paid), (), (), _memo(memo))
    coins = tuple([_spent(known[outpoint]) for outpoint in outpoints])
    try:
        psdt = new_psdt(services.params, core, coins)
    except PsdtError as error:
        raise RpcError(ErrorCode.INVALID_PARAMETER, str(error)) from None
    if services.wallet is not None:
        psdt = services.wallet.wallet.cosigner.update(psdt)
    return psbt_text(psdt)


def _amount(amount: Dure) -> Amount:
    if amount.grain < 1:
        raise RpcError(ErrorCode.TYPE_ERROR, "Invalid amount: an output is worth something")
    return Amount(amount.grain)


def _memo(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise RpcError(ErrorCode.DESERIALIZATION_ERROR, "memo is not hex") from None


def _spent(coin: Coin | Output) -> SpentCoin:
    if isinstance(coin, Coin):
        return SpentCoin(coin.output, coin.height, coin.coinbase)
    return SpentCoin(coin, None, False)


@method(Area.RAW_TRANSACTIONS, reads=True)
async def decodepsbt(services: Services, psbt: PsbtText) -> schema.Psbt:
    """Return what a partially signed transaction says, and what this node and its wallet know of it.

    Args:
        psbt: base64.
    """
    wallet = None if services.wallet is None else await current_wallet(services)
    psdt = _read(services, psbt)
    if wallet is not None:
        psdt = wallet.cosigner.update(psdt)
    return PolicyView(services, wallet).psbt(psdt)


@method(Area.WALLET, needs_wallet=True)
async def walletprocesspsbt(
    services: Services,
    psbt: PsbtText,
    sign: bool = True,
    sighashtype: str | None = None,
    bip32derivs: bool | None = None,
    finalize: bool = True,
    only: Annotated[list[AddressText], Meta(max_length=MAX_INPUTS)] | None = None,
    secrets: Annotated[list[LockHex], Meta(max_length=64)] | None = None,
    force: bool = False,
) -> schema.ProcessedPsbt:
    """Add what this wallet can to a partially signed transaction: policies that it knows, and signatures.

    It is held against the chain first, and a file that lies about a coin is refused.

    Args:
        psbt: base64.
        sign: whether to sign too; else only policies are added.
        sighashtype: not used: a signature always commits to everything.
        bip32derivs: not used.
        finalize: whether to return the finished transaction as hex, if it is complete.
        only: addresses: sign for what lies there and nothing else. A signature for one opens no other.
        secrets: preimages of hash locks, 32 bytes each in hex; they are put into the file.
        force: true if a fee beyond the wallet's caps is meant.
    """
    wallet = await current_wallet(services)
    psdt = _read(services, psbt)
    locks = None if only is None else {read_address(services.params, address) for address in only}
    signed: tuple[bytes, ...] = ()
    try:
        if sign:
            known = known_outputs(services, psdt.core.inputs)
            shown = [bytes(secret) for secret in secrets or []]
            psdt, signed = wallet.cosigner.sign(psdt, known, only=locks, secrets=shown, force=force)
        else:
            psdt = wallet.cosigner.update(psdt)
    except PsdtError as error:
        raise RpcError(ErrorCode.VERIFY_ERROR, str(error)) from None
    except WalletError as error:
        refuse_wallet(error)
    tx = _finished(services, psdt)
    return schema.ProcessedPsbt(
        psbt=psbt_text(psdt),
        complete=tx is not None,
        signed=[key.hex() for key in signed],
        hex=tx.encoded.hex() if tx is not None and finalize else UNSET,
    )


@method(Area.RAW_TRANSACTIONS)
async def combinepsbt(
    services: Services, txs: Annotated[list[PsbtText], Meta(min_length=1, max_length=MAX_COMBINED)]
) -> str:
    """Put several files of the same transaction together: return one with all that is in any of them.

    Args:
        txs: an array of base64.
    """
    try:
        return psbt_text(combine([_read(services, text) for text in txs]))
    except PsdtError as error:
        raise RpcError(ErrorCode.INVALID_PARAMETER, str(error)) from None


@method(Area.RAW_TRANSACTIONS)
async def finalizepsbt(
    services: Services, psbt: PsbtText, extract: bool = True, send: bool = False
) -> schema.FinalizedPsbt:
    """Finish a partially signed transaction that lacks nothing any more, for the next block.

    Args:
        psbt: base64.
        extract: not used: what is finished is returned as hex.
        send: whether to put it into the mempool and tell peers too; if it spends what this wallet watches, the
            wallet keeps it, and offers it until it is in a block.
    """
    psdt = _read(services, psbt)
    try:
        tx = finalise(services.params, psdt, context_of(services))
    except IncompleteError as error:
        return schema.FinalizedPsbt(psbt=psbt, complete=False, missing=str(error))
    except PsdtError as error:
        raise RpcError(ErrorCode.VERIFY_ERROR, str(error)) from None
    if send:
        await _send(services, tx, psdt)
    return schema.FinalizedPsbt(hex=tx.encoded.hex(), txid=display_hash(tx.txid), complete=True)


async def _send(services: Services, tx: Transaction, psdt: Psdt) -> None:
    if tx.txid in services.mempool:
        services.node.announce_again(tx)
        return
    try:
        if services.wallet is not None and await services.wallet.ask(lambda wallet: wallet.policies.record(tx)):
            await services.wallet.hand_over(Sent(tx, Amount(psdt.fee), Amount(0), 0))
        else:
            await services.node.submit_transaction(tx)
    except (ConsensusError, NotYet, PolicyError) as error:
        refuse(error)


METHODS = (createpsbt, decodepsbt, walletprocesspsbt, combinepsbt, finalizepsbt)
