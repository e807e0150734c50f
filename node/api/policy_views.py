"""Spend policies and partially signed transactions as results of the API."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec import UNSET

from consensus.address import encode_address
from consensus.amounts import format_amount
from consensus.codec import display_hash
from consensus.policy_text import format_policy
from consensus.spend_policy import policy_id
from consensus.state import SpendContext
from consensus.types import Coin, LockId, OutPoint, Output, Policy
from node.api.services import Services
from rpc import schema
from rpc.encoding import Dure
from wallet.cosigning import IncompleteError, Lack, finalise, lacks
from wallet.errors import FeeError, WalletError
from wallet.payments import check_fee
from wallet.psdt import Part, Psdt
from wallet.spend_policies.book import KnownPolicy
from wallet.spend_policies.branches import Branch, branches_of, keys_of, pays_of
from wallet.spend_policies.desk import Holdings, Withdrawal
from wallet.spend_policies.traps import find_traps
from wallet.spend_policies.words import Now, branch_sentence, join, key_text, plural, withdrawal_sentence
from wallet.wallet import Wallet

UNKNOWN_DESTINATION = "unknown-destination"
"""Beside the names of `Trap`: import the policy that a vault leads to before the vault itself."""


def now_of(services: Services) -> Now:
    """Return where the chain is."""
    tip = services.chain.tip
    return Now(tip.height, tip.median_time, services.params.spacing)


def context_of(services: Services) -> SpendContext:
    """Return what the time locks of the next block are held against."""
    tip = services.chain.tip
    return SpendContext(tip.height + 1, tip.median_time)


class PolicyView:
    """Shows policies and files as one node and its wallet, if it has one, see them."""

    def __init__(self, services: Services, wallet: Wallet | None) -> None:
        self._services = services
        self._wallet = wallet
        self._now = now_of(services)
        self._context = context_of(services)

    # Names

    def address(self, lock: LockId) -> str:
        """Return a lock as people write it."""
        return encode_address(self._services.params, lock)

    def _remembered(self, lock: LockId) -> KnownPolicy | None:
        return None if self._wallet is None else self._wallet.policies.find(lock)

    def _name(self, lock: LockId) -> str:
        remembered = self._remembered(lock)
        if remembered is not None:
            return remembered.name
        return "yours" if self._wallet is not None and self._wallet.is_mine(lock) else ""

    def _lock_name(self, lock: LockId) -> str:
        remembered = self._remembered(lock)
        return self.address(lock) if remembered is None else f"{remembered.name} ({self.address(lock)})"

    def _is_mine(self, key: bytes) -> bool:
        return self._wallet is not None and self._wallet.cosigner.holds(key)

    def _key_name(self, key: bytes, roles: Mapping[bytes, str]) -> str:
        return roles.get(key, key_text(key)) + (" (yours)" if self._is_mine(key) else "")

    def _key(self, key: bytes, roles: Mapping[bytes, str]) -> schema.PolicyKey:
        return schema.PolicyKey(pubkey=key.hex(), role=roles.get(key, UNSET), ismine=self._is_mine(key))

    def _roles(self, lock: LockId) -> Mapping[bytes, str]:
        remembered = self._remembered(lock)
        return {} if remembered is None else remembered.roles

    def sentence(self, branch: Branch, roles: Mapping[bytes, str]) -> str:
        """Return a branch in words."""
        return branch_sentence(branch, lambda key: self._key_name(key, roles), self._lock_name, self._now)

    # Policies

    def explanation(self, policy: Policy) -> schema.PolicyExplanation:
        """Return who can spend by a policy, and when, and what is wrong with it."""
        lock = policy_id(policy)
        remembered = self._remembered(lock)
        roles = self._roles(lock)
        return schema.PolicyExplanation(
            name=UNSET if remembered is None else remembered.name,
            address=self.address(lock),
            lock=lock.hex(),
            policy=format_policy(policy),
            keys=[self._key(key, roles) for key in keys_of(policy)],
            branches=self._branches(policy, roles),
            warnings=[
                *(
                    schema.PolicyWarning(trap=finding.trap.value, fatal=finding.fatal, sentence=finding.sentence)
                    for finding in find_traps(policy, self._now)
                ),
                *(
                    schema.PolicyWarning(
                        trap=UNKNOWN_DESTINATION,
                        fatal=False,
                        sentence=f"It lets coins go to {self.address(target)}, whose policy this wallet does not know.",
                    )
                    for target in pays_of(policy)
                    if self._wallet is not None and not self._name(target)
                ),
            ],
        )

    def _branches(self, policy: Policy, roles: Mapping[bytes, str]) -> list[schema.PolicyBranch]:
        return [self._branch(number, branch, roles) for number, branch in enumerate(branches_of(policy).all, 1)]

    def _branch(self, number: int, branch: Branch, roles: Mapping[bytes, str]) -> schema.PolicyBranch:
        reached = branch.after_height <= self._context.height and branch.after_time <= self._context.median_time
        return schema.PolicyBranch(
            number=number,
            sentence=self.sentence(branch, roles),
            signatures=branch.signatures,
            keys=[key.hex() for key in branch.keys],
            open=reached and not branch.hidden,
            after_height=branch.after_height or UNSET,
            after_time=branch.after_time or UNSET,
            older=branch.older or UNSET,
            hashes=[digest.hex() for digest in branch.hashes] or UNSET,
            pays=[self.address(lock) for lock in branch.pays] or UNSET,
        )

    def remembered(self, known: KnownPolicy, held: Holdings) -> schema.RememberedPolicy:
        """Return a policy of the wallet, with what lies there."""
        return schema.RememberedPolicy(
            name=known.name,
            address=self.address(known.lock),
            policy=format_policy(known.policy),
            keys=[self._key(key, known.roles) for key in keys_of(known.policy)],
            branches=self._branches(known.policy, known.roles),
            confirmed=Dure(held.confirmed),
            pending=Dure(held.pending),
            immature=Dure(held.immature),
            coins=[
                schema.PolicyCoin(
                    txid=display_hash(coin.outpoint.txid),
                    vout=coin.outpoint.index,
                    amount=Dure(coin.value),
                    confirmations=self._depth(coin.height),
                )
                for coin in held.coins
            ],
        )

    def _depth(self, height: int | None) -> int:
        return 0 if height is None else self._now.height - height + 1

    def withdrawal(self, alarm: Withdrawal) -> schema.Withdrawal:
        """Return what is on its way out of a vault."""
        coin = alarm.coin
        return schema.Withdrawal(
            vault=alarm.vault.name,
            address=self.address(alarm.lock),
            txid=display_hash(coin.outpoint.txid),
            vout=coin.outpoint.index,
            amount=Dure(coin.value),
            confirmations=self._depth(coin.height),
            free_at=UNSET if alarm.free_at is None else alarm.free_at,
            sentence=withdrawal_sentence(alarm.vault.name, format_amount(coin.value), alarm.free_at, self._now),
        )

    # Files

    def psbt(self, psdt: Psdt) -> schema.Psbt:
        """Return what a file says, and what this node knows of it."""
        known = known_outputs(self._services, psdt.core.inputs)
        return schema.Psbt(
            txid=display_hash(psdt.txid),
            memo=psdt.core.memo.hex(),
            inputs=[
                schema.PsbtInput(
                    txid=display_hash(outpoint.txid),
                    vout=outpoint.index,
                    amount=Dure(coin.output.value),
                    address=self.address(coin.output.lock),
                    name=self._name(coin.output.lock),
                    known=known.get(outpoint) == coin.output,
                )
                for outpoint, coin in zip(psdt.core.inputs, psdt.coins, strict=True)
            ],
            outputs=[
                schema.PsbtOutput(amount=Dure(each.value), address=self.address(each.lock), name=self._name(each.lock))
                for each in psdt.core.outputs
            ],
            paid_in=Dure(sum(output.value for output in psdt.spent)),
            paid_out=Dure(sum(output.value for output in psdt.core.outputs)),
            fee=Dure(psdt.fee),
            parts=[self._part(psdt, part) for part in psdt.parts],
            complete=why_incomplete(self._services, psdt) is None,
            warnings=self._warnings(psdt, known),
        )

    def _warnings(self, psdt: Psdt, known: Mapping[OutPoint, Output]) -> list[str]:
        warnings = []
        if self._wallet is not None:
            try:
                self._wallet.cosigner.check_coins(psdt, known)
            except WalletError as error:
                warnings.append(f"This is a lie: {error}")
            mine = sum(output.value for output in psdt.spent if self._wallet.is_mine(output.lock))
            if mine:
                warnings.append(f"It takes {format_amount(mine)} DURE of this wallet's own coins.")
        unknown = sum(outpoint not in known for outpoint in psdt.core.inputs)
        if unknown:
            coins = plural(unknown, "coin")
            warnings.append(f"This node does not know {coins} that it spends: spent already, never there, or not yet.")
        try:
            check_fee(psdt.fee, sum(output.value for output in psdt.core.outputs))
        except FeeError as error:
            warnings.append(f"{str(error)[:1].upper()}{str(error)[1:]}.")
        return warnings

    def _part(self, psdt: Psdt, part: Part) -> schema.PsbtPart:
        roles = self._roles(part.lock)
        signed = {key for key, _ in part.signatures}
        keys = [] if part.policy is None else keys_of(part.policy)
        return schema.PsbtPart(
            address=self.address(part.lock),
            name=self._name(part.lock),
            policy=UNSET if part.policy is None else format_policy(part.policy),
            signed=[self._key(key, roles) for key in keys if key in signed],
            unsigned=[self._key(key, roles) for key in keys if key not in signed],
            preimages=[preimage.hex() for _, preimage in part.preimages],
            branches=[
                schema.PsbtBranch(
                    number=number,
                    sentence=self.sentence(lack.branch, roles),
                    missing=self._missing(lack, roles),
                )
                for number, lack in enumerate(lacks(psdt, part, self._context), 1)
            ],
        )

    def _missing(self, lack: Lack, roles: Mapping[bytes, str]) -> list[str]:
        missing = []
        if lack.signatures:
            of = join([self._key_name(key, roles) for key in lack.keys], "or")
            missing.append(f"{plural(lack.signatures, 'signature')} of {of}")
        missing += [f"the secret whose SHA-256 is {digest.hex()}" for digest in lack.hashes]
        if lack.waits:
            missing.append("time: it is not due yet")
        if lack.strays:
            missing.append(f"outputs that pay {join([self._lock_name(lock) for lock in lack.branch.pays])}")
        if lack.branch.hidden:
            missing.append("what is hidden of the policy")
        return missing


def why_incomplete(services: Services, psdt: Psdt) -> str | None:
    """Return why a file cannot be finished for the next block, or None."""
    try:
        finalise(services.params, psdt, context_of(services))
    except (IncompleteError, WalletError) as error:
        return str(error)
    return None


def known_coins(services: Services, outpoints: Iterable[OutPoint]) -> dict[OutPoint, Coin | Output]:
    """Return those of the coins that this node knows: unspent in the chain, or made by the mempool (as outputs)."""
    wanted = list(outpoints)
    found: dict[OutPoint, Coin | Output] = dict(services.chain.get_coins(wanted))
    for outpoint in wanted:
        parent = services.mempool.get(outpoint.txid)
        if outpoint not in found and parent is not None and outpoint.index < len(parent.core.outputs):
            found[outpoint] = parent.core.outputs[outpoint.index]
    return found


def known_outputs(services: Services, outpoints: Iterable[OutPoint]) -> dict[OutPoint, Output]:
    """Return what those of the coins are worth, and to whom, that this node knows."""
    return {
        outpoint: coin.output if isinstance(coin, Coin) else coin
        for outpoint, coin in known_coins(services, outpoints).items()
    }
