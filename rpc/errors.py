"""What a node answers when it does not do what was asked: Bitcoin Core's codes (src/rpc/protocol.h)."""

from __future__ import annotations

from enum import IntEnum


class ErrorCode(IntEnum):
    """Why a call was refused."""

    # JSON-RPC 2.0
    PARSE_ERROR = -32700
    """The body is not JSON, or not JSON that a node reads."""
    INVALID_REQUEST = -32600
    """The JSON is not a call."""
    METHOD_NOT_FOUND = -32601
    INVALID_PARAMS = -32602
    INTERNAL_ERROR = -32603
    """The node failed; its log says how."""

    # General
    MISC_ERROR = -1
    """No other code fits; also: the wrong number of parameters."""
    TYPE_ERROR = -3
    """A parameter has another JSON type than it must have, or an amount is out of range."""
    INVALID_ADDRESS_OR_KEY = -5
    """An address, a block or a transaction that is not there, or is not one."""
    INVALID_PARAMETER = -8
    """A parameter of the right type that means nothing."""
    DATABASE_ERROR = -20
    DESERIALIZATION_ERROR = -22
    """Hex that is no block or transaction."""
    VERIFY_ERROR = -25
    """A transaction that cannot be taken now: a coin is missing, or something is too early."""
    VERIFY_REJECTED = -26
    """A transaction or block that breaks a rule, or the node's relay policy."""
    VERIFY_ALREADY_IN_UTXO_SET = -27
    """The transaction is in the chain already."""
    IN_WARMUP = -28
    """The node is still starting."""

    # Peers
    CLIENT_NOT_CONNECTED = -9
    CLIENT_IN_INITIAL_DOWNLOAD = -10
    NODE_ALREADY_ADDED = -23
    NODE_NOT_ADDED = -24
    NODE_NOT_CONNECTED = -29

    # Wallet
    WALLET_ERROR = -4
    INSUFFICIENT_FUNDS = -6
    INVALID_LABEL_NAME = -11
    UNLOCK_NEEDED = -13
    """The wallet is locked: it needs its passphrase first."""
    PASSPHRASE_INCORRECT = -14
    WRONG_ENC_STATE = -15
    """The wallet is encrypted already, or not at all."""
    WALLET_NOT_FOUND = -18
    """This node runs without a wallet."""


class RpcError(Exception):
    """A call was refused, in a node's own words. Raised by methods on one side and by the client on the other."""

    def __init__(self, code: int, message: str) -> None:
        """
        Args:
            code: one of `ErrorCode`; a plain number where a node is newer than this client.
            message: a sentence for whoever called. Never a path, a secret or a traceback.
        """
        super().__init__(code, message)
        self.code = ErrorCode(code) if code in ErrorCode.__members__.values() else code
        self.message = message

    def __str__(self) -> str:
        return f"{self.message} ({int(self.code)})"
