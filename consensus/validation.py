"""The checks, at three depths: a value alone, a header with its parent, a transaction with its coins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from consensus.assets import Approval, check_issuances
from consensus.codec import MAX_BLOCK_SIZE, approval_digest, lock_digest, spend_message
from consensus.errors import ConsensusError, Rule
from consensus.merkle import merkle_root_in_slices
from consensus.params import Params
from consensus.pow import Anchor, check_proof_of_work, next_bits, work_of_bits
from consensus.signatures import SignatureCheck
from consensus.sizes import SIGNATURE_SIZE
from consensus.slices import SLICE, Slices, whole
from consensus.spend_policy import Leaf, check_witness, policy_id
from consensus.state import MEDIAN_SPAN, ChainState, SpendContext
from consensus.types import (
    MAX_INTEGER,
    MAX_TRANSACTION_SIZE,
    NULL_TXID,
    AfterHeight,
    AfterTime,
    Amount,
    Block,
    Coin,
    Header,
    Key,
    LockId,
    Older,
    OutPoint,
    Output,
    Pays,
    Transaction,
    Witness,
    WTxId,
)

MAX_BLOCK_SIGNATURES = 20_000
"""64-byte satisfactions in a block, repeats counted: 10 s of one slow core."""
NODE_SIZE = 64
"""Bytes of an inner Merkle node; no transaction may have as many (BIP 54)."""

# Alone


def check_transaction(params: Params, tx: Transaction) -> None:
    """Check all that can be said of a transaction, other than a coinbase, without its coins.

    Raises:
        ConsensusError: with the rule that it breaks.
    """
    _check_size(tx)
    _check_core(params, tx)
    core = tx.core
    if not core.inputs:
        raise ConsensusError(Rule.NO_INPUTS)
    if not core.outputs:
        raise ConsensusError(Rule.NO_OUTPUTS)
    if len(core.inputs) > 1 and len(set(core.inputs)) != len(core.inputs):
        raise ConsensusError(Rule.DUPLICATE_INPUT)
    for outpoint in core.inputs:
        if outpoint.txid == NULL_TXID:
            raise ConsensusError(Rule.NULL_INPUT)


def _check_size(tx: Transaction) -> None:
    size = len(tx.encoded)
    if size > MAX_TRANSACTION_SIZE:
        raise ConsensusError(Rule.TX_SIZE, size=size, limit=MAX_TRANSACTION_SIZE)
    if size == NODE_SIZE:
        raise ConsensusError(Rule.TX_SIZE_64)


def _check_core(params: Params, tx: Transaction) -> None:
    core = tx.core
    if core.version != 1:
        raise ConsensusError(Rule.TX_VERSION, version=core.version)
    if core.issuances or core.burns:
        check_issuances(core)
    total = 0
    for output in core.outputs:
        if output.asset is None:
            total = _add(params, total, output.value)
        elif not 1 <= output.value <= MAX_INTEGER:
            raise ConsensusError(Rule.VALUE_RANGE, value=output.value, limit=MAX_INTEGER)


def _add(params: Params, total: int, value: int) -> int:
    """Add DURE, refusing a value below 1 and a value or sum that no chain of this network can hold."""
    total += value
    if value < 1 or value > params.total_supply or total > params.total_supply:
        raise ConsensusError(Rule.VALUE_RANGE, value=value, total=total, limit=params.total_supply)
    return total


def _check_coinbase(params: Params, tx: Transaction) -> None:
    core = tx.core
    if core.issuances or core.burns or tx.witnesses or any(output.asset is not None for output in core.outputs):
        raise ConsensusError(Rule.COINBASE_SHAPE)
    _check_core(params, tx)


def count_signatures(tx: Transaction) -> int:
    """Return how many signatures count against a block's bound: satisfactions of 64 bytes."""
    signatures = 0
    for witness in tx.witnesses:
        for satisfaction in witness.satisfactions:
            signatures += len(satisfaction) == SIGNATURE_SIZE
    return signatures


def check_body(block: Block) -> None:
    """Check that the body is the one that its header commits to.

    Raises:
        ConsensusError: one of `BODY_RULES`, which condemns the sender and never the header.
    """
    whole(check_body_in_slices(block))


