"""What a wallet does with a partially signed transaction: complete it, sign it, see what is missing, finish it.

What is signed is exactly what the file says, and the digest commits to all of it. So before a key is
used, the file is held against what this wallet and its node know of the coins (A161).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from hashlib import sha256
from typing import NamedTuple

from consensus.amounts import format_amount
from consensus.assets import Approval, Assets
from consensus.codec import display_hash
from consensus.errors import ConsensusError
from consensus.params import Params
from consensus.signatures import sign, verify_all
from consensus.spend_policy import Leaf, satisfy, walk
from consensus.state import SpendContext
from consensus.types import (
    AfterHeight,
    AfterTime,
    Coin,
    Key,
    Older,
    OutPoint,
    Output,
    Pays,
    Policy,
    Preimage,
    Transaction,
    Witness,
)
from consensus.validation import check_spends, check_transaction, transaction_fee
from wallet.addresses import AddressBook, key_lock
from wallet.assets.flows import approvals_of
from wallet.errors import FeeError, WalletError
from wallet.ledger import Ledger
from wallet.payments import check_fee
from wallet.psdt import Part, PartName, Psdt, PsdtError, PsdtRule
from wallet.psdt_joining import with_policy, with_satisfactions
from wallet.signer import Signer
from wallet.spend_policies.book import PolicyBook
from wallet.spend_policies.branches import Branch, branches_of
from wallet.spend_policies.revealing import reveal_distinct


class IncompleteError(WalletError):
    """Something is missing before a transaction can be finished; the message says what."""


class Signed(NamedTuple):
    """What `sign` did."""

    psdt: Psdt
    keys: tuple[bytes, ...]
    """That signed now."""


class Lack(NamedTuple):
    """What one branch of one part still wants."""

    branch: Branch
    signatures: int
    """How many are missing."""
    keys: tuple[bytes, ...]
    """Whose."""
    hashes: tuple[bytes, ...]
    """Whose secrets are missing."""
    waits: bool
    """Whether a height, a time or an age is not reached yet, as far as the file tells."""
    strays: bool
    """Whether the outputs do not pay where the branch wants the coins to go."""

    @property
    def nothing(self) -> bool:
        """Whether this branch opens the lock now."""
        return not (self.signatures or self.hashes or self.waits or self.strays or self.branch.hidden)


class Cosigner:
    """One wallet's part in transactions that several sign."""

    def __init__(
        self, params: Params, ledger: Ledger, addresses: AddressBook, policies: PolicyBook, signer: Signer
    ) -> None:
        self._params = params
        self._ledger = ledger
        self._addresses = addresses
        self._policies = policies
        self._signer = signer

    def check_coins(self, psdt: Psdt, known: Mapping[OutPoint, Output]) -> None:
        """Hold what a file says of its coins against the chain (A161).

        Args:
            known: coins that the caller knows of. The wallet's own are held against its own record.

        Raises:
            PsdtError: `LIE`, with both versions.
        """
        for outpoint, coin in zip(psdt.core.inputs, psdt.coins, strict=True):
            record = self._ledger.coins.find(outpoint)
            true = known.get(outpoint)
            if record is not None:
                true = record.output
            if true is not None and true != coin.output:
                raise PsdtError(
                    PsdtRule.LIE,
                    f"the file says that coin {display_hash(outpoint.txid)}:{outpoint.index} is "
                    f"{_worth(coin.output)}, but it is {_worth(true)}",
                )

    def update(self, psdt: Psdt) -> Psdt:
        """Add the policies that this wallet knows of: those that it remembers, and those of its own addresses."""
        for part in psdt.parts:
            remembered = self._policies.find(part.lock)
            own = self._addresses.find(part.lock)
            if remembered is not None:
                psdt = with_policy(psdt, remembered.policy)
            elif own is not None:
                psdt = with_policy(psdt, Key(self._addresses.public_key(own)))
        return psdt

    def sign(
        self,
        psdt: Psdt,
        known: Mapping[OutPoint, Output],
        records: Assets,
        *,
        only: Collection[PartName] | None = None,
        secrets: Sequence[bytes] = (),
        force: bool = False,
    ) -> Signed:
        """Sign with all keys of this wallet that a part's policy names and that have not signed yet.

        Args:
            records: of all assets that it names or spends, where the best chain has them.
            only: the parts to sign for; None for all. A signature for one is worth nothing for another.
            secrets: preimages, 32 bytes each; those whose hash a policy asks for are added.
            force: whether a fee above the sanity caps is meant.

        Raises:
            PsdtError: `LIE`: see `check_coins`; `INVALID` or `APPROVALS`: see `check_approvals`.
            FeeError: more is paid out than taken in, or the fee is absurd.
            WalletError: a secret that no policy asks for.
            FrozenError: it would approve a transfer from or to an address that this wallet has frozen.
            WalletLockedError: unlock it first.
        """
        psdt = self.update(psdt)
        self.check_coins(psdt, known)
        if psdt.fee < 0:
            raise FeeError("the transaction pays out more than it takes in: it could never be valid")
        check_approvals(psdt, records)
        if not force:
            check_psdt_fee(psdt)
        by_hash = {sha256(secret).digest(): secret for secret in secrets}
        wanted = {node.hash for part in psdt.parts for node in _nodes(part) if isinstance(node, Preimage)}
        if not wanted.issuperset(by_hash):
            raise WalletError("no policy of this transaction asks for that secret: its hash is another one")
        signed: dict[bytes, None] = {}
        message = psdt.message
        chosen = [part for part in psdt.parts if only is None or part.name in only]
        self._check_frozen(psdt, chosen)
        for part in chosen:
            signatures = self._signatures(message, part)
            asked = {node.hash for node in _nodes(part) if isinstance(node, Preimage)}
            preimages = {digest: secret for digest, secret in by_hash.items() if digest in asked}
            psdt = with_satisfactions(psdt, part.name, signatures, preimages)
            signed |= dict.fromkeys(signatures)
        return Signed(psdt, tuple(signed))

    def _check_frozen(self, psdt: Psdt, chosen: Sequence[Part]) -> None:
        approved = [
            part.asset
            for part in chosen
            if part.asset is not None and any(isinstance(node, Key) and self.holds(node.key) for node in _nodes(part))
        ]
        self._ledger.frozen.check(psdt.core, psdt.spent, approved)

    def _signatures(self, message: bytes, part: Part) -> dict[bytes, bytes]:
        have = {key for key, _ in part.signatures}
        wanted = dict.fromkeys(node.key for node in _nodes(part) if isinstance(node, Key) and node.key not in have)
        digest = part.digest(message)
        return {key: sign(self._signer.private_key(key_lock(key)), digest) for key in wanted if self.holds(key)}

    def holds(self, key: bytes) -> bool:
        """Tell whether a key is this wallet's."""
        return key_lock(key) in self._addresses


