"""Random transactions of coins and assets out of all that there is, most of them valid, and ways to spoil them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from random import Random

from msgspec.structs import replace

from consensus.assets import asset_id
from consensus.params import Params
from consensus.spend_policy import policy_id
from consensus.types import (
    Amount,
    Asset,
    AssetId,
    Attestation,
    Burn,
    Coin,
    Core,
    Definition,
    NewAsset,
    Opaque,
    OutPoint,
    Output,
    Policy,
    Reissue,
    SupplyKind,
    Threshold,
    Transaction,
    Witness,
)
from simnet.asset_model import right_of
from tests.support.assets import approvals_of, asset_core, define, with_output
from tests.support.rules import key, lock, quick_sign, witnesses_for

PEOPLE = 8
"""Keys 1 to 8 hold coins; 5 controls some assets, and two of 6, 7 and 8 others; 9 audits."""
MANY_COINS = 500
"""From then on a transaction takes more coins than it makes."""
MANY_ASSETS = 120
"""From then on no more are defined on a branch."""
BOARD = Threshold(2, (key(6), key(7), key(8)))
SHOWN: Mapping[bytes, Policy] = {policy_id(BOARD): Threshold(2, (key(6), Opaque(policy_id(key(7))), key(8)))}
Issuance = NewAsset | Reissue | Attestation


class Holdings:
    """Coins and assets at one moment, in which random ones are found in no time."""

    def __init__(self, coins: Mapping[OutPoint, Coin], assets: Mapping[AssetId, Asset]) -> None:
        self.coins = dict(coins)
        self.assets = dict(assets)
        self.spent: list[OutPoint] = []
        self._order = list(coins)
        self._reserved = [name for name, each in assets.items() if each.definition.auditor is not None]

    def draw(self, random: Random) -> OutPoint:
        """Return any coin."""
        while True:
            place = random.randrange(len(self._order))
            found = self._order[place]
            if found in self.coins:
                return found
            # It is spent: the last one takes its place.
            self._order[place] = self._order[-1]
            self._order.pop()

    def draw_reserved(self, random: Random) -> AssetId | None:
        """Return any asset with a reserve."""
        return random.choice(self._reserved) if self._reserved else None

    def take(self, tx: Transaction, height: int, records: Mapping[AssetId, Asset]) -> None:
        """Take what a valid transaction does."""
        for outpoint in tx.core.inputs:
            del self.coins[outpoint]
            self.spent.append(outpoint)
        for index, output in enumerate(tx.core.outputs):
            outpoint = OutPoint(tx.txid, index)
            self.coins[outpoint] = Coin(output, height, False)
            self._order.append(outpoint)
        for name, record in records.items():
            if name not in self.assets and record.definition.auditor is not None:
                self._reserved.append(name)
            self.assets[name] = record


class Wishes:
    """Makes transactions for the people of one story."""

    def __init__(self, random: Random, params: Params) -> None:
        self._random = random
        self._params = params

    def next(self, holdings: Holdings) -> Transaction:
        """Return a transaction that means well: if it is refused, a reward is too young or a reserve too small."""
        random = self._random
        count = random.randint(2, 4) if len(holdings.coins) > MANY_COINS else random.choice((1, 1, 2, 3))
        inputs = list(dict.fromkeys(holdings.draw(random) for _ in range(count)))
        amounts: Counter[AssetId | None] = Counter()
        for name in inputs:
            output = holdings.coins[name].output
            amounts[output.asset] += output.value
        issuances = self._issuances(holdings, inputs, amounts)
        burns: dict[AssetId, int] = {}
        for asset, amount in list(amounts.items()):
            if asset is not None and amount and random.random() < 0.1:
                burns[asset] = random.randint(1, amount)
                amounts[asset] -= burns[asset]
        if amounts[None] > 3:
            amounts[None] -= random.randint(0, 3)
        if not any(amounts.values()):
            # All that it spends would be burned, and something has to be paid out.
            asset = next(iter(burns))
            amounts[asset] += burns.pop(asset)
        core = asset_core(inputs, self._outputs(amounts), issuances, burns)
        return self.sign(core, holdings)

    def _issuances(
        self, holdings: Holdings, inputs: Sequence[OutPoint], amounts: Counter[AssetId | None]
    ) -> list[Issuance]:
        random = self._random
        made: list[Issuance] = []
        rights = {right_of(name): name for name in holdings.assets if right_of(name) in amounts}
        reserve = holdings.draw_reserved(random) if random.random() < 0.1 else None
        totals: dict[AssetId, int] = {}
        if reserve is not None:
            record = holdings.assets[reserve]
            totals[reserve] = record.supply + random.randint(0, 5_000)
            made.append(Attestation(reserve, record.sequence + random.choice((1, 1, 3)), Amount(totals[reserve])))
        for name in rights.values():
            record = holdings.assets[name]
            most = 1_000
            if record.definition.supply_kind == SupplyKind.RESERVED:
                most = totals.get(name, record.total) - record.supply
            if most > 0 and random.random() < 0.8:
                amount = random.choice((most, random.randint(1, most)))
                made.append(Reissue(name, Amount(amount)))
                amounts[name] += amount
        if random.random() < 0.12 and len(holdings.assets) < MANY_ASSETS:
            collection = random.choice(list(rights.values())) if rights else None
            definition = self._definition(collection)
            name = asset_id(inputs[0], len(made), definition)
            made.append(NewAsset(definition))
            amounts[name] += definition.first_amount
            if definition.supply_kind != SupplyKind.FIXED:
                amounts[right_of(name)] += 1
        return made

    def _definition(self, collection: AssetId | None) -> Definition:
        kind = self._random.choice(list(SupplyKind))
        first = 0 if kind is SupplyKind.RESERVED else self._random.choice((1, 1, 7, 10_000))
        controller = self._random.choice((None, None, lock(5), policy_id(BOARD)))
        content = self._random.randbytes(32) if first == 1 else None
        return define(kind, first, controller=controller, content=content, collection=collection)

    def _outputs(self, amounts: Mapping[AssetId | None, int]) -> list[Output]:
        """All of the amounts, in one or two parts each, to random people."""
        random = self._random
        made: list[Output] = []
        for asset, amount in amounts.items():
            parts = [amount] if amount < 2 or random.random() < 0.6 else [random.randint(1, amount - 1)]
            parts += [amount - parts[0]]
            for part in parts:
                if part:
                    to = policy_id(BOARD) if random.random() < 0.05 else lock(random.randint(1, PEOPLE))
                    made.append(Output(Amount(part), to, asset))
        return made

    def sign(self, core: Core, holdings: Holdings) -> Transaction:
        """Sign a core for every coin that is there, and approve it where the rules say that it takes that."""
        coins = {name: holdings.coins[name] for name in core.inputs if name in holdings.coins}
        try:
            approvals = approvals_of(core, coins, holdings.assets)
        except LookupError:  # a coin is missing, or there is no input at all
            approvals = ()
        spent = [coin.output for coin in coins.values()]
        witnesses = witnesses_for(spent, core, SHOWN, params=self._params, signer=quick_sign, approvals=approvals)  # type: ignore[arg-type]
        return Transaction(core, witnesses)


# --- spoiling -------------------------------------------------------------------------------------------------


def spoil(
    random: Random, tx: Transaction, holdings: Holdings, sign: Callable[[Core, Holdings], Transaction]
) -> Transaction:
    """Return a transaction that is wrong, most of the time: of a core that was changed, and signed anew, or not."""
    if random.random() < 0.25:
        return Transaction(tx.core, _bent(random, tx.witnesses))
    core = random.choice(_CHANGES)(random, tx.core, holdings)
    return Transaction(core, tx.witnesses) if random.random() < 0.2 else sign(core, holdings)


def _bent(random: Random, witnesses: tuple[Witness, ...]) -> tuple[Witness, ...]:
    """One missing, one twice, in another order, another's, or with a bit changed."""
    way, place = random.randrange(5), random.randrange(len(witnesses))
    if way == 0:
        return (*witnesses[:place], *witnesses[place + 1 :])
    if way == 1:
        return (*witnesses, witnesses[place])
    if way == 2 and len(witnesses) > 1:
        return witnesses[::-1]
    chosen = witnesses[place]
    if way == 3:
        chosen = Witness(key(random.randint(9, 16)), chosen.satisfactions[:1])
    else:
        signature = bytearray(chosen.satisfactions[0])
        signature[random.randrange(64)] ^= 1 << random.randrange(8)
        chosen = Witness(chosen.policy, (bytes(signature), *chosen.satisfactions[1:]))
    return (*witnesses[:place], chosen, *witnesses[place + 1 :])


