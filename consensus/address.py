"""A lock as people write it: bech32m (BIP 350) with the network's prefix.

The data are the 33 bytes 0x00 and the lock, regrouped from 8 to 5 bits with zero padding. There
is no separate version symbol; the zero byte is the version.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce
from operator import xor

from consensus.params import Params
from consensus.types import LockId

_CHARSET = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_VALUES = {symbol: value for value, symbol in enumerate(_CHARSET)}
_GENERATORS = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)
_REMAINDERS = tuple(
    reduce(xor, [each for bit, each in enumerate(_GENERATORS) if top >> bit & 1], 0) for top in range(32)
)
"""What the symbol that leaves on the left leaves behind, for each of the 32."""
_BECH32M = 0x2BC830A3
_BECH32 = 1
_MAX_LENGTH = 90
_CHECKSUM_SYMBOLS = 6
_DATA_SYMBOLS = 53
"""33 bytes in groups of 5 bits."""


class AddressError(ValueError):
    """The text is no address of this network; the message is a sentence for a person."""


def _polymod(values: Iterable[int]) -> int:
    check = 1
    for value in values:
        check = (check & 0x1FFFFFF) << 5 ^ value ^ _REMAINDERS[check >> 25]
    return check


def _expand(prefix: str) -> list[int]:
    return [ord(c) >> 5 for c in prefix] + [0] + [ord(c) & 31 for c in prefix]


def bech32m_encode(prefix: str, data: Iterable[int]) -> str:
    """Return the bech32m text of `data`, symbols of 5 bits."""
    symbols = list(data)
    residue = _polymod(_expand(prefix) + symbols + [0] * _CHECKSUM_SYMBOLS) ^ _BECH32M
    checksum = [residue >> 5 * (5 - i) & 31 for i in range(_CHECKSUM_SYMBOLS)]
    return prefix + "1" + "".join(_CHARSET[s] for s in symbols + checksum)


def bech32m_decode(text: str) -> tuple[str, list[int]]:
    """Return the prefix, in lower case, and the symbols of 5 bits without their checksum.

    Raises:
        AddressError: if `text` is not bech32m, with what is wrong.
    """
    if len(text) > _MAX_LENGTH:
        raise AddressError("the address is too long")
    if any(not 33 <= ord(c) <= 126 for c in text):
        raise AddressError("the address has a character that no address has")
    if text.lower() != text != text.upper():
        raise AddressError("the address mixes small and capital letters")
    text = text.lower()
    prefix, separator, symbols = text.rpartition("1")
    if not separator or not prefix or len(symbols) < _CHECKSUM_SYMBOLS:
        raise AddressError("the address is too short, or has no prefix")
    unknown = [c for c in symbols if c not in _VALUES]
    if unknown:
        raise AddressError(f"the address has a character that no address has: {unknown[0]!r}")
    values = [_VALUES[c] for c in symbols]
    residue = _polymod(_expand(prefix) + values)
    if residue == _BECH32:
        raise AddressError("the address has an old checksum (bech32, not bech32m)")
    if residue != _BECH32M:
        raise AddressError("the address is mistyped: its checksum does not match")
    return prefix, values[:-_CHECKSUM_SYMBOLS]


def encode_address(params: Params, lock: LockId) -> str:
    """Return the address of `lock` on the network of `params`."""
    # 264 bits do not fill 53 symbols: one zero bit pads the last.
    number = int.from_bytes(lock, "big") << 1
    symbols = [number >> 5 * (_DATA_SYMBOLS - 1 - i) & 31 for i in range(_DATA_SYMBOLS)]
    return bech32m_encode(params.address_prefix, symbols)


def decode_address(params: Params, text: str) -> LockId:
    """Return the lock that an address names.

    Raises:
        AddressError: if it is mistyped, of another network, or of an unknown version.
    """
    prefix, symbols = bech32m_decode(text)
    if prefix != params.address_prefix:
        raise AddressError(
            f"the address is not of this network: it starts with {prefix!r}, here they start with "
            f"{params.address_prefix!r}"
        )
    number = 0
    for symbol in symbols:
        number = number << 5 | symbol
    if len(symbols) != _DATA_SYMBOLS or number & 1:
        raise AddressError("the address has the wrong length")
    if number >> 257:
        raise AddressError("the address is of a version that this program does not know")
    return LockId((number >> 1).to_bytes(32, "big"))
