"""What nodes answer: one struct for each result, with Bitcoin Core's field names.

Hashes are hex as people see them: block ids, txids, wtxids and Merkle roots reversed, all else in byte order. Times
are UNIX seconds. Amounts are `Dure`: numbers with eight decimals. A field that may be absent is `UNSET` by default.
"""

from __future__ import annotations

from rpc.schema.base import Result
from rpc.schema.chain import (
    Block,
    BlockchainInfo,
    BlockHeader,
    ChainTip,
    NewBlock,
    ScriptPubKey,
    TransactionDetail,
    TransactionInput,
    TransactionOutput,
    TxOut,
    TxOutSetInfo,
    WitnessDetail,
)
from rpc.schema.control import ActiveCommand, RpcInfo
from rpc.schema.mempool import MempoolEntry, MempoolFees, MempoolInfo
from rpc.schema.mining import BlockTemplate, CoinbaseTransaction, GeneratedBlock, MiningInfo, TemplateTransaction
from rpc.schema.network import AddedNode, LocalAddress, NetworkInfo, PeerInfo
from rpc.schema.wallet import (
    AddressInfo,
    AddressPurpose,
    AddressValidity,
    Balances,
    BumpedFee,
    CoinName,
    LastProcessedBlock,
    MineBalances,
    ReceivedByAddress,
    RescanProgress,
    RescanResult,
    SentAll,
    SentPayment,
    UnspentCoin,
    WalletEntry,
    WalletEntryDetail,
    WalletInfo,
    WalletTransaction,
)

__all__ = [
    "ActiveCommand",
    "AddedNode",
    "AddressInfo",
    "AddressPurpose",
    "AddressValidity",
    "Balances",
    "Block",
    "BlockHeader",
    "BlockTemplate",
    "BlockchainInfo",
    "BumpedFee",
    "ChainTip",
    "CoinName",
    "CoinbaseTransaction",
    "GeneratedBlock",
    "LastProcessedBlock",
    "LocalAddress",
    "MempoolEntry",
    "MempoolFees",
    "MempoolInfo",
    "MineBalances",
    "MiningInfo",
    "NetworkInfo",
    "NewBlock",
    "PeerInfo",
    "ReceivedByAddress",
    "RescanProgress",
    "RescanResult",
    "Result",
    "RpcInfo",
    "ScriptPubKey",
    "SentAll",
    "SentPayment",
    "TemplateTransaction",
    "TransactionDetail",
    "TransactionInput",
    "TransactionOutput",
    "TxOut",
    "TxOutSetInfo",
    "UnspentCoin",
    "WalletEntry",
    "WalletEntryDetail",
    "WalletInfo",
    "WalletTransaction",
    "WitnessDetail",
]
