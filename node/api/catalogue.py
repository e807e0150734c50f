"""All methods of the API."""

from __future__ import annotations

from node.api.method import Method
from node.api.methods import (
    asset_freezing,
    asset_waiting,
    asset_wallet,
    assets,
    chain,
    control,
    faults,
    mempool,
    mining,
    network,
    offers,
    packages,
    payments,
    policies,
    psbt,
    steering,
    swaps,
    transactions,
    wallet,
    wallet_addresses,
    wallet_backup,
    wallet_coins,
    wallet_keys,
)

ALL: tuple[Method, ...] = (
    *chain.METHODS,
    *steering.METHODS,
    *assets.METHODS,
    *asset_wallet.METHODS,
    *asset_waiting.METHODS,
    *asset_freezing.METHODS,
    *mempool.METHODS,
    *transactions.METHODS,
    *packages.METHODS,
    *mining.METHODS,
    *network.METHODS,
    *faults.METHODS,
    *wallet.METHODS,
    *wallet_addresses.METHODS,
    *wallet_coins.METHODS,
    *payments.METHODS,
    *wallet_keys.METHODS,
    *wallet_backup.METHODS,
    *policies.METHODS,
    *psbt.METHODS,
    *swaps.METHODS,
    *offers.METHODS,
    *control.METHODS,
)
"""Every method there is; `node.api.method.by_name` leaves out those that a network does not have."""
