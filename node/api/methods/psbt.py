"""Transactions that several sign: files that pass from wallet to wallet, here as base64.

The methods have Bitcoin Core's names, because they do the same and their clients carry the text without looking
into it; what is in it is this project's own (docs/psdt.md).
"""
# ruff: noqa: ARG001 (parameters that mean nothing here are taken for the sake of Bitcoin Core's clients)

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import Annotated

import msgspec
from msgspec import UNSET, Meta

from consensus.assets import Approval
from consensus.codec import display_hash
from consensus.errors import ConsensusError, NotYet, Rule
from consensus.types import (
    MAX_BURNS,
    MAX_INPUTS,
    MAX_MEMO,
    MAX_OUTPUTS,
    Amount,
    AssetId,
    Burn,
    Coin,
    Core,
    OutPoint,
    Output,
    Transaction,
)
from node.api.method import Area, method
from node.api.methods.transactions import read_address, refuse
from node.api.methods.wallet import current_wallet, refuse_wallet
from node.api.methods.wallet_coins import CoinName
from node.api.parameters import AddressText, LockHex, Units, Worth, read_base64
from node.api.policy_views import context_of
from node.api.psbt_views import PsbtView, asset_records, known_coins, known_outputs
from node.api.services import Services
from node.relay_policy import PolicyError
from rpc import schema
from rpc.errors import ErrorCode, RpcError
from wallet.assets.flows import approvals_of, fetch_records
from wallet.cosigning import IncompleteError, finalise
from wallet.errors import WalletError
from wallet.psdt import MAX_FILE_SIZE, PartName, Psdt, PsdtError, SpentCoin, new_psdt, read_psdt, spent_coin, write_psdt
from wallet.psdt_joining import combine
from wallet.results import Sent

