"""Random chains with forks, full of spend policies and assets, some of it wrong: what both implementations are fed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from hashlib import sha256
from random import Random
from typing import Any, NamedTuple

from consensus.assets import asset_effects, authority_id
from consensus.codec import approval_digest, decode_transaction, lock_digest, spend_message
from consensus.codec import encode as encode_value
from consensus.errors import ConsensusError
from consensus.pow import next_bits
from consensus.signatures import sign, verify_all
from consensus.spend_policy import policy_id, walk
from consensus.state import ChainState, SpendContext
from consensus.subsidy import block_subsidy
from consensus.types import (
    AfterHeight,
    AfterTime,
    Amount,
    Asset,
    AssetId,
    Attestation,
    Coin,
    Core,
    Definition,
    Key,
    LockId,
    Older,
    Opaque,
    OutPoint,
    Output,
    Pays,
    Policy,
    Preimage,
    Reissue,
    SupplyKind,
    Threshold,
    Transaction,
    Witness,
)
from consensus.validation import check_spends, check_transaction, transaction_fee
from tests.reference.blocks import merkle_root
from tests.reference.differential import Case, Pair
from tests.reference.encoding import Refused, decode, hash256, struct
from tests.reference.headers import target_of
from tests.reference.mutations import Raw, encode_tree, spoil_bytes, spoil_signature, spoil_tree
from tests.support.assets import Book, Coins, approvals_of, define, records_for
from tests.support.rules import SECRETS, coinbase, key, lock, secret
from tests.support.town import Town, Wish

PREIMAGES = {sha256(bytes([n]) * 32).digest(): bytes([n]) * 32 for n in range(4)}
KEYS = len(SECRETS)
Tree = list[Any]
"""A decoded value, or a spoilt one."""


class Policies:
    """The spend policies of one story, by their locks, and ways to reveal them."""

    def __init__(self, random: Random, start_time: int) -> None:
        self._random = random
        self._start_time = start_time
        made = [*(self._make(4) for _ in range(10)), self._deep(random.choice([3, 4])), self._spoilt(), self._spoilt()]
        vault = Pays(lock(random.randint(1, 8)))
        self.vault = policy_id(vault)
        made.append(vault)
        self.known: dict[LockId, Policy] = {policy_id(each): each for each in made}
        self._locks = list(self.known)

    def meet(self, state: ChainState) -> None:
        """Make a policy that opens within a few blocks: its edge is met, not only passed."""
        times = state.times[len(state.times) // 2 :]
        meetings: list[Policy] = [
            AfterHeight(state.height + self._random.randint(1, 4)),
            # The median time of a block to come is often the time of one that is there.
            AfterTime(self._random.choice(times) + self._random.choice([0, 0, 1])),
            AfterTime(self._random.choice(times)),
        ]
        policy = self._random.choice(meetings)
        self.known[policy_id(policy)] = policy
        self._locks = [*self._locks[-16:], policy_id(policy), policy_id(policy)]

    def lock(self) -> LockId:
        """Return the lock of somebody: half of all are single keys."""
        return lock(self._random.randint(1, 8)) if self._random.random() < 0.5 else self._random.choice(self._locks)

    def revealed(self) -> dict[LockId, Policy]:
        """Return a way to reveal each, with exactly k branches of each threshold open."""
        return {name: self._reveal(policy) for name, policy in self.known.items()}

    def _make(self, levels: int) -> Policy:
        if levels > 1 and self._random.random() < 0.5:
            count = self._random.choice([1, 2, 2, 3, 3, 4])
            children = tuple(self._make(levels - 1) for _ in range(count))
            return Threshold(self._random.randint(1, count), children)
        leaves: list[Policy] = [
            *[key(self._random.randint(1, KEYS))] * 6,
            *[Preimage(self._random.choice(list(PREIMAGES)))] * 2,
            AfterHeight(self._random.randint(0, 25)),
            AfterTime(self._start_time + self._random.randint(0, 1500)),
            Older(self._random.randint(1, 5)),
            Pays(lock(self._random.randint(1, 8))),
        ]
        return self._random.choice(leaves)

    def _deep(self, levels: int) -> Policy:
        policy: Policy = key(1)
        for _ in range(levels):
            policy = Threshold(1, (policy,))
        return policy

    def _spoilt(self) -> Policy:
        leaf: Policy = key(1)
        deep = self._deep(self._random.choice([4, 9, 10]))
        wide = Threshold(4, tuple(Threshold(1, (Older(1), *[Opaque(LockId(bytes(32)))] * 15)) for _ in range(4)))
        return self._random.choice(
            [
                deep,
                wide,
                Threshold(0, (leaf,)),
                Threshold(2, (leaf,)),
                Threshold(0, ()),
                Threshold(2, (leaf, leaf)),
                Opaque(LockId(bytes(32))),
                Key(b"\x04" + bytes(32)),
                Key(b"\x02" + b"\xff" * 32),
                Key(b"\x02" + (5).to_bytes(32, "big")),  # x^3 + 7 is no square there: on no point of the curve
                Threshold(1, (*[Older(1)] * 15, leaf)),
            ]
        )

    def _reveal(self, policy: Policy) -> Policy:
        if not isinstance(policy, Threshold):
            return policy
        count = len(policy.children)
        opened = min(policy.k, count) if self._random.random() < 0.95 else self._random.randint(0, count)
        chosen = set(self._random.sample(range(count), opened))
        return Threshold(
            policy.k,
            tuple(
                self._reveal(child) if place in chosen else Opaque(policy_id(child))
                for place, child in enumerate(policy.children)
            ),
        )


class Villagers(Town):
    """A town whose people use every spend policy, and define assets of every kind."""

    def __init__(self, random: Random, policies: Policies) -> None:
        super().__init__(0)
        self._random = random
        self._policies = policies

    def wish(self, coins: Coins, book: Book) -> Core:
        """Return the core of a transaction of these coins."""
        self.coins, self.book = dict(coins), dict(book)
        return self._transaction()

    def _wish(self) -> Wish:
        rights = {authority_id(asset): asset for asset in self.book}
        held = [(name, rights[coin.output.asset]) for name, coin in self.coins.items() if coin.output.asset in rights]
        if not held or self._random.random() < 0.6:
            return super()._wish()
        name, asset = self._random.choice(held)
        inputs = [*self._pick(None), name]
        amounts: Counter[AssetId | None] = Counter()
        for each in inputs:
            amounts[self.coins[each].output.asset] += self.coins[each].output.value
        wish = Wish(inputs, [], amounts)
        self._issue_more(wish, asset)
        return wish

    def _issue_more(self, wish: Wish, asset: AssetId) -> None:
        record = self.book[asset]
        room = record.total - record.supply
        if record.definition.supply_kind == SupplyKind.REISSUABLE and self._random.random() < 0.1:
            room = 2**63 - 1 - record.supply
        if authority_id(asset) in wish.amounts and room > 0 and self._random.random() < 0.4:
            amount = Amount(min(room + self._random.choice([0, 0, 1]), 2**63 - 1))  # to the edge of what may be
            wish.issuances.append(Reissue(asset, amount))
            wish.amounts[asset] += amount
        else:
            super()._issue_more(wish, asset)
        if self._random.random() < 0.08:
            named = self._random.choice([asset, asset, AssetId(bytes(32))])
            if self._random.random() < 0.5:
                wish.issuances.append(Reissue(named, Amount(1)))  # perhaps without the right to
                wish.amounts[named] += 1
            else:
                wish.issuances.append(Attestation(named, 99, Amount(1)))

    def _definition(self) -> Definition:
        kind = self._random.choice(list(SupplyKind))
        first = 0 if kind is SupplyKind.RESERVED else self._random.randint(1, 100)
        more: dict[str, object] = {"auditor": self._policies.lock()} if kind is SupplyKind.RESERVED else {}
        if self._random.random() < 0.3:
            more["collection"] = self._random.choice([*self.book, AssetId(bytes(32))])
        if self._random.random() < 0.1:
            first = self._random.choice([0, 2**63 - 1])
        return define(kind, first, controller=self._random.choice([None, self._policies.lock()]), **more)

    def _outputs(self, amounts: Mapping[AssetId | None, int]) -> list[Output]:
        return [Output(each.value, self._receiver(each), each.asset) for each in super()._outputs(amounts)]

    def _receiver(self, output: Output) -> LockId:
        # Assets are few, and `pays` has more to say of them.
        vaulted = output.asset is not None and self._random.random() < 0.2
        return self._policies.vault if vaulted else self._policies.lock()


class Good(NamedTuple):
    """What follows from a transaction that keeps every rule."""

    fee: int
    records: dict[AssetId, Asset]


class Story:
    """One chain with its forks, told to a pair of implementations."""

    def __init__(self, pair: Pair, seed: int) -> None:
        self._pair = pair
        self._params = pair.params
        self._random = Random(seed)
        self._policies = Policies(self._random, self._params.genesis.header.time)
        self._villagers = Villagers(self._random, self._policies)
        self._made = 0
        self._blocks: list[bytes] = [self._params.genesis_hash]

    async def tell(self, blocks: int) -> None:
        """Make about `blocks` blocks, each with what is wrong around it."""
        for _ in range(self._params.coinbase_maturity + 2):
            await self._block(self._blocks[-1], quiet=True)
        for _ in range(blocks):
            back = self._random.choice([1, 1, 1, 1, 2, 3, 5])
            await self._block(self._blocks[-min(back, len(self._blocks))])

    async def _give(self, kind: str, raw: bytes) -> str:
        return await self._pair.give(Case(kind, raw))  # type: ignore[arg-type]

    # Blocks

    async def _block(self, parent: bytes, *, quiet: bool = False) -> None:
        transactions, fees = ([], 0) if quiet else await self._transactions(parent)
        self._policies.meet(self._pair.subject.headers[parent])
        height = self._pair.subject.headers[parent].height + 1
        reward = block_subsidy(self._params, height) + fees
        first = tree_of(self._coinbase(height, reward))
        body = [first, *(tree_of(tx) for tx in transactions)]
        header = self._header(parent, body)
        if not quiet:
            for _ in range(self._random.randint(0, 4)):
                await self._spoilt_block(parent, header, body)
            if self._random.random() < 0.3:
                await self._give("header", header)
        raw = encode_tree([header, body])
        if await self._give("block", raw) == "accept":
            self._blocks.append(hash256(header))

    def _coinbase(self, height: int, reward: int) -> Transaction:
        self._made += 1
        outputs: list[Output] = []
        left = reward
        while left > 0 and len(outputs) < 5:
            part = left if len(outputs) == 4 else self._random.randint(1, left)
            outputs.append(Output(Amount(part), self._policies.lock(), None))
            left -= part
        return coinbase(height, outputs, b"block %d of a story, made for it" % self._made)

    def _header(self, parent: bytes, body: Tree, time: int | None = None) -> bytes:
        """A header over the body, with its work done."""
        state = self._pair.subject.headers[parent]
        if time is None:
            passed = self._random.choice([1, 60, 60, 60, 60, 120, 30, 600, 6000])
            time = max(state.median_time + 1, state.times[-1] + passed - self._random.choice([0, 0, 0, 200]))
        bits, _ = next_bits(self._params, state.anchor, state.height, state.times[-1])
        leaves = [hash256(encode_tree(tx)) for tx in body]
        root = merkle_root(leaves) if leaves else bytes(32)
        return self._work(b"\1\0\0\0" + parent + root + _little(time) + _little(bits) + bytes(4))

    def _work(self, header: bytes) -> bytes:
        """Find a nonce; where the bits stand for no target or too low a one, leave it at that."""
        target = target_of(int.from_bytes(header[72:76], "little")) or 0
        for nonce in range(50_000):
            tried = header[:76] + _little(nonce)
            if int.from_bytes(hash256(tried), "little") <= target:
                return tried
            if target < 2**236:
                break
        return header

    async def _spoilt_block(self, parent: bytes, header: bytes, body: Tree) -> None:
        what = self._random.randrange(8)
        if what == 0:
            await self._give("block", spoil_bytes(self._random, encode_tree([header, body])))
        elif what == 1:
            await self._give("block", encode_tree(spoil_tree(self._random, [header, body], self._random.randint(1, 2))))
        elif what == 2:
            await self._give("header", self._spoilt_header(parent, header))
        elif what == 3:
            await self._give("block", encode_tree([self._spoilt_header(parent, header), body]))
        else:
            await self._new_work(parent, self._spoilt_body(body) if what > 4 else self._spoilt_coinbase(body))

    async def _new_work(self, parent: bytes, body: Tree) -> None:
        """A body that is wrong, under a header that commits to it."""
        await self._give("block", encode_tree([self._header(parent, body), body]))

    def _spoilt_body(self, body: Tree) -> Tree:
        at = self._random.randrange(len(body))
        what = self._random.randrange(5)
        if what == 0:
            return body[:at] + body[at + 1 :]
        if what == 1:
            return [*body, body[at]]
        if what == 2:
            return body[::-1]
        if what == 3:
            return self._random.sample(body, len(body))
        return [*body[:at], spoil_tree(self._random, body[at]), *body[at + 1 :]]

    def _spoilt_coinbase(self, body: Tree) -> Tree:
        core, witnesses = body[0]
        version, inputs, outputs, issuances, burns, memo = core
        height = inputs[0][1]
        somewhere = bytes(32)
        changes: list[list[object]] = [
            [version, inputs, [[outputs[0][0] + 1, *outputs[0][1:]], *outputs[1:]], issuances, burns, memo],
            [version, inputs, outputs[1:], issuances, burns, memo],
            [version, inputs, [], issuances, burns, memo],
            [version, [[bytes(32), height + 1]], outputs, issuances, burns, memo],
            [version, [[bytes(32), height - 1]], outputs, issuances, burns, memo],
            [version, inputs * 2, outputs, issuances, burns, memo],
            [version, [], outputs, issuances, burns, memo],
            [version, inputs, [*outputs, [1, somewhere, somewhere]], issuances, burns, memo],
            [version, inputs, outputs, [[1, somewhere, 1]], burns, memo],
            [version, inputs, outputs, issuances, [[somewhere, 1]], memo],
            [2, inputs, outputs, issuances, burns, memo],
            [version, inputs, [], issuances, burns, bytes(self._random.choice([15, 16, 17, 18]))],
        ]
        changed = self._random.choice(changes)
        given = [[[4, 1], []]] if self._random.random() < 0.1 else witnesses
        return [[changed, given], *body[1:]]

    def _spoilt_header(self, parent: bytes, header: bytes) -> bytes:
        state = self._pair.subject.headers[parent]
        bits = int.from_bytes(header[72:76], "little")
        spoilt = self._random.choice(
            [
                spoil_bytes(self._random, header),
                header[:68] + _little(state.median_time + self._random.choice([-1, 0, 0, 1, 1])) + header[72:],
                header[:68] + _little(self._random.choice([0, 2**32 - 1])) + header[72:],
                header[:72] + _little(bits + self._random.choice([-1, 1])) + header[76:],
                header[:72]
                + self._random.choice([_little(0x207FFFFF), _little(0x2000FFFF), bytes(4), b"\xff" * 4])
                + header[76:],
                self._random.randbytes(4) + header[4:],
                header[:4] + self._random.choice([*self._blocks[-3:], bytes(32)]) + header[36:],
                header[:76] + self._random.randbytes(4),
            ]
        )
        return self._work(spoilt) if len(spoilt) == 80 and self._random.random() < 0.7 else spoilt

    # Transactions

    async def _transactions(self, parent: bytes) -> tuple[list[Transaction], int]:
        """Transactions for a child of `parent`, most of them good, and the fees of those."""
        state = self._pair.subject.headers[parent]
        known = self._pair.subject.states[parent]
        coins, book = dict(known[0]), dict(known[1])
        context = SpendContext(state.height + 1, state.median_time)
        chosen: list[Transaction] = []
        fees = 0
        for _ in range(self._random.randint(0, 5)):
            tx = self._transaction(coins, book, context.height)
            if self._random.random() < 0.25:
                tx = self._nearly(tx, coins, book)
            await self._transactions_alone(tx)
            good = self._if_good(tx, coins, book, context)
            if good is not None:
                fees += good.fee
                book |= good.records
                coins = {name: coin for name, coin in coins.items() if name not in tx.core.inputs}
                coins |= {OutPoint(tx.txid, i): Coin(o, context.height, False) for i, o in enumerate(tx.core.outputs)}
                chosen.append(tx)
            elif self._random.random() < 0.5:
                # Alone in a block that is otherwise good: whatever is wrong is this.
                first = tree_of(self._coinbase(context.height, block_subsidy(self._params, context.height)))
                await self._new_work(parent, [first, *(tree_of(each) for each in [*chosen, tx])])
        return chosen, fees

    def _if_good(self, tx: Transaction, coins: Coins, book: Book, context: SpendContext) -> Good | None:
        try:
            check_transaction(self._params, tx)
            fee = transaction_fee(self._params, context.height, tx, coins)
            spent = {name: coins[name] for name in tx.core.inputs}
            effects = asset_effects(tx, spent, records_for([tx], spent.values(), book))
            checks = check_spends(self._params, context, tx, spent, effects.approvals)
        except ConsensusError:
            return None
        return Good(fee, effects.records) if verify_all(checks) is None else None

    def _transaction(self, coins: Coins, book: Book, height: int) -> Transaction:
        ripe = {
            name: coin
            for name, coin in coins.items()
            if not coin.coinbase or height >= coin.height + self._params.coinbase_maturity
        }
        core = self._villagers.wish(coins if self._random.random() < 0.05 else ripe, book)
        revealed = self._policies.revealed()
        for name in core.inputs:
            targets = [node for node in walk(revealed.get(coins[name].output.lock, key(1))) if isinstance(node, Pays)]
            if targets and self._random.random() < 0.7:
                core = self._paid(name, targets[0].lock, ripe, coins[name].output) or core
                break
        return self._signed(core, coins, book, revealed)

    def _paid(self, name: OutPoint, target: LockId, coins: Coins, spent: Output) -> Core | None:
        """A core with the output that `pays` asks for beside the input, or nearly that."""
        value = spent.value + self._random.choice([0, 0, 0, -1])
        rich = [each for each, coin in coins.items() if coin.output.asset is None and coin.output.value >= spent.value]
        if spent.asset is not None and rich and self._random.random() < 0.4:
            # As many units, but of DURE.
            inputs = (name, self._random.choice(rich))
            outputs = (Output(spent.value, target, None), Output(spent.value, target, spent.asset))
            return Core(1, inputs, outputs, (), (), b"")
        return Core(1, (name,), (Output(Amount(value), target, spent.asset),), (), (), b"") if value else None

    def _signed(
        self,
        core: Core,
        coins: Coins,
        book: Book,
        revealed: Mapping[LockId, Policy],
    ) -> Transaction:
        outputs = [coins[name].output for name in core.inputs]
        message = spend_message(self._params.genesis_hash, core, outputs)
        wanted = [(each, lock_digest(message, each)) for each in dict.fromkeys(output.lock for output in outputs)]
        wanted += [
            (approval.policy, approval_digest(message, approval.asset, approval.policy))
            for approval in approvals_of(core, coins, book)
        ]
        known = {lock(n): key(n) for n in range(1, KEYS + 1)} | dict(revealed)
        return Transaction(core, tuple(satisfied(known.get(name, key(1)), digest) for name, digest in wanted))

    def _nearly(self, tx: Transaction, coins: Coins, book: Book) -> Transaction:
        """A transaction with something changed: in its core and signed again, or in its witnesses."""
        core, witnesses = tree_of(tx)
        if isinstance(core, Raw):
            return tx
        if self._random.random() < 0.6:
            core = spoil_tree(self._random, core)
        elif witnesses and self._random.random() < 0.5:
            at = self._random.randrange(len(witnesses))
            policy, given = witnesses[at]
            given = [spoil_signature(self._random, each) if len(each) == 64 else each for each in given]
            witnesses = [*witnesses[:at], [policy, given], *witnesses[at + 1 :]]
        else:
            witnesses = spoil_tree(self._random, witnesses)
        try:
            changed = decode_transaction(encode_tree([core, witnesses]))
        except ConsensusError:
            return tx
        try:
            check_transaction(self._params, changed)
        except ConsensusError:
            return changed
        if changed.core != tx.core and all(name in coins for name in changed.core.inputs):
            return self._signed(changed.core, coins, book, self._policies.revealed())
        return changed

    async def _transactions_alone(self, tx: Transaction) -> None:
        await self._give("transaction", tx.encoded)
        for _ in range(self._random.randint(0, 3)):
            await self._give("transaction", spoil_bytes(self._random, tx.encoded))
        for _ in range(self._random.randint(0, 6)):
            await self._give(
                "transaction", encode_tree(spoil_tree(self._random, tree_of(tx), self._random.choice([1, 1, 2])))
            )


def satisfied(policy: Policy, digest: bytes) -> Witness:
    """A witness of this policy, however wrong that is, with what its leaves ask for."""
    given: list[bytes] = []
    for leaf in walk(policy):
        if isinstance(leaf, Key):
            given.append(sign(SECRETS.get(leaf.key, secret(1)), digest))
        elif isinstance(leaf, Preimage):
            given.append(PREIMAGES.get(leaf.hash, bytes(32)))
    return Witness(policy, tuple(given))


def tree_of(tx: Transaction) -> Tree:
    """Return a transaction as the tree that is spoilt; as bytes where it is too wrong to be read."""
    try:
        return struct(decode(tx.encoded), 2)
    except Refused:  # an output above 2^63-1, of an asset of which there is that much and one more is asked for
        return [Raw(tx.encoded[1 : 1 + len(encode_value(tx.core))]), Raw(tx.encoded[1 + len(encode_value(tx.core)) :])]


def _little(number: int) -> bytes:
    return (number % 2**32).to_bytes(4, "little")
