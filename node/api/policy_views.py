"""Spend policies as results of the API."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import UNSET

from consensus.address import encode_address
from consensus.amounts import format_amount
from consensus.codec import display_hash
from consensus.policy_text import format_policy
from consensus.spend_policy import policy_id
from consensus.state import SpendContext
from consensus.types import LockId, Policy
from node.api.methods.assets import asset_text
from node.api.services import Services
from rpc import schema
from rpc.encoding import Dure
from wallet.spend_policies.book import KnownPolicy
from wallet.spend_policies.branches import Branch, branches_of, keys_of, pays_of
from wallet.spend_policies.desk import Holdings, PolicyAsset, Withdrawal
from wallet.spend_policies.traps import find_traps
from wallet.spend_policies.words import Now, branch_sentence, key_text, withdrawal_sentence
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
        self.services = services
        self.wallet = wallet
        self.now = now_of(services)
        self.context = context_of(services)

    # Names

    def address(self, lock: LockId) -> str:
        """Return a lock as people write it."""
        return encode_address(self.services.params, lock)

    def _remembered(self, lock: LockId) -> KnownPolicy | None:
        return None if self.wallet is None else self.wallet.policies.find(lock)

    def name(self, lock: LockId) -> str:
        """Return what to call a lock: a policy's name, "yours", or "" for one that the wallet does not know."""
        remembered = self._remembered(lock)
        if remembered is not None:
            return remembered.name
        return "yours" if self.wallet is not None and self.wallet.is_mine(lock) else ""

    def lock_name(self, lock: LockId) -> str:
        """Return a lock with what to call it."""
        remembered = self._remembered(lock)
        return self.address(lock) if remembered is None else f"{remembered.name} ({self.address(lock)})"

    def _is_mine(self, key: bytes) -> bool:
        return self.wallet is not None and self.wallet.cosigner.holds(key)

    def key_name(self, key: bytes, roles: Mapping[bytes, str]) -> str:
        """Return what to call a key, by the roles of its policy."""
        return roles.get(key, key_text(key)) + (" (yours)" if self._is_mine(key) else "")

    def key(self, key: bytes, roles: Mapping[bytes, str]) -> schema.PolicyKey:
        """Return a key with what is known of its owner."""
        return schema.PolicyKey(pubkey=key.hex(), role=roles.get(key, UNSET), ismine=self._is_mine(key))

    def roles(self, lock: LockId) -> Mapping[bytes, str]:
        """Return what a policy calls the owners of its keys."""
        remembered = self._remembered(lock)
        return {} if remembered is None else remembered.roles

    def sentence(self, branch: Branch, roles: Mapping[bytes, str], *, verb: str = "spend") -> str:
        """Return a branch in words; `verb` is what it lets people do."""
        return branch_sentence(branch, lambda key: self.key_name(key, roles), self.lock_name, self.now, verb=verb)

    # Policies

    def explanation(self, policy: Policy) -> schema.PolicyExplanation:
        """Return who can spend by a policy, and when, and what is wrong with it."""
        lock = policy_id(policy)
        remembered = self._remembered(lock)
        roles = self.roles(lock)
        return schema.PolicyExplanation(
            name=UNSET if remembered is None else remembered.name,
            address=self.address(lock),
            lock=lock.hex(),
            policy=format_policy(policy),
            keys=[self.key(key, roles) for key in keys_of(policy)],
            branches=self._branches(policy, roles),
            warnings=[
                *(
                    schema.PolicyWarning(trap=finding.trap.value, fatal=finding.fatal, sentence=finding.sentence)
                    for finding in find_traps(policy, self.now)
                ),
                *(
                    schema.PolicyWarning(
                        trap=UNKNOWN_DESTINATION,
                        fatal=False,
                        sentence=f"It lets coins go to {self.address(target)}, whose policy this wallet does not know.",
                    )
                    for target in pays_of(policy)
                    if self.wallet is not None and not self.name(target)
                ),
            ],
        )

    def _branches(self, policy: Policy, roles: Mapping[bytes, str]) -> list[schema.PolicyBranch]:
        return [self._branch(number, branch, roles) for number, branch in enumerate(branches_of(policy).all, 1)]

    def _branch(self, number: int, branch: Branch, roles: Mapping[bytes, str]) -> schema.PolicyBranch:
        reached = branch.after_height <= self.context.height and branch.after_time <= self.context.median_time
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
            keys=[self.key(key, known.roles) for key in keys_of(known.policy)],
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
            assets=[self._held_asset(each) for each in held.assets],
        )

    def _held_asset(self, held: PolicyAsset) -> schema.PolicyAsset:
        of = None if self.wallet is None else self.wallet.assets.asset_of(held.asset)
        known = held.asset if of is None else of
        record = self.services.chain.get_assets([known]).get(known)
        return schema.PolicyAsset(
            asset=held.asset.hex(),
            authority_of=UNSET if of is None else of.hex(),
            metadata=None if record is None else asset_text(record.definition.metadata),
            decimals=0 if of is not None else None if record is None else record.definition.decimals,
            confirmed=held.confirmed,
            pending=held.pending,
            shown=self.wallet is not None and self.wallet.assets.is_shown(known),
        )

    def _depth(self, height: int | None) -> int:
        return 0 if height is None else self.now.height - height + 1

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
            sentence=withdrawal_sentence(alarm.vault.name, format_amount(coin.value), alarm.free_at, self.now),
        )