MAX_COMBINED = 64
"""Files at once: each may be of a megabyte."""
MAX_BASE64 = 4 * -(-MAX_FILE_SIZE // 3)


class AssetBurn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a transaction destroys of an asset or an authority, as JSON names it."""

    asset: LockHex
    amount: Units


PsbtText = Annotated[str, Meta(max_length=MAX_BASE64)]
PsbtOutputs = Annotated[list[dict[AddressText, Worth]], Meta(min_length=1, max_length=MAX_OUTPUTS)]


def psbt_text(psdt: Psdt) -> str:
    """Return a file as base64.

    Raises:
        RpcError: it would be too large.
    """
    try:
        return b64encode(write_psdt(psdt)).decode("ascii")
    except PsdtError as error:
        raise RpcError(ErrorCode.INVALID_PARAMETER, str(error)) from None


def read_psbt(services: Services, text: str) -> Psdt:
    """Read a file in base64.

    Raises:
        RpcError: it is none, or breaks a rule that is named.
    """
    raw = read_base64(text, "TX decode failed: this is not base64")
    try:
        return read_psdt(services.params, raw)
    except PsdtError as error:
        raise RpcError(ErrorCode.DESERIALIZATION_ERROR, f"TX decode failed: {error}") from None


def _finished(services: Services, psdt: Psdt) -> Transaction | None:
    """Return the finished transaction for the next block, or None if it lacks anything."""
    try:
        return finalise(services.params, psdt, context_of(services), asset_records(services, psdt))
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
    burns: Annotated[list[AssetBurn], Meta(max_length=MAX_BURNS)] | None = None,
) -> str:
    """Make a partially signed transaction, not signed yet, of coins that this node knows. Returns it as base64.

    Args:
        inputs: an array of objects with txid and vout.
        outputs: an array of objects of address and DURE, in their order; in place of DURE an object of asset, its id,
            and amount, in smallest units.
        locktime: not used: time lives in policies.
        replaceable: not used.
        memo: in hex.
        burns: an array of objects of asset (or an authority) and amount, in smallest units.
    """
    outpoints = [coin.outpoint for coin in inputs]
    known = known_coins(services, outpoints)
    for outpoint in outpoints:
        if outpoint not in known:
            name = f"{display_hash(outpoint.txid)}:{outpoint.index}"
            raise RpcError(ErrorCode.INVALID_PARAMETER, f"Input not found or already spent: {name}")
    paid = [
        Output(worth.amount, read_address(services.params, address), worth.asset)
        for each in outputs
        for address, worth in each.items()
    ]
    burned = sorted((AssetId(bytes(burn.asset)), burn.amount) for burn in burns or ())
    core = Core(
        1,
        tuple(outpoints),
        tuple(paid),
        (),
        tuple([Burn(asset, Amount(amount)) for asset, amount in burned]),
        _memo(memo),
    )
    return unsigned_psbt(services, core, known)


def unsigned_psbt(services: Services, core: Core, known: Mapping[OutPoint, Coin | Output]) -> str:
    """Return a file of a transaction that nobody has signed, with the policies that the wallet knows.

    Args:
        known: the coins that it spends.

    Raises:
        RpcError: it is not in balance, or breaks another rule of assets.
    """
    coins = {outpoint: known[outpoint] for outpoint in core.inputs}
    try:
        psdt = new_psdt(services.params, core, tuple(map(_spent, coins.values())), _approvals(services, core, coins))
    except PsdtError as error:
        raise RpcError(ErrorCode.INVALID_PARAMETER, str(error)) from None
    if services.wallet is not None:
        psdt = services.wallet.wallet.cosigner.update(psdt)
    return psbt_text(psdt)


def _approvals(services: Services, core: Core, coins: Mapping[OutPoint, Coin | Output]) -> Sequence[Approval]:
    """Return the approvals that a core takes; none of one that is not in balance, which is refused by that name."""
    spent = [coin.output if isinstance(coin, Coin) else coin for coin in coins.values()]
    records = fetch_records(core, spent, services.chain.get_assets)
    try:
        return approvals_of(core, spent, records)
    except ConsensusError as error:
        if error.rule is Rule.ASSET_CONSERVATION:
            return ()
        raise RpcError(ErrorCode.INVALID_PARAMETER, f"The transaction would not be valid: {error}") from None


def _memo(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise RpcError(ErrorCode.DESERIALIZATION_ERROR, "memo is not hex") from None


def _spent(coin: Coin | Output) -> SpentCoin:
    return spent_coin(coin) if isinstance(coin, Coin) else SpentCoin(coin, None, False)


@method(Area.RAW_TRANSACTIONS, reads=True)
async def decodepsbt(services: Services, psbt: PsbtText) -> schema.Psbt:
    """Return what a partially signed transaction says, and what this node and its wallet know of it.

    Args:
        psbt: base64.
    """
    wallet = None if services.wallet is None else await current_wallet(services)
    psdt = read_psbt(services, psbt)
    if wallet is not None:
        psdt = wallet.cosigner.update(psdt)
    return PsbtView(services, wallet, psdt).psbt()


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
    approve: Annotated[list[LockHex], Meta(max_length=MAX_INPUTS)] | None = None,
) -> schema.ProcessedPsbt:
    """Add what this wallet can to a partially signed transaction: policies that it knows, and signatures.

    It is held against the chain first, and a file that lies about a coin is refused. Without `only` and `approve` all
    is signed that this wallet has keys for; with either nothing but what they name.

    Args:
        psbt: base64.
        sign: whether to sign too; else only policies are added.
        sighashtype: not used: a signature always commits to everything.
        bip32derivs: not used.
        finalize: whether to return the finished transaction as hex, if it is complete.
        only: addresses: sign for what lies there. A signature for one opens no other.
        secrets: preimages of hash locks, 32 bytes each in hex; they are put into the file.
        force: true if a fee beyond the wallet's caps is meant.
        approve: assets: approve, as the controller or auditor of each. It opens no lock.
    """
    wallet = await current_wallet(services)
    psdt = read_psbt(services, psbt)
    chosen = _chosen(services, psdt, only, approve)
    signed: tuple[bytes, ...] = ()
    try:
        if sign:
            known = known_outputs(services, psdt.core.inputs)
            shown = [bytes(secret) for secret in secrets or []]
            records = asset_records(services, psdt)
            psdt, signed = wallet.cosigner.sign(psdt, known, records, only=chosen, secrets=shown, force=force)
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


def _chosen(
    services: Services, psdt: Psdt, only: list[AddressText] | None, approve: list[LockHex] | None
) -> list[PartName] | None:
    """Return the parts to sign for: None for all."""
    if only is None and approve is None:
        return None
    chosen = [PartName(read_address(services.params, address)) for address in only or []]
    named = {bytes(asset) for asset in approve or []}
    return chosen + [part.name for part in psdt.parts if part.asset is not None and bytes(part.asset) in named]


@method(Area.RAW_TRANSACTIONS)
async def combinepsbt(
    services: Services, txs: Annotated[list[PsbtText], Meta(min_length=1, max_length=MAX_COMBINED)]
) -> str:
    """Put several files of the same transaction together: return one with all that is in any of them.

    Args:
        txs: an array of base64.
    """
    try:
        return psbt_text(combine([read_psbt(services, text) for text in txs]))
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
    psdt = read_psbt(services, psbt)
    try:
        tx = finalise(services.params, psdt, context_of(services), asset_records(services, psdt))
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
