"""Values of the node as results of the API: what a person or a client is shown of a block, a transaction, a wallet."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from msgspec import UNSET, UnsetType

from consensus.address import encode_address
from consensus.assets import asset_id
from consensus.codec import display_hash
from consensus.params import Params
from consensus.policy_text import format_policy
from consensus.pow import target_from_bits
from consensus.slices import SLICE, Slices
from consensus.types import Attestation, Block, Header, NewAsset, OutPoint, Output, Reissue, Transaction
from consensus.validation import count_signatures
from node.block_index import BlockEntry
from node.chain import ChainManager
from node.relay_policy import virtual_size
from node.storage.chain_store import ChainStore
from rpc import schema
from rpc.encoding import Dure

EASIEST_BITS = 0x1D00FFFF
"""Difficulty 1, as in Bitcoin."""


def difficulty(bits: int) -> float:
    """Return how many times harder than Bitcoin's easiest target; for people, never for a rule."""
    return target_from_bits(EASIEST_BITS) / target_from_bits(bits)


def hex_work(work: int) -> str:
    """Return expected hashes as 64 hex digits."""
    return f"{work:064x}"


def target_hex(bits: int) -> str:
    """Return a target as 64 hex digits, the highest first."""
    return f"{target_from_bits(bits):064x}"


def confirmations(chain: ChainManager, entry: BlockEntry) -> int:
    """Return how deep a block lies, 1 for the tip; -1 if it is not on the best chain."""
    index = chain.index
    return index.tip.height - entry.height + 1 if index.on_best_chain(entry) else -1


def block_header(chain: ChainManager, entry: BlockEntry, header: Header, transactions: int) -> schema.BlockHeader:
    """Return getblockheader's view of a block.

    Args:
        transactions: how many it has; 0 if its body is not here.
    """
    return schema.BlockHeader(**_header_fields(chain, entry, header, transactions))


def block(
    chain: ChainManager, entry: BlockEntry, found: Block, tx: list[str | schema.TransactionDetail]
) -> schema.Block:
    """Return getblock's view of a block, verbosity 1 or 2.

    Args:
        tx: its transactions as they are to be shown; may be a `long_answers.array`.
    """
    fields = _header_fields(chain, entry, found.header, len(found.transactions))
    return schema.Block(**fields, size=len(found.encoded), tx=tx)


def _header_fields(chain: ChainManager, entry: BlockEntry, header: Header, transactions: int) -> dict[str, Any]:
    following = chain.index.at(entry.height + 1) if chain.index.on_best_chain(entry) else None
    return {
        "hash": display_hash(entry.hash),
        "confirmations": confirmations(chain, entry),
        "height": entry.height,
        "version": header.version,
        "versionHex": f"{header.version:08x}",
        "merkleroot": display_hash(header.merkle_root),
        "time": header.time,
        "mediantime": chain.state_of(entry).median_time,
        "nonce": header.nonce,
        "bits": f"{header.bits:08x}",
        "target": target_hex(header.bits),
        "difficulty": difficulty(header.bits),
        "chainwork": hex_work(entry.work),
        "nTx": transactions,
        "previousblockhash": display_hash(header.previous) if entry.parent is not None else UNSET,
        "nextblockhash": display_hash(following.hash) if following is not None else UNSET,
    }


# Transactions


def script_pub_key(params: Params, output: Output) -> schema.ScriptPubKey:
    """Return who may spend an output."""
    return schema.ScriptPubKey(hex=output.lock.hex(), address=encode_address(params, output.lock))


def transaction(
    params: Params, tx: Transaction, *, fee: int | None = None, **place: object
) -> schema.TransactionDetail:
    """Return a transaction as getrawtransaction shows it.

    Args:
        fee: in grain, where it is known.
        place: further fields of the result: in which block it is.
    """
    size = len(tx.encoded)
    return schema.TransactionDetail(
        txid=display_hash(tx.txid),
        hash=display_hash(tx.wtxid),
        version=tx.core.version,
        size=size,
        vsize=virtual_size(size, count_signatures(tx)),
        vin=[_input(tx, outpoint) for outpoint in tx.core.inputs],
        vout=[
            schema.TransactionOutput(n=n, scriptPubKey=script_pub_key(params, output), **carried(output))
            for n, output in enumerate(tx.core.outputs)
        ],
        issuances=[issuance_detail(tx, place, each) for place, each in enumerate(tx.core.issuances)],
        burns=[schema.BurnDetail(asset=burn.id.hex(), amount=burn.amount) for burn in tx.core.burns],
        memo=tx.core.memo.hex(),
        witnesses=[
            schema.WitnessDetail(
                policy=format_policy(witness.policy), satisfactions=[item.hex() for item in witness.satisfactions]
            )
            for witness in tx.witnesses
        ],
        hex=tx.encoded.hex(),
        fee=UNSET if fee is None else Dure(fee),
        **place,  # type: ignore[arg-type]
    )