def check_body_in_slices(block: Block) -> Slices[None]:
    """Do `check_body`, in slices."""
    if len(block.encoded) > MAX_BLOCK_SIZE:
        raise ConsensusError(Rule.BLOCK_SIZE, size=len(block.encoded), limit=MAX_BLOCK_SIZE)
    if not block.transactions:
        raise ConsensusError(Rule.NO_TRANSACTIONS)
    wtxids: list[WTxId] = []
    for start in range(0, len(block.transactions), SLICE):
        if start:
            yield
        part = block.transactions[start : start + SLICE]
        for tx in part:
            if len(tx.encoded) == NODE_SIZE:
                raise ConsensusError(Rule.TX_SIZE_64, txid=tx.txid[::-1])
        wtxids += [tx.wtxid for tx in part]
    if (yield from merkle_root_in_slices(wtxids)) != block.header.merkle_root:
        raise ConsensusError(Rule.MERKLE_ROOT, block=block.hash[::-1])


def check_block(params: Params, block: Block) -> None:
    """Check all that can be said of a block without its parent and without coins.

    The header is not looked at, but for the Merkle root: `check_header` judges it.

    Raises:
        ConsensusError: first those of `check_body`, then any rule that makes the block invalid.
    """
    whole(check_block_in_slices(params, block))


def check_block_in_slices(params: Params, block: Block) -> Slices[None]:
    """Do `check_block`, in slices."""
    yield from check_body_in_slices(block)
    coinbase, *others = block.transactions
    if not coinbase.is_coinbase or [None for tx in others if tx.is_coinbase]:
        raise ConsensusError(Rule.COINBASE_FIRST)
    _check_size(coinbase)
    _check_coinbase(params, coinbase)
    signatures = 0
    for start in range(0, len(others), SLICE):
        if start:
            yield
        signatures += sum(map(count_signatures, others[start : start + SLICE]))
    if signatures > MAX_BLOCK_SIGNATURES:
        raise ConsensusError(Rule.BLOCK_SIGNATURES, signatures=signatures, limit=MAX_BLOCK_SIGNATURES)
    for start in range(0, len(others), SLICE):
        if start:
            yield
        for tx in others[start : start + SLICE]:
            check_transaction(params, tx)
    inputs = [outpoint for tx in others for outpoint in tx.core.inputs]
    if len(set(inputs)) != len(inputs):
        raise ConsensusError(Rule.BLOCK_DOUBLE_SPEND)


# With its parent


def check_header(params: Params, header: Header, parent: ChainState) -> ChainState:
    """Check a header against its parent; return the state that its own children are checked with.

    A time ahead of this node's clock is no matter here: see `Params.max_future_seconds`.

    Raises:
        ConsensusError: `BAD_PREVIOUS`, `BAD_BITS`, `HIGH_HASH` or `TIME_TOO_OLD`.
    """
    if header.previous != parent.hash:
        raise ConsensusError(Rule.BAD_PREVIOUS, previous=header.previous[::-1])
    bits, anchor = next_bits(params, parent.anchor, parent.height, parent.times[-1])
    if header.bits != bits:
        raise ConsensusError(Rule.BAD_BITS, bits=f"{header.bits:08x}", wanted=f"{bits:08x}")
    check_proof_of_work(header)
    if header.time <= parent.median_time:
        raise ConsensusError(Rule.TIME_TOO_OLD, time=header.time, median=parent.median_time)
    if parent.height == 0 and params.retarget:
        anchor = Anchor(1, header.time, header.bits)
    times = (*parent.times, header.time)[-MEDIAN_SPAN:]
    return ChainState(parent.height + 1, header.hash, times, parent.work + work_of_bits(bits), anchor)


# With its coins


def check_inputs(params: Params, height: int, inputs: Sequence[OutPoint], coins: Mapping[OutPoint, Coin]) -> Amount:
    """Check that each input may be spent in a block of `height`; return the sum of their DURE, in grain.

    Args:
        coins: at least those that `inputs` name, where they exist. The caller fetched them.

    Raises:
        ConsensusError: `MISSING_COIN` if `coins` lacks one (never created, or already spent);
            `IMMATURE_SPEND` if a coinbase is younger than `params.coinbase_maturity` blocks;
            `VALUE_RANGE` if the sum is above the total supply.
    """
    total = 0
    for outpoint in inputs:
        coin = coins.get(outpoint)
        if coin is None:
            raise ConsensusError(Rule.MISSING_COIN, txid=outpoint.txid[::-1], index=outpoint.index)
        if coin.coinbase and height < coin.height + params.coinbase_maturity:
            raise ConsensusError(Rule.IMMATURE_SPEND, born=coin.height, height=height)
        if coin.output.asset is None:
            total = _add(params, total, coin.output.value)
    return Amount(total)


