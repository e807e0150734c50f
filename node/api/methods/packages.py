"""Several transactions at once, transactions on trial, and what to pay."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from msgspec import UNSET, Meta

from consensus.codec import display_hash
from consensus.types import Transaction
from node.admission import Proposal
from node.api.method import Area, method
from node.api.methods.transactions import DEFAULT_MAX_FEE_RATE, read_transaction
from node.api.parameters import ConfTarget, EstimateMode, Hex
from node.api.services import Services
from node.fee_history import estimate_fee
from node.packages import PackageOutcome, Refused
from node.relay_policy import MAX_PACKAGE, PolicyError, Refusal, required_fee
from rpc import schema
from rpc.encoding import Dure
from rpc.errors import ErrorCode, RpcError

RawTransactions = Annotated[list[Hex], Meta(min_length=1, max_length=MAX_PACKAGE)]


@method(Area.RAW_TRANSACTIONS, reads=True)
async def testmempoolaccept(
    services: Services,
    rawtxs: RawTransactions,
    maxfeerate: Dure = DEFAULT_MAX_FEE_RATE,  # noqa: PT028 - the name is Bitcoin Core's
) -> list[schema.MempoolAccept]:
    """Tell whether transactions would be taken now, one after the other; nothing is changed, and no peer is told.

    Each must pay for itself: a parent that a child pays for is for submitpackage.

    Args:
        rawtxs: encodings, 1 to 25, each after its parents.
        maxfeerate: DURE per 1,000 virtual bytes; more is refused, 0 is no bound.
    """
    txs = [read_transaction(raw) for raw in rawtxs]
    try:
        found, error = await services.mempool.preview(txs)
    except PolicyError as bad:
        return [_ids(tx, package_error=str(bad)) for tx in txs]
    for place, proposal in enumerate(found):
        if maxfeerate.grain and proposal.fee > required_fee(maxfeerate.grain, proposal.virtual_size):
            found, error = found[:place], PolicyError(Refusal.MAX_FEE, fee=proposal.fee)
            break
    results = [_allowed(tx, proposal) for tx, proposal in zip(txs, found, strict=False)]
    for tx in txs[len(found) :]:
        results.append(_ids(tx) if error is None else _rejected(tx, error))
        error = None
    return results


def _ids(tx: Transaction, package_error: str | None = None) -> schema.MempoolAccept:
    return schema.MempoolAccept(
        txid=display_hash(tx.txid),
        wtxid=display_hash(tx.wtxid),
        package_error=UNSET if package_error is None else package_error,
    )


def _allowed(tx: Transaction, proposal: Proposal) -> schema.MempoolAccept:
    return schema.MempoolAccept(
        txid=display_hash(tx.txid),
        wtxid=display_hash(tx.wtxid),
        allowed=True,
        vsize=proposal.virtual_size,
        fees=_fees(proposal.fee, proposal.fee, proposal.virtual_size, (tx,)),
    )


def _rejected(tx: Transaction, error: Refused) -> schema.MempoolAccept:
    rule = getattr(error, "rule", None) or getattr(error, "reason", "")
    return schema.MempoolAccept(
        txid=display_hash(tx.txid),
        wtxid=display_hash(tx.wtxid),
        allowed=False,
        reject_reason=str(rule),
        reject_details=str(error),
    )


def _fees(fee: int, total: int, size: int, together: Sequence[Transaction]) -> schema.AcceptedFees:
    return schema.AcceptedFees(
        base=Dure(fee),
        effective_feerate=Dure(total * 1_000 // size),
        effective_includes=[display_hash(tx.wtxid) for tx in together],
    )


@method(Area.RAW_TRANSACTIONS)
async def submitpackage(
    services: Services,
    package: RawTransactions,
    maxfeerate: Dure = DEFAULT_MAX_FEE_RATE,
) -> schema.SubmittedPackage:
    """Put a transaction and its parents into the mempool, and tell peers of those that are new.

    Each is tried by itself; parents that pay too little enter with the child if it pays for them. A package may replace
    what spends the same coins: docs/mempool.md has the rules.

    Args:
        package: encodings, 1 to 25, each after its parents; all but the last are parents of the last.
        maxfeerate: DURE per 1,000 virtual bytes; more is refused, 0 is no bound.
    """
    txs = [read_transaction(raw) for raw in package]
    try:
        outcome = await services.node.submit_package(txs, maxfeerate.grain)
    except PolicyError as error:
        raise RpcError(ErrorCode.VERIFY_ERROR, str(error)) from None
    return schema.SubmittedPackage(
        package_msg="success" if not outcome.refused else "transaction failed",
        tx_results={display_hash(tx.wtxid): _package_result(tx, outcome) for tx in txs},
        replaced_transactions=[display_hash(txid) for txid in outcome.replaced],
    )


def _package_result(tx: Transaction, outcome: PackageOutcome) -> schema.PackageTransaction:
    entry = outcome.entered.get(tx.wtxid)
    if entry is None:
        return schema.PackageTransaction(txid=display_hash(tx.txid), error=str(outcome.refused[tx.wtxid]))
    together = outcome.together.get(tx.wtxid, (entry,))
    return schema.PackageTransaction(
        txid=display_hash(tx.txid),
        other_wtxid=UNSET if entry.tx.wtxid == tx.wtxid else display_hash(entry.tx.wtxid),
        vsize=entry.virtual_size,
        fees=_fees(
            entry.fee,
            sum(each.fee for each in together),
            sum(each.virtual_size for each in together),
            [each.tx for each in together],
        ),
    )


@method(Area.UTIL, reads=True)
async def estimatesmartfee(
    services: Services,
    conf_target: ConfTarget,
    estimate_mode: EstimateMode = "economical",
) -> schema.FeeEstimate:
    """Tell what fee rate gets a payment into one of the next blocks.

    It always answers: from what waits now, and from how payments fared that this node has seen, as far as it has.

    Args:
        conf_target: within how many blocks; 1 is the next.
        estimate_mode: economical for the lower of the two, conservative for the higher.
    """
    conservative = estimate_mode.lower() == "conservative"
    found = estimate_fee(services.node.fees, services.mempool, conf_target, conservative=conservative)
    return schema.FeeEstimate(feerate=Dure(found.rate), blocks=found.blocks, basis=found.basis)


METHODS = (testmempoolaccept, submitpackage, estimatesmartfee)
