"""Partially signed transactions as results of the API."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from msgspec import UNSET

from consensus.amounts import format_amount
from consensus.assets import Assets, Role, authority_id, defined_by
from consensus.codec import display_hash
from consensus.policy_text import format_policy
from consensus.types import Asset, AssetId, Coin, Definition, OutPoint, Output, Transaction
from node.api import views
from node.api.methods.assets import asset_text
from node.api.policy_views import PolicyView, context_of
from node.api.services import Services
from rpc import schema
from rpc.encoding import Dure
from wallet.assets.flows import Flow, fetch_records, flows, stakes
from wallet.cosigning import IncompleteError, Lack, check_approvals, check_psdt_fee, finalise, lacks
from wallet.errors import FeeError, WalletError
from wallet.psdt import Part, Psdt, PsdtError
from wallet.spend_policies.branches import keys_of
from wallet.spend_policies.words import join, plural
from wallet.wallet import Wallet


class PsbtView(PolicyView):
    """Shows one file as a node and its wallet, if it has one, see it."""

    def __init__(self, services: Services, wallet: Wallet | None, psdt: Psdt) -> None:
        super().__init__(services, wallet)
        self._psdt = psdt
        self._records = asset_records(services, psdt)
        self._definitions = {
            asset: record.definition for asset, record in self._records.items() if record is not None
        } | defined_by(Transaction(psdt.core, ()))
        self._rights = {authority_id(asset): asset for asset in self._definitions}

    def psbt(self) -> schema.Psbt:
        """Return what the file says, and what this node knows of it."""
        psdt = self._psdt
        known = known_outputs(self.services, psdt.core.inputs)
        bare = Transaction(psdt.core, ())
        return schema.Psbt(
            txid=display_hash(psdt.txid),
            memo=psdt.core.memo.hex(),
            inputs=[
                schema.PsbtInput(
                    txid=display_hash(outpoint.txid),
                    vout=outpoint.index,
                    **self._carried(coin.output),
                    known=known.get(outpoint) == coin.output,
                )
                for outpoint, coin in zip(psdt.core.inputs, psdt.coins, strict=True)
            ],
            outputs=[schema.PsbtOutput(**self._carried(output)) for output in psdt.core.outputs],
            assets=[self._asset(asset, flow) for asset, flow in flows(psdt.core, psdt.spent).items()],
            issuances=[views.issuance_detail(bare, place, each) for place, each in enumerate(psdt.core.issuances)],
            paid_in=Dure(_dure(psdt.spent)),
            paid_out=Dure(_dure(psdt.core.outputs)),
            fee=Dure(psdt.fee),
            yours=UNSET if self.wallet is None else self._stakes(self.wallet),
            parts=[self._part(part) for part in psdt.parts],
            complete=why_incomplete(self.services, psdt, self._records) is None,
            warnings=self._warnings(known),
        )

    def _carried(self, output: Output) -> dict[str, Any]:
        place = {"address": self.address(output.lock), "name": self.name(output.lock)}
        if output.asset is None:
            return {"amount": Dure(output.value)} | place
        return {"amount": Dure(0), "asset": output.asset.hex(), "units": output.value} | place

    def _asset(self, asset: AssetId, flow: Flow) -> schema.PsbtAsset:
        of = self._rights.get(asset)
        if of is None and self.wallet is not None:
            of = self.wallet.assets.asset_of(asset)
        definition = self._definition(asset if of is None else of)
        decimals = None if definition is None else definition.decimals
        return schema.PsbtAsset(
            asset=asset.hex(),
            authority_of=UNSET if of is None else of.hex(),
            metadata=None if definition is None else asset_text(definition.metadata),
            decimals=decimals if of is None else 0,
            spent=flow.spent,
            created=flow.created,
            paid_out=flow.paid_out,
            burned=flow.burned,
        )

    def _definition(self, asset: AssetId) -> Definition | None:
        found = self._definitions.get(asset)
        if found is None:
            record = self.services.chain.get_assets([asset]).get(asset)
            found = None if record is None else record.definition
        return found

    def _stakes(self, wallet: Wallet) -> schema.PsbtStakes:
        his = stakes(self._psdt.core, self._psdt.spent, wallet.is_mine)
        dure = his.pop(None)
        return schema.PsbtStakes(
            gives=Dure(dure.gives),
            gets=Dure(dure.gets),
            assets=[
                schema.PsbtStake(asset=asset.hex(), gives=stake.gives, gets=stake.gets)
                for asset, stake in his.items()
                if asset is not None
            ],
        )

    def _warnings(self, known: Mapping[OutPoint, Output]) -> list[str]:
        psdt, warnings = self._psdt, []
        if self.wallet is not None:
            try:
                self.wallet.cosigner.check_coins(psdt, known)
            except WalletError as error:
                warnings.append(f"This is a lie: {error}")
            mine = _dure([output for output in psdt.spent if self.wallet.is_mine(output.lock)])
            if mine:
                warnings.append(f"It takes {format_amount(mine)} DURE of this wallet's own coins.")
            warnings += [f"{each[:1].upper()}{each[1:]}." for each in self.wallet.assets.frozen_in(psdt)]
        unknown = sum(outpoint not in known for outpoint in psdt.core.inputs)
        if unknown:
            coins = plural(unknown, "coin")
            warnings.append(f"This node does not know {coins} that it spends: spent already, never there, or not yet.")
        try:
            check_approvals(psdt, self._records)
            check_psdt_fee(psdt)
        except (PsdtError, FeeError) as error:
            warnings.append(f"{str(error)[:1].upper()}{str(error)[1:]}.")
        return warnings

    def _part(self, part: Part) -> schema.PsbtPart:
        roles = self.roles(part.lock)
        signed = {key for key, _ in part.signatures}
        keys = [] if part.policy is None else keys_of(part.policy)
        return schema.PsbtPart(
            address=self.address(part.lock),
            name=self.name(part.lock),
            asset=UNSET if part.asset is None else part.asset.hex(),
            approves=self._role(part),
            policy=UNSET if part.policy is None else format_policy(part.policy),
            signed=[self.key(key, roles) for key in keys if key in signed],
            unsigned=[self.key(key, roles) for key in keys if key not in signed],
            preimages=[preimage.hex() for _, preimage in part.preimages],
            branches=[
                schema.PsbtBranch(
                    number=number,
                    sentence=self.sentence(lack.branch, roles, verb="spend" if part.asset is None else "approve"),
                    missing=self._missing(lack, roles),
                )
                for number, lack in enumerate(lacks(self._psdt, part, self.context), 1)
            ],
        )

    def _role(self, part: Part) -> Any:
        definition = None if part.asset is None else self._definition(part.asset)
        if definition is None:
            return UNSET
        twice = [each for each in self._psdt.parts if each.name == part.name]
        if part.lock == definition.controller and (len(twice) == 1 or twice[0] is part):
            return Role.CONTROLLER.name.lower()
        return Role.AUDITOR.name.lower() if part.lock == definition.auditor else UNSET

    def _missing(self, lack: Lack, roles: Mapping[bytes, str]) -> list[str]:
        missing = []
        if lack.signatures:
            of = join([self.key_name(key, roles) for key in lack.keys], "or")
            missing.append(f"{plural(lack.signatures, 'signature')} of {of}")
        missing += [f"the secret whose SHA-256 is {digest.hex()}" for digest in lack.hashes]
        if lack.waits:
            missing.append("time: it is not due yet")
        if lack.strays:
            missing.append(f"outputs that pay {join([self.lock_name(lock) for lock in lack.branch.pays])}")
        if lack.branch.hidden:
            missing.append("what is hidden of the policy")
        return missing


def _dure(outputs: Iterable[Output]) -> int:
    return sum(output.value for output in outputs if output.asset is None)


def asset_records(services: Services, psdt: Psdt) -> dict[AssetId, Asset | None]:
    """Return the records of all assets that a file names or spends, None where the best chain has none."""
    return fetch_records(psdt.core, psdt.spent, services.chain.get_assets)


def unapproved(services: Services, psdt: Psdt) -> list[Part]:
    """Return those parts of a file that approve for an asset, and are not ready to."""
    context = context_of(services)
    wanted = [part for part in psdt.parts if part.asset is not None]
    return [part for part in wanted if not any(lack.nothing for lack in lacks(psdt, part, context))]


def why_incomplete(services: Services, psdt: Psdt, records: Assets) -> str | None:
    """Return why a file cannot be finished for the next block, or None."""
    try:
        finalise(services.params, psdt, context_of(services), records)
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