def transaction_fee(params: Params, height: int, tx: Transaction, coins: Mapping[OutPoint, Coin]) -> Amount:
    """Return what a checked transaction leaves to the miner, in grain; 0 is valid. Fees are DURE, never an asset.

    Raises:
        ConsensusError: what `check_inputs` raises; `IN_BELOW_OUT`.
    """
    paid_in = check_inputs(params, height, tx.core.inputs, coins)
    paid_out = sum([output.value for output in tx.core.outputs if output.asset is None])
    if paid_out > paid_in:
        raise ConsensusError(Rule.IN_BELOW_OUT, paid_in=paid_in, paid_out=paid_out)
    return Amount(paid_in - paid_out)


def check_spends(
    params: Params,
    context: SpendContext,
    tx: Transaction,
    coins: Mapping[OutPoint, Coin],
    approvals: Sequence[Approval] = (),
) -> list[SignatureCheck]:
    """Check that the witnesses open the locks of the coins and approve, all but the signatures themselves.

    Args:
        coins: all that the inputs name (`check_inputs` has passed).
        approvals: what `asset_effects` says that it takes.

    Returns:
        The signatures that are still to be verified: if any fails, the transaction breaks
        `BAD_SIGNATURE`.

    Raises:
        ConsensusError: `WITNESS_COUNT`; then for each witness a rule of its own, `POLICY_MISMATCH`, or a leaf's.
    """
    spent = [coins[outpoint] for outpoint in tx.core.inputs]
    places: dict[LockId, list[int]] = {}
    for place, coin in enumerate(spent):
        places.setdefault(coin.output.lock, []).append(place)
    if len(places) + len(approvals) != len(tx.witnesses):
        raise ConsensusError(
            Rule.WITNESS_COUNT, locks=len(places), approvals=len(approvals), witnesses=len(tx.witnesses)
        )
    message = spend_message(params.genesis_hash, tx.core, [coin.output for coin in spent])
    checks: list[SignatureCheck] = []
    for (lock, at_lock), witness in zip(places.items(), tx.witnesses, strict=False):
        digest = b""
        for leaf, satisfaction in _leaves(witness, lock):
            if type(leaf) is Key and satisfaction is not None:
                digest = digest or lock_digest(message, lock)
                checks.append(SignatureCheck(digest, leaf.key, satisfaction))
            else:
                _check_leaf(leaf, context, tx.core.outputs, spent, at_lock)
    for approval, witness in zip(approvals, tx.witnesses[len(places) :], strict=True):
        checks += _check_approval(message, context, approval, witness)
    return checks


def _leaves(witness: Witness, policy: LockId) -> list[tuple[Leaf, bytes | None]]:
    """Return the leaves that a witness reveals of a policy, each with its satisfaction."""
    # First what bounds the policy, then its id, whose cost grows with the policy.
    leaves = check_witness(witness)
    if policy_id(witness.policy) != policy:
        raise ConsensusError(Rule.POLICY_MISMATCH, lock=policy)
    return leaves


def _check_approval(
    message: bytes, context: SpendContext, approval: Approval, witness: Witness
) -> list[SignatureCheck]:
    checks: list[SignatureCheck] = []
    digest = approval_digest(message, approval.asset, approval.policy)
    for leaf, satisfaction in _leaves(witness, approval.policy):
        if type(leaf) is Key and satisfaction is not None:
            checks.append(SignatureCheck(digest, leaf.key, satisfaction))
        elif isinstance(leaf, (Older, Pays)):
            raise ConsensusError(Rule.APPROVAL_LEAF, asset=approval.asset)
        else:
            _check_leaf(leaf, context, (), (), ())
    return checks


def _check_leaf(
    leaf: Leaf, context: SpendContext, outputs: Sequence[Output], spent: Sequence[Coin], at_lock: Sequence[int]
) -> None:
    """Check a leaf that asks for no signature; preimages were compared with their witness."""
    match leaf:
        case AfterHeight(height):
            if context.height < height:
                raise ConsensusError(Rule.AFTER_HEIGHT, height=context.height, wanted=height)
        case AfterTime(time):
            if context.median_time < time:
                raise ConsensusError(Rule.AFTER_TIME, time=context.median_time, wanted=time)
        case Older(blocks):
            for place in at_lock:
                if context.height < spent[place].height + blocks:
                    raise ConsensusError(Rule.OLDER, born=spent[place].height, height=context.height, wanted=blocks)
        case Pays(lock):
            for place in at_lock:
                _check_pays(lock, outputs, spent[place].output, place)
        case _:
            pass


def _check_pays(lock: LockId, outputs: Sequence[Output], coin: Output, place: int) -> None:
    if place >= len(outputs):
        raise ConsensusError(Rule.PAYS, place=place, why="no output beside the input")
    output = outputs[place]
    if output.lock != lock or output.asset != coin.asset or output.value < coin.value:
        raise ConsensusError(Rule.PAYS, place=place, why="another lock or asset, or less")
