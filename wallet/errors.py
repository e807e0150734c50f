"""Every way in which the wallet says no. The message is a sentence for the person who asked."""

from __future__ import annotations


class WalletError(Exception):
    """The wallet cannot do what was asked; nothing has changed."""


class WalletLockedError(WalletError):
    """It takes private keys, and the wallet is locked."""


class WrongPassphraseError(WalletError):
    """The passphrase does not open the keystore. The same for every wrong one, the empty one included."""


class KeystoreError(WalletError):
    """The keystore file is damaged, of another version, or asks for absurd key derivation."""


class MnemonicError(WalletError):
    """The words are no mnemonic; the message names the first word that is wrong, by its place.

    Attributes:
        place: of the wrong word, from 1; None if the words only do not belong together.
    """

    def __init__(self, message: str, place: int | None = None) -> None:
        super().__init__(message)
        self.place = place


class KeyFormatError(WalletError):
    """The text is no private key, or no extended key, of a form that is known here."""


class PaymentError(WalletError):
    """The payment cannot be made as it was asked for."""


class RequestUsedError(PaymentError):
    """The name of the request was used for another payment."""


class InsufficientFundsError(PaymentError):
    """The coins that can be spent now do not cover the amount and its fee."""


class FeeError(PaymentError):
    """The fee rate or the fee is outside what this wallet pays without being forced to."""


class UnknownTransactionError(WalletError):
    """The wallet has no such transaction, or not in a state in which this can be done to it."""


class OutOfStepError(WalletError):
    """A block that does not follow the wallet's cursor: ask the chain for its updates since that."""


class WalletDataError(WalletError):
    """The wallet's database is of another network or version, or damaged."""