def carried(output: Output) -> dict[str, Any]:
    """Return the fields that say what an output is worth: DURE, or an amount of an asset and no DURE."""
    if output.asset is None:
        return {"value": Dure(output.value)}
    return {"value": Dure(0), "asset": output.asset.hex(), "amount": output.value}


def issuance_detail(tx: Transaction, place: int, issuance: NewAsset | Reissue | Attestation) -> schema.IssuanceDetail:
    """Return what a transaction issues or attests at a place of its issuances."""
    match issuance:
        case NewAsset(definition):
            name = asset_id(tx.core.inputs[0], place, definition)
            return schema.IssuanceDetail(type="new", asset=name.hex(), amount=definition.first_amount)
        case Reissue(asset, amount):
            return schema.IssuanceDetail(type="reissue", asset=asset.hex(), amount=amount)
        case Attestation(asset, sequence, total):
            return schema.IssuanceDetail(type="attestation", asset=asset.hex(), sequence=sequence, total=total)


def _input(tx: Transaction, outpoint: OutPoint) -> schema.TransactionInput:
    if tx.is_coinbase:
        return schema.TransactionInput(coinbase=tx.core.memo.hex(), height=outpoint.index)
    return schema.TransactionInput(txid=display_hash(outpoint.txid), vout=outpoint.index)


def named_in_slices(found: Block) -> Slices[None]:
    """Have the ids of a block's transactions worked out, in slices: they are kept, so whoever asks next has them."""
    for start in range(0, len(found.transactions), SLICE):
        if start:
            yield
        for tx in found.transactions[start : start + SLICE]:
            _ = tx.txid


def block_transactions(
    params: Params, store: ChainStore, entry: BlockEntry, transactions: Sequence[Transaction]
) -> Iterator[schema.TransactionDetail]:
    """Yield a block's transactions in full, with their fees if the block ever was on the best chain.

    What is read of the store is read before this returns.
    """
    coins = SpentOutputs(store, entry, transactions)
    return (transaction(params, tx, fee=coins.fee(tx)) for tx in transactions)


class SpentOutputs:
    """The outputs that a block's transactions spend, as far as they are known."""

    def __init__(self, store: ChainStore, entry: BlockEntry, transactions: Iterable[Transaction]) -> None:
        """Read what the block's undo record knows."""
        self._created = {tx.txid: tx for tx in transactions}
        undo = store.read_undo(entry.height, entry.hash) if store.has_undo(entry.height, entry.hash) else None
        self._before = {} if undo is None else dict(undo.spent)

    def get(self, outpoint: OutPoint) -> Output | None:
        """Return an output: one from before the block, or one of its own."""
        coin = self._before.get(outpoint)
        if coin is not None:
            return coin.output
        tx = self._created.get(outpoint.txid)
        return tx.core.outputs[outpoint.index] if tx is not None and outpoint.index < len(tx.core.outputs) else None

    def fee(self, tx: Transaction) -> int | None:
        """Return the fee of a transaction of the block, in grain; None where it is not known, and for the coinbase."""
        spent = [self.get(outpoint) for outpoint in tx.core.inputs]
        if tx.is_coinbase or any(output is None for output in spent):
            return None
        paid_in = sum(output.value for output in spent if output is not None and output.asset is None)
        return paid_in - sum(output.value for output in tx.core.outputs if output.asset is None)


def optional(value: int | None) -> int | UnsetType:
    """Return a field that is left out where there is no value."""
    return UNSET if value is None else value


def optional_amount(grain: int | None) -> Dure | UnsetType:
    """Return an amount that is left out where there is none."""
    return UNSET if grain is None else Dure(grain)