def _other_amount(random: Random, core: Core, _: Holdings) -> Core:
    place = random.randrange(len(core.outputs))
    output = core.outputs[place]
    value = random.choice((output.value + 1, output.value * 2, output.value + 10**6, 2**63 - 1))
    return with_output(core, place, replace(output, value=Amount(min(value, 2**63 - 1))))


def _other_asset(random: Random, core: Core, holdings: Holdings) -> Core:
    place = random.randrange(len(core.outputs))
    names: list[AssetId | None] = [None, AssetId(random.randbytes(32)), *list(holdings.assets)[-8:]]
    names += [right_of(name) for name in names if name is not None]
    return with_output(core, place, replace(core.outputs[place], asset=random.choice(names)))


def _one_more_output(random: Random, core: Core, _: Holdings) -> Core:
    return replace(core, outputs=(*core.outputs, random.choice(core.outputs)))


def _one_less_output(random: Random, core: Core, _: Holdings) -> Core:
    place = random.randrange(len(core.outputs))
    return replace(core, outputs=(*core.outputs[:place], *core.outputs[place + 1 :]))


def _one_less_input(random: Random, core: Core, _: Holdings) -> Core:
    place = random.randrange(len(core.inputs))
    return replace(core, inputs=(*core.inputs[:place], *core.inputs[place + 1 :]))