def _nodes(part: Part) -> list[Policy]:
    return [] if part.policy is None else list(walk(part.policy))


def _worth(output: Output) -> str:
    """Return an output in words that tell it from any other."""
    amount = f"{format_amount(output.value)} DURE"
    if output.asset is not None:
        amount = f"{output.value} smallest units of asset {output.asset.hex()}"
    return f"{amount} at lock {output.lock.hex()[:16]}…"


# What anybody can see and do, without a key


def check_psdt_fee(psdt: Psdt) -> None:
    """Hold a file's fee against the sanity caps.

    Raises:
        FeeError: nobody means it unless he says so.
    """
    carries = any(output.asset is not None for output in (*psdt.spent, *psdt.core.outputs)) or psdt.core.issuances
    paid = sum(output.value for output in psdt.core.outputs if output.asset is None)
    check_fee(psdt.fee, None if carries else paid)


def check_approvals(psdt: Psdt, records: Assets) -> Sequence[Approval]:
    """Check that a file asks for exactly the approvals that its assets take; return them.

    Args:
        records: of all assets that it names or spends, where the best chain has them.

    Raises:
        PsdtError: `INVALID`: it issues, attests or burns what it must not; `APPROVALS`.
    """
    try:
        approvals = approvals_of(psdt.core, psdt.spent, records)
    except ConsensusError as error:
        raise PsdtError(PsdtRule.INVALID, f"the transaction would not be valid: {error}") from None
    wanted = [PartName(approval.policy, approval.asset) for approval in approvals]
    if [part.name for part in psdt.parts if part.asset is not None] != wanted:
        sentence = "the file asks for other approvals than its assets take, as far as this node knows them"
        raise PsdtError(PsdtRule.APPROVALS, sentence)
    return approvals


