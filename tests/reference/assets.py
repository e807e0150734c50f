"""Section "Assets" of docs/protocol.md."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import NamedTuple

from tests.reference.encoding import LARGEST, encode, need, tagged
from tests.reference.records import Coin, Record, Transaction

FIXED, REISSUABLE, RESERVED = range(3)
DEFINE, ISSUE, ATTEST = range(3)


class Approval(NamedTuple):
    """One that a transaction needs: of this asset, by this policy."""

    asset: bytes
    policy: bytes


def asset_id(transaction: Transaction, position: int) -> bytes:
    """Return the id of the asset that the entry at `position` defines."""
    definition = transaction.issuances[position][1]
    return tagged("dure/asset", encode([list(transaction.inputs[0]), position, definition]))


def authority_id(asset: bytes) -> bytes:
    """Return the id of the authority of an asset."""
    return tagged("dure/authority", asset)


def check_assets_alone(transaction: Transaction) -> None:
    """Hold a transaction against the table "Alone, a transaction must keep"."""
    for entry in transaction.issuances:
        if entry[0] != DEFINE:
            continue
        kind, first, _, auditor = entry[1][:4]
        need(first >= 1 if kind == FIXED else (kind == REISSUABLE or first == 0), "definition-amount")
        need((auditor is not None) == (kind == RESERVED), "definition-auditor")
    for tag in (ISSUE, ATTEST):
        named = [entry[1] for entry in transaction.issuances if entry[0] == tag]
        need(len(named) == len(set(named)), "issued-twice")
    burned = [burn[0] for burn in transaction.burns]
    need(all(one < other for one, other in itertools.pairwise(burned)), "burn-order")


def apply_assets(
    transaction: Transaction, coins: list[Coin], records: dict[bytes, Record]
) -> tuple[dict[bytes, Record], list[Approval]]:
    """Return the records after a transaction, and the approvals that it needs, in the order of their witnesses."""
    spent_ids = {coin.asset for coin in coins}
    after = dict(records)
    created: Counter[bytes] = Counter()
    attested, touched = set(), set()

    for entry in transaction.issuances:
        if entry[0] == ATTEST:
            _, asset, sequence, total = entry
            need(asset in records, "unknown-asset")
            record = after[asset]
            need(record.definition[0] == RESERVED, "not-reserved")
            need(sequence > record.sequence, "attestation-sequence")
            after[asset] = record._replace(sequence=sequence, total=total)
            attested.add(asset)
    for entry in transaction.issuances:
        if entry[0] == ISSUE:
            _, asset, amount = entry
            need(asset in records, "unknown-asset")
            record = after[asset]
            need(authority_id(asset) in spent_ids, "no-authority")
            need(record.supply + amount <= LARGEST, "supply-range")
            if record.definition[0] == RESERVED:
                need(record.supply + amount <= record.total, "above-reserve")
            after[asset] = record._replace(supply=record.supply + amount)
            created[asset] += amount
            touched.add(asset)
    for position, entry in enumerate(transaction.issuances):
        if entry[0] == DEFINE:
            definition = entry[1]
            collection = definition[6]
            if collection is not None:
                need(authority_id(collection) in spent_ids, "collection-authority")
            asset = asset_id(transaction, position)
            after[asset] = Record(definition, definition[1], 0, 0)
            created[asset] += definition[1]
            if definition[0] != FIXED:
                created[authority_id(asset)] += 1
            touched.add(asset)

    balance = Counter(created)
    for coin in coins:
        if coin.asset is not None:
            balance[coin.asset] += coin.value
    for output in transaction.outputs:
        if output.asset is not None:
            balance[output.asset] -= output.value
    for burned, amount in transaction.burns:
        balance[burned] -= amount
    need(all(left == 0 for left in balance.values()), "asset-conservation")

    for burned, amount in transaction.burns:
        if burned in after:
            after[burned] = after[burned]._replace(supply=after[burned].supply - amount)
    touched |= {asset for asset in moved(transaction, coins) if asset in after}
    return after, approvals(after, touched, attested)


def moved(transaction: Transaction, coins: list[Coin]) -> set[bytes]:
    """Return every id that a transaction spends, pays out or burns."""
    ids = {coin.asset for coin in coins} | {output.asset for output in transaction.outputs}
    return {asset for asset in ids if asset is not None} | {burn[0] for burn in transaction.burns}


def approvals(records: dict[bytes, Record], touched: set[bytes], attested: set[bytes]) -> list[Approval]:
    """Return the approvals for assets that are touched (by controllers) and attested (by auditors), in order."""
    needed = []
    for asset in sorted(touched | attested):
        _, _, _, auditor, controller = records[asset].definition[:5]
        if asset in touched and controller is not None:
            needed.append(Approval(asset, controller))
        if asset in attested:
            needed.append(Approval(asset, auditor))
    return needed