def _spent_input(random: Random, core: Core, holdings: Holdings) -> Core:
    gone = random.choice(holdings.spent) if holdings.spent else OutPoint(core.inputs[0].txid, 4_000)
    return replace(core, inputs=(*core.inputs[:-1], gone))


def _same_input(_: Random, core: Core, __: Holdings) -> Core:
    return replace(core, inputs=(*core.inputs, core.inputs[0]))


def _issued(random: Random, core: Core, holdings: Holdings) -> Core:
    """More of any asset, whoever has the authority; or a larger reserve under any number."""
    if not holdings.assets:
        return _other_amount(random, core, holdings)
    name = random.choice(list(holdings.assets))
    record = holdings.assets[name]
    amount = Amount(random.choice((1, 1_000, max(1, record.total - record.supply + 1))))
    if random.random() < 0.3:
        attested = Attestation(name, max(0, record.sequence + random.choice((-1, 0, 1))), Amount(10**9))
        return replace(core, issuances=(*core.issuances, attested))
    paid = Output(amount, lock(1), name)
    return replace(core, issuances=(*core.issuances, Reissue(name, amount)), outputs=(*core.outputs, paid))


def _more_issued(random: Random, core: Core, holdings: Holdings) -> Core:
    """More of what is issued by right: beyond the reserve, where there is one."""
    place = next((at for at, each in enumerate(core.issuances) if isinstance(each, Reissue)), None)
    if place is None:
        return _issued(random, core, holdings)
    more = random.choice((1, 10_000, 2**62))
    issued = core.issuances[place]
    changed = replace(issued, amount=Amount(issued.amount + more))  # type: ignore[union-attr]
    paid = Output(Amount(more), lock(1), issued.asset)  # type: ignore[union-attr]
    issuances = (*core.issuances[:place], changed, *core.issuances[place + 1 :])
    return replace(core, issuances=issuances, outputs=(*core.outputs, paid))


def _defined(random: Random, core: Core, holdings: Holdings) -> Core:
    """A new asset of which more is paid out than its definition says, or which joins a collection uninvited."""
    kind = random.choice(list(SupplyKind))
    first = random.choice((0, 1, 5))
    others = list(holdings.assets)
    collection = random.choice(others) if others and random.random() < 0.5 else None
    definition = replace(define(kind, 0), first_amount=Amount(first), collection=collection)
    name = asset_id(core.inputs[0], len(core.issuances), definition)
    paid = [Output(Amount(first + random.choice((0, 1))), lock(1), name)] if first else []
    return replace(core, issuances=(*core.issuances, NewAsset(definition)), outputs=(*core.outputs, *paid))


def _burned(random: Random, core: Core, holdings: Holdings) -> Core:
    """More than there is, or something else."""
    names = [*(burn.id for burn in core.burns), *list(holdings.assets)[-4:], AssetId(bytes(32))]
    burn = Burn(random.choice(names), Amount(random.choice((1, 10**9))))
    return replace(core, burns=(*core.burns, burn))


_CHANGES = (
    _other_amount,
    _other_amount,
    _other_asset,
    _one_more_output,
    _one_less_output,
    _one_less_input,
    _spent_input,
    _same_input,
    _issued,
    _more_issued,
    _more_issued,
    _defined,
    _burned,
)