def lacks(psdt: Psdt, part: Part, context: SpendContext) -> list[Lack]:
    """Return for each branch of a part's policy what it still wants; nothing if the policy is not known."""
    if part.policy is None:
        return []
    signed = {key for key, _ in part.signatures}
    shown = {digest for digest, _ in part.preimages}
    found = []
    for branch in branches_of(part.policy).all:
        missing = branch.signatures - len(branch.signers(signed))
        unsigned = tuple([key for key in branch.keys if key not in signed])
        hashes = tuple([digest for digest in branch.hashes if digest not in shown])
        demands: list[Leaf] = [AfterHeight(branch.after_height), AfterTime(branch.after_time)]
        demands += [Older(branch.older)] if branch.older else []
        waits = not all(_holds(psdt, part, leaf, context) for leaf in demands)
        strays = not all(_holds(psdt, part, Pays(lock), context) for lock in branch.pays)
        found.append(Lack(branch, missing, unsigned if missing else (), hashes, waits, strays))
    return found


def finalise(params: Params, psdt: Psdt, context: SpendContext, records: Assets) -> Transaction:
    """Return the finished transaction, judged by the rules that every node judges it by.

    Args:
        context: of the block that it is meant for: the next one.
        records: of all assets that it names or spends, where the best chain has them.

    Raises:
        IncompleteError: a lock is not open yet, or an approval not given.
        PsdtError: `INVALID`: it would break a rule whatever is added; `APPROVALS`: see `check_approvals`.
    """
    approvals = check_approvals(psdt, records)
    try:
        tx = Transaction(psdt.core, tuple([_witness(psdt, part, context) for part in psdt.parts]))
        check_transaction(params, tx)
        coins = {
            outpoint: Coin(coin.output, context.height if coin.height is None else coin.height, coin.coinbase)
            for outpoint, coin in zip(psdt.core.inputs, psdt.coins, strict=True)
        }
        transaction_fee(params, context.height, tx, coins)
        checks = check_spends(params, context, tx, coins, approvals)
    except ConsensusError as error:
        raise PsdtError(PsdtRule.INVALID, f"the transaction would not be valid: {error}") from None
    if verify_all(checks) is not None:
        raise PsdtError(PsdtRule.BAD_SIGNATURE, "a signature does not verify")
    return tx


def _witness(psdt: Psdt, part: Part, context: SpendContext) -> Witness:
    if part.policy is None:
        whose = "of lock" if part.asset is None else f"that approves for asset {part.asset.hex()}, of id"
        raise IncompleteError(f"nobody has added the policy {whose} {part.lock.hex()}")
    signatures, preimages = dict(part.signatures), dict(part.preimages)

    def holds(leaf: Leaf) -> bool:
        if isinstance(leaf, Key):
            return leaf.key in signatures
        return leaf.hash in preimages if isinstance(leaf, Preimage) else _holds(psdt, part, leaf, context)

    shown = reveal_distinct(part.policy, holds)
    if shown is None:
        what = f"lock {part.lock.hex()[:16]}… is not open yet"
        if part.asset is not None:
            what = f"asset {part.asset.hex()[:16]}… still wants an approval"
        raise IncompleteError(f"{what}: no branch of the policy has all it asks")
    return satisfy(shown, signatures.__getitem__, preimages)


def _holds(psdt: Psdt, part: Part, leaf: Leaf, context: SpendContext) -> bool:
    """Tell whether a leaf that takes no satisfaction holds; the rules judge it again in the end."""
    if part.asset is not None and isinstance(leaf, Older | Pays):
        return False  # they are about coins, and an approval opens none
    at_lock = [(place, coin) for place, coin in enumerate(psdt.coins) if coin.output.lock == part.lock]
    match leaf:
        case AfterHeight(height):
            return context.height >= height
        case AfterTime(time):
            return context.median_time >= time
        case Older(blocks):
            return all(coin.height is not None and context.height >= coin.height + blocks for _, coin in at_lock)
        case Pays(lock):
            outputs = psdt.core.outputs
            return all(
                place < len(outputs)
                and outputs[place].lock == lock
                and outputs[place].asset == coin.output.asset
                and outputs[place].value >= coin.output.value
                for place, coin in at_lock
            )
        case _:
            return False
