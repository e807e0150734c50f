"""Makers of coins, transactions and blocks for tests of the rules: real keys, real (tiny) work."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache

import coincurve

from consensus.assets import Approval
from consensus.codec import approval_digest, lock_digest, spend_message
from consensus.merkle import merkle_root
from consensus.params import REGTEST, Params
from consensus.pow import next_bits, target_from_bits
from consensus.signatures import public_key, sign
from consensus.spend_policy import policy_id, satisfy
from consensus.state import ChainState
from consensus.subsidy import block_subsidy
from consensus.types import (
    NULL_TXID,
    Amount,
    Block,
    Coin,
    Core,
    Header,
    Key,
    LockId,
    OutPoint,
    Output,
    Policy,
    Transaction,
    TxId,
    Witness,
)


def secret(n: int) -> bytes:
    """The n-th private key, from 1."""
    return n.to_bytes(32, "big")


@cache
def key(n: int) -> Key:
    return Key(public_key(secret(n)))


SECRETS = {key(n).key: secret(n) for n in range(1, 17)}


@cache
def _private(secret: bytes) -> coincurve.PrivateKey:
    return coincurve.PrivateKey(secret)


def quick_sign(secret: bytes, digest: bytes) -> bytes:
    """Sign as the wallet does, but for looking whether it came out right: the rules will."""
    return _private(secret).sign_recoverable(digest, hasher=None)[:64]


@cache
def lock(n: int) -> LockId:
    return policy_id(key(n))


def pay(n: int, value: int) -> Output:
    return Output(Amount(value), lock(n), None)


def outpoint(n: int, index: int = 0) -> OutPoint:
    """An output of a transaction that nobody ever saw."""
    return OutPoint(TxId(n.to_bytes(32, "big")), index)


def coin(n: int, value: int, height: int = 1, *, coinbase: bool = False) -> Coin:
    return Coin(pay(n, value), height, coinbase)


def core(inputs: Sequence[OutPoint], outputs: Sequence[Output], memo: bytes = b"", version: int = 1) -> Core:
    return Core(version, tuple(inputs), tuple(outputs), (), (), memo)


def witnesses_for(
    spent: Sequence[Output],
    unsigned: Core,
    policies: Mapping[LockId, Policy] | None = None,
    preimages: Mapping[bytes, bytes] | None = None,
    params: Params = REGTEST,
    signer: Callable[[bytes, bytes], bytes] = sign,
    approvals: Sequence[Approval] = (),
) -> tuple[Witness, ...]:
    """Satisfy each lock among the spent outputs, then each approval; policies not in `policies` are our single keys."""
    known = {lock(n): key(n) for n in range(1, 17)} | dict(policies or {})
    message = spend_message(params.genesis_hash, unsigned, spent)
    wanted = [(each, lock_digest(message, each)) for each in dict.fromkeys(output.lock for output in spent)]
    wanted += [(each.policy, approval_digest(message, each.asset, each.policy)) for each in approvals]
    return tuple(
        satisfy(
            known[policy],
            lambda public, digest=digest: signer(SECRETS[public], digest),  # type: ignore[misc]
            preimages or {},
        )
        for policy, digest in wanted
    )


def spend(
    coins: Mapping[OutPoint, Coin],
    outputs: Sequence[Output],
    policies: Mapping[LockId, Policy] | None = None,
    preimages: Mapping[bytes, bytes] | None = None,
    *,
    memo: bytes = b"",
    params: Params = REGTEST,
) -> Transaction:
    """A signed transaction that spends all of `coins`, in their order."""
    unsigned = core(list(coins), outputs, memo)
    spent = [each.output for each in coins.values()]
    return Transaction(unsigned, witnesses_for(spent, unsigned, policies, preimages, params))


def coinbase(height: int, outputs: Sequence[Output] = (), memo: bytes = b"the coinbase of a test") -> Transaction:
    """A coinbase; its memo is long enough that no choice of outputs makes it 64 bytes."""
    return Transaction(core([OutPoint(NULL_TXID, height)], outputs, memo), ())


def find_nonce(header: Header) -> Header:
    """Do the work: fewer than a few tries where the target is regtest's."""
    target = target_from_bits(header.bits)
    for nonce in range(2**32):
        tried = Header(header.version, header.previous, header.merkle_root, header.time, header.bits, nonce)
        if int.from_bytes(tried.hash, "little") <= target:
            return tried
    raise AssertionError("no nonce does")


def build(params: Params, parent: ChainState, transactions: Sequence[Transaction], time: int | None = None) -> Block:
    """A block of exactly these transactions, with its work done."""
    bits, _ = next_bits(params, parent.anchor, parent.height, parent.times[-1])
    root = merkle_root([tx.wtxid for tx in transactions])
    moment = parent.median_time + 1 if time is None else time
    return Block(find_nonce(Header(1, parent.hash, root, moment, bits, 0)), tuple(transactions))


def mine(
    params: Params,
    parent: ChainState,
    transactions: Sequence[Transaction] = (),
    *,
    to: int = 1,
    fees: int = 0,
    time: int | None = None,
) -> Block:
    """A block whose coinbase takes the subsidy and `fees` to key `to`."""
    height = parent.height + 1
    reward = coinbase(height, [pay(to, block_subsidy(params, height) + fees)])
    return build(params, parent, [reward, *transactions], time)
