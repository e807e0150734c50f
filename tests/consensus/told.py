"""What a refusal says to people besides its rule: the values that were compared.

Each is that of the block in `test_rules` which breaks that rule and no other.
"""

from __future__ import annotations

from consensus.errors import Rule

GOLD = "67" * 32
"""The id of the asset there."""

TOLD = {
    Rule.MALFORMED: "malformed: what=block, why=MessagePack data is malformed: trailing characters (byte 153)",
    Rule.HIGH_HASH: "high-hash: block=ef16b5f07e91ad82c2717cfed692fb3e463d637c3195dfb79caa64f080d19677, bits=207fffff",
    Rule.BAD_BITS: "bad-bits: bits=207ffffe, wanted=207fffff",
    Rule.TIME_TOO_OLD: "time-too-old: time=1800000000, median=1800000000",
    Rule.BAD_PREVIOUS: "bad-previous: previous=0000000000000000000000000000000000000000000000000000000000000000",
    Rule.BLOCK_SIZE: "block-size: size=4194305",
    Rule.MERKLE_ROOT: "merkle-root: block=01b396f15ad9966f975dd09791434d81fb357ae9fde810ae7a530b54b829d18d",
    Rule.NO_TRANSACTIONS: "no-transactions",
    Rule.COINBASE_FIRST: "coinbase-first",
    Rule.BLOCK_SIGNATURES: "block-signatures: signatures=20001, limit=20000",
    Rule.BLOCK_DOUBLE_SPEND: "block-double-spend",
    Rule.TX_SIZE: "tx-size: size=400001, limit=400000",
    Rule.TX_SIZE_64: "tx-size-64: txid=67b7c3f6cc6dced49e2d7a8f7d50b14599850efcec89318a98914ddbb7623007",
    Rule.TX_VERSION: "tx-version: version=2",
    Rule.NO_INPUTS: "no-inputs",
    Rule.NO_OUTPUTS: "no-outputs",
    Rule.DUPLICATE_INPUT: "duplicate-input",
    Rule.NULL_INPUT: "null-input",
    Rule.VALUE_RANGE: "value-range: value=1494999998351, total=1494999998351, limit=1494999998350",
    Rule.DEFINITION_AMOUNT: "definition-amount: supply_kind=0, first_amount=0",
    Rule.DEFINITION_AUDITOR: "definition-auditor: supply_kind=0",
    Rule.ISSUED_TWICE: f"issued-twice: asset={GOLD}",
    Rule.BURN_ORDER: "burn-order: id=0101010101010101010101010101010101010101010101010101010101010101",
    Rule.COINBASE_SHAPE: "coinbase-shape",
    Rule.COINBASE_HEIGHT: "coinbase-height: named=201, height=200",
    Rule.COINBASE_VALUE: "coinbase-value: paid=2500000011, allowed=2500000010",
    Rule.MISSING_COIN: "missing-coin: txid=0700000000000000000000000000000000000000000000000000000000000000, index=0",
    Rule.IMMATURE_SPEND: "immature-spend: born=101, height=200",
    Rule.IN_BELOW_OUT: "in-below-out: paid_in=100, paid_out=101",
    Rule.UNKNOWN_ASSET: f"unknown-asset: asset={GOLD}",
    Rule.NOT_RESERVED: f"not-reserved: asset={GOLD}",
    Rule.ATTESTATION_SEQUENCE: "attestation-sequence: sequence=3, stored=3",
    Rule.NO_AUTHORITY: f"no-authority: asset={GOLD}",
    Rule.SUPPLY_RANGE: "supply-range: supply=9223372036854775808, limit=9223372036854775807",
    Rule.ABOVE_RESERVE: "above-reserve: supply=101, attested=100",
    Rule.COLLECTION_AUTHORITY: f"collection-authority: collection={GOLD}",
    Rule.ASSET_CONSERVATION: f"asset-conservation: asset={GOLD}, left_over=-1",
    Rule.APPROVAL_LEAF: f"approval-leaf: asset={GOLD}",
    Rule.WITNESS_COUNT: "witness-count: locks=1, approvals=0, witnesses=2",
    Rule.POLICY_MISMATCH: "policy-mismatch: lock=2d4b964b9d08b39b510eb40c669dded702fcc7ca5f2f118cce06133223cf8d7c",
    Rule.POLICY_KEY: "policy-key: key=0479be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798",
    Rule.POLICY_THRESHOLD: "policy-threshold: k=0, n=2",
    Rule.POLICY_DEPTH: "policy-depth: limit=4",
    Rule.POLICY_NODES: "policy-nodes: limit=64",
    Rule.POLICY_OPAQUE_ROOT: "policy-opaque-root",
    Rule.POLICY_REVEALED: "policy-revealed: revealed=2, k=1",
    Rule.POLICY_DUPLICATE_KEY: "policy-duplicate-key",
    Rule.SATISFACTION_COUNT: "satisfaction-count: wanted=1, given=2",
    Rule.SATISFACTION_SIZE: "satisfaction-size: size=65, wanted=64",
    Rule.BAD_SIGNATURE: "bad-signature",
    Rule.BAD_PREIMAGE: "bad-preimage: hash=a7cbbfdfe39c7df7502aa43b785e40940817b89fbff7834b364d2e343c80c25c",
    Rule.AFTER_HEIGHT: "after-height: height=200, wanted=201",
    Rule.AFTER_TIME: "after-time: time=1800000000, wanted=1800000001",
    Rule.OLDER: "older: born=100, height=200, wanted=101",
    Rule.PAYS: "pays: place=0, why=another lock or asset, or less",
}
