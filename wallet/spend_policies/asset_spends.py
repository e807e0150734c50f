"""Spends of assets from a policy: which coins, whose approval, and coins of this wallet for the fee."""

from __future__ import annotations

from collections.abc import Sequence

from consensus.asset_text import format_units
from consensus.assets import authority_id
from consensus.errors import ConsensusError
from consensus.params import Params
from consensus.state import SpendContext
from consensus.types import MAX_INPUTS, Amount, AssetId, Output
from wallet.assets.approvers import Approvers, Records
from wallet.assets.flows import approvals_of, records_of
from wallet.cosigning import Cosigner, check_psdt_fee
from wallet.errors import InsufficientFundsError, PaymentError
from wallet.ledger import Ledger
from wallet.maker import check_following
from wallet.psdt import new_psdt, spent_coin
from wallet.psdt_joining import with_policy
from wallet.results import Payment, RelayTerms
from wallet.spend_policies.book import KnownPolicy
from wallet.spend_policies.branches import Branch
from wallet.spend_policies.spends import Everything, Plan, PolicySpends, Source

MAX_COINS = MAX_INPUTS // 2
"""Of an asset in one spend: beside them there is room for those of the fee."""


class AssetSpends:
    """Plans such spends; changes nothing."""

    def __init__(
        self, params: Params, ledger: Ledger, spends: PolicySpends, approvers: Approvers, cosigner: Cosigner
    ) -> None:
        self._params = params
        self._ledger = ledger
        self._spends = spends
        self._approvers = approvers
        self._cosigner = cosigner

    def plan(
        self,
        known: KnownPolicy,
        asset: AssetId,
        wish: Sequence[Payment] | Everything,
        terms: RelayTerms,
        context: SpendContext,
        records: Records,
        *,
        number: int | None = None,
        force: bool = False,
    ) -> Plan:
        """Plan a spend of an asset, or of an authority, that lies at a policy. Coins of this wallet pay the fee.

        Args:
            wish: payments in the asset's smallest units. What is left over goes back to the policy; by a branch that
                lets coins only go to one place, whole coins go there.
            context: of the next block.
            records: of the asset, where the best chain has it; of an authority, of the asset that it is over.
            number: of the branch, from 1; None for the first that is open now and needs the fewest others.

        Raises:
            InsufficientFundsError: with what lies there and can be spent by this branch; or for the fee there is too
                little.
            PaymentError: a branch that is not open or not there, a destination that it forbids, no such asset.
            FeeError: an absurd fee.
        """
        check_following(self._ledger)
        approvers = self._approvers.of([asset], (), (), records)
        number, branch = self._spends.choose(known, wish, context, number, asset=asset)
        coins = self._spends.usable(known, branch, context, asset=asset)
        chosen, outputs = self._carry(known, branch, asset, coins, wish, records)
        core, sources = self._spends.with_fee(known, branch, chosen, outputs, terms, self._approvers.cost(approvers))
        spent = [spent_coin(source.record) for source in sources]
        carried = [coin.output for coin in spent]
        try:
            approvals = approvals_of(core, carried, records_of(core, carried, records))
        except ConsensusError as error:
            raise PaymentError(f"the spend would not be valid: {error}") from None
        psdt = self._cosigner.update(with_policy(new_psdt(self._params, core, tuple(spent), approvals), known.policy))
        if not force:
            check_psdt_fee(psdt)
        return Plan(psdt, number, branch, Amount(psdt.fee))

    def _carry(
        self,
        known: KnownPolicy,
        branch: Branch,
        asset: AssetId,
        coins: Sequence[Source],
        wish: Sequence[Payment] | Everything,
        records: Records,
    ) -> tuple[list[Source], list[Output]]:
        """Choose coins of the asset, and say where they go."""
        wanted = None if isinstance(wish, Everything) else sum(payment.amount for payment in wish)
        chosen: list[Source] = []
        found = 0
        for coin in coins[:MAX_COINS]:
            if wanted is not None and found >= wanted:
                break
            chosen.append(coin)
            found += coin.record.value
        if not chosen or (wanted is not None and found < wanted):
            raise InsufficientFundsError(_too_little(known, asset, found, wanted, records))
        if branch.pays:
            return chosen, [Output(coin.record.value, branch.pays[0], asset) for coin in chosen]
        if isinstance(wish, Everything):
            return chosen, [Output(Amount(found), wish.lock, asset)]
        outputs = [Output(payment.amount, payment.lock, asset) for payment in wish]
        left = found - (wanted or 0)
        return chosen, [*outputs, Output(Amount(left), known.lock, asset)] if left else outputs


def _too_little(known: KnownPolicy, asset: AssetId, found: int, wanted: int | None, records: Records) -> str:
    decimals = records[asset].definition.decimals if asset in records else 0
    over = [each for each in records if authority_id(each) == asset]
    what = f"the authority over asset {over[0].hex()}" if over else f"asset {asset.hex()}"
    needed = "" if wanted is None else f"{format_units(wanted, decimals)} of {what} are to be spent; "
    return f"{needed}at {known.name} lie {format_units(found, decimals)} of {what} that this branch can spend now"
