"""Signed transactions with one input and two outputs, made beforehand without any node's wallet."""

from __future__ import annotations

import hashlib
import importlib
import struct
from abc import ABC, abstractmethod
from typing import NamedTuple

import coincurve

from consensus.address import encode_address
from consensus.codec import lock_digest, parse_hash, spend_message
from consensus.params import REGTEST
from consensus.signatures import public_key
from consensus.spend_policy import policy_id
from consensus.types import GRAIN_PER_DURE, Amount, Core, Key, LockId, OutPoint, Output, Transaction, TxId, Witness
from scripts.benchmarks.peers import Anvil, Litecoind
from scripts.benchmarks.programs import Dured, Program, drain

FAN = 2_000
"""Outputs of one transaction that makes small coins out of a reward: some 82 kB."""
REWARD = 50 * GRAIN_PER_DURE
"""Of a block on every fresh chain that is measured, in the smallest units."""
FEE = 10_000
FAN_FEE = 2_000_000
ENDOWED = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"
"""The published key of the first account of anvil and of its kind."""
SECRET = hashlib.sha256(b"a key that guards nothing but benchmarks").digest()


class Coin(NamedTuple):
    """An output of the benchmark's key."""

    txid: bytes
    """As hashed."""
    place: int
    value: int


class Made(NamedTuple):
    """A signed transaction."""

    txid: bytes
    raw: bytes


class Purse(ABC):
    """One key, on one program's network."""

    def __init__(self) -> None:
        self._private = coincurve.PrivateKey(SECRET)
        self.public = public_key(SECRET)

    address: str

    @abstractmethod
    def spend(self, coin: Coin, values: list[int]) -> Made:
        """Return a transaction that spends a coin into others of the same key."""

    def pay(self, coin: Coin) -> str:
        """Return a transaction with one input and two outputs, in hex."""
        half = (coin.value - FEE) // 2
        return self.spend(coin, [half, half]).raw.hex()

    def fund(self, node: Program, count: int) -> list[Coin]:
        """Mine on a fresh chain, and split rewards into `count` confirmed coins."""
        coins: list[Coin] = []
        for reward in rewards(node, self, -(-count // FAN)):
            value = share(reward, FAN)
            made = self.spend(reward, [value] * FAN)
            node.rpc.call("sendrawtransaction", made.raw.hex())
            coins += [Coin(made.txid, index, value) for index in range(FAN)]
        drain(node)
        return coins[:count]


class DurePurse(Purse):
    """One key on Dure's regtest."""

    def __init__(self) -> None:
        super().__init__()
        self._policy = Key(self.public)
        self.lock = policy_id(self._policy)
        self.address = encode_address(REGTEST, self.lock)

    def spend(self, coin: Coin, values: list[int]) -> Made:
        """See `Purse`."""
        tx = self._sign(coin, tuple(Output(Amount(value), self.lock, None) for value in values))
        return Made(tx.txid, tx.encoded)

    def payment(self, coin: Coin) -> Transaction:
        """Return a transaction with one input and two equal outputs."""
        return self._sign(coin, (Output(Amount((coin.value - FEE) // 2), self.lock, None),) * 2)

    def fan(self, coin: Coin, lock: LockId, count: int = FAN) -> Transaction:
        """Return a transaction that splits a coin into many equal ones for somebody else."""
        return self._sign(coin, (Output(Amount(share(coin, count)), lock, None),) * count)

    def _sign(self, coin: Coin, outputs: tuple[Output, ...]) -> Transaction:
        core = Core(1, (OutPoint(TxId(coin.txid), coin.place),), outputs, (), (), b"")
        message = spend_message(REGTEST.genesis_hash, core, [Output(Amount(coin.value), self.lock, None)])
        signature = self._private.sign_recoverable(lock_digest(message, self.lock), hasher=None)[:64]
        return Transaction(core, (Witness(self._policy, (signature,)),))


def _twice(raw: bytes) -> bytes:
    return hashlib.sha256(hashlib.sha256(raw).digest()).digest()


def _count(number: int) -> bytes:
    return bytes([number]) if number < 253 else b"\xfd" + struct.pack("<H", number)


class BitcoinPurse(Purse):
    """One key in Bitcoin's oldest form, pay to the hash of a key: no witness, as in most chains that are measured."""

    def __init__(self, prefix: bytes) -> None:
        """Make an address of it.

        Args:
            prefix: one byte, of the network's addresses that pay to the hash of a key.
        """
        super().__init__()
        hashed = hashlib.new("ripemd160", hashlib.sha256(self.public).digest()).digest()
        self._script = b"\x76\xa9\x14" + hashed + b"\x88\xac"
        self.address = _base58(prefix + hashed)

    def spend(self, coin: Coin, values: list[int]) -> Made:
        """See `Purse`."""
        outputs = _count(len(values)) + b"".join(
            struct.pack("<q", value) + _count(len(self._script)) + self._script for value in values
        )
        begin = b"\2\0\0\0\1" + coin.txid + struct.pack("<I", coin.place)
        end = b"\xff\xff\xff\xff" + outputs + b"\0\0\0\0"
        digest = _twice(begin + _count(len(self._script)) + self._script + end + b"\1\0\0\0")
        signature = self._private.sign(digest, hasher=None) + b"\1"
        script = _count(len(signature)) + signature + _count(len(self.public)) + self.public
        raw = begin + _count(len(script)) + script + end
        return Made(_twice(raw), raw)


class AnvilPurse(Purse):
    """The first of the accounts that anvil endows: it has no coins, but transfers that are numbered."""

    address = ""

    def spend(self, coin: Coin, values: list[int]) -> Made:
        """Return the transfer of the coin's number. Whoever asks for it has `eth_account`."""
        signed = importlib.import_module("eth_account").Account.sign_transaction(
            {
                "to": "0x" + "11" * 20,
                "value": values[0],
                "gas": 21_000,
                "maxFeePerGas": 4 * 10**9,
                "maxPriorityFeePerGas": 10**9,
                "nonce": coin.place,
                "chainId": 31_337,
                "type": 2,
            },
            ENDOWED,
        )
        return Made(bytes(signed.hash), bytes(signed.raw_transaction))

    def pay(self, coin: Coin) -> str:
        """See `Purse`: one transfer is what comes closest."""
        return "0x" + self.spend(coin, [1]).raw.hex()

    def fund(self, node: Program, count: int) -> list[Coin]:
        """Return so many numbers, of which the last is to be paid with first; the node endowed the account already."""
        del node
        return [Coin(b"", number, 1) for number in reversed(range(count))]


def _base58(payload: bytes) -> str:
    alphabet = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
    number, text = int.from_bytes(payload + _twice(payload)[:4], "big"), ""
    while number:
        number, digit = divmod(number, 58)
        text = alphabet[digit] + text
    return text


def purse_for(kind: type[Program]) -> Purse:
    """Return the benchmark's key on a program's network."""
    if issubclass(kind, Dured):
        return DurePurse()
    if issubclass(kind, Anvil):
        return AnvilPurse()
    return BitcoinPurse(b"\x6f" if issubclass(kind, Litecoind) else b"\x3c")


def rewards(node: Program, purse: Purse, count: int) -> list[Coin]:
    """Mine on a fresh chain; return so many rewards that may be spent."""
    mined = [parse_hash(node.coinbase_of(block)) for block in node.mine(count, purse.address)]
    node.mine(100)
    return [Coin(txid, 0, REWARD) for txid in mined]


def share(coin: Coin, count: int) -> int:
    """Return what each of so many equal coins is worth that one is split into."""
    return (coin.value - FAN_FEE) // count
