"""Ways to spoil a value or its bytes. All of them are chosen by a seeded source."""

from __future__ import annotations

from random import Random

from tests.reference.encoding import encode

EDGES = [
    0,
    1,
    2,
    3,
    15,
    16,
    18,
    19,
    63,
    64,
    65,
    127,
    128,
    255,
    256,
    2**16 - 1,
    2**16,
    2**31,
    2**32 - 1,
    2**32,
    2**63 - 1,
]
SIZES = [0, 1, 31, 32, 33, 63, 64, 65, 80, 96, 97, 255, 256, 1024, 1025, 10_000, 10_001]
STRANGE = [
    b"\xc0", b"\xc2", b"\xc3", b"\xc1", b"\x80", b"\xa0", b"\xff", b"\xe0", b"\xd0\x05", b"\xd3" + bytes(8),
    b"\xcf\x80" + bytes(7), b"\xcf" + bytes(8), b"\xcc\x05", b"\xcd\x00\x05", b"\xce\x00\x00\x01\x00", b"\xc5\x00\x01a",
    b"\xc6\x00\x00\x00\x01a", b"\xa1a", b"\xd9\x01a", b"\xcb" + bytes(8), b"\xca" + bytes(4), b"\xd4\x01a",
    b"\x81\x01\x01", b"\xdc\x00\x00", b"\xdd\x00\x00\x00\x00", b"\xdd\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff",
    b"\x90", b"\xc4\x00",
]  # fmt: skip
"""Values that no field is, or not in this form."""


class Raw(bytes):
    """Bytes that stand in a tree for their own encoding."""

    __slots__ = ()


def encode_tree(value: object) -> bytes:
    """Return the encoding of a tree which may hold `Raw`."""
    if isinstance(value, Raw):
        return bytes(value)
    if isinstance(value, list) and any(isinstance(each, (list, Raw)) for each in value):
        head = encode([0] * len(value))[: -len(value)]
        return head + b"".join(encode_tree(each) for each in value)
    return encode(value)


def spoil_bytes(random: Random, raw: bytes) -> bytes:
    """Return `raw` with a few bytes changed, cut off, inserted or put at its end."""
    spoiled = bytearray(raw)
    for _ in range(random.choice([1, 1, 1, 2, 4])):
        at = random.randrange(len(spoiled) + 1)
        what = random.randrange(6)
        if what == 0 and at < len(spoiled):
            spoiled[at] ^= 1 << random.randrange(8)
        elif what == 1 and at < len(spoiled):
            spoiled[at] = random.choice([0, 1, 0x7F, 0x80, 0x90, 0xC0, 0xC4, 0xCC, 0xCF, 0xDC, 0xFF])
        elif what == 2:
            del spoiled[at:]
        elif what == 3:
            del spoiled[at : at + random.randint(1, 8)]
        elif what == 4:
            spoiled[at:at] = random.choice(STRANGE)
        else:
            spoiled += random.choice(STRANGE)
    return bytes(spoiled)


def spoil_tree(random: Random, value: object, times: int = 1) -> object:
    """Return a decoded value with `times` places in it changed; the rest is shared with the old one."""
    for _ in range(times):
        value = _spoil_one(random, value)
    return value


def _spoil_one(random: Random, value: object) -> object:
    if isinstance(value, list) and value and random.random() < 0.85:
        at = random.randrange(len(value))
        return [*value[:at], _spoil_one(random, value[at]), *value[at + 1 :]]
    if isinstance(value, list):
        return _spoil_list(random, value)
    if isinstance(value, bytes) and not isinstance(value, Raw):
        return _spoil_binary(random, value)
    if isinstance(value, int):
        near = value + random.choice([-1, 1, -1, 1, 2])
        return random.choice(
            [near if 0 <= near < 2**63 else 0, random.choice(EDGES), Raw(random.choice(STRANGE)), None]
        )
    return random.choice([bytes(32), random.randbytes(32), 0, b"", [], Raw(random.choice(STRANGE))])


def _spoil_list(random: Random, value: list[object]) -> object:
    at = random.randrange(len(value) + 1)
    what = random.randrange(8)
    if what == 0:
        return value[:at] + value[at + 1 :]
    if what == 1:
        return [*value[:at], *value[max(0, at - 1) : at], *value[at:]]
    if what == 2:
        return [*value[:at], random.choice([None, 0, b"", [], bytes(32)]), *value[at:]]
    if what == 3:
        mixed = list(value)
        random.shuffle(mixed)
        return mixed
    if what == 4 and value:
        return (value * (random.choice([16, 17, 64, 65, 300]) // len(value) + 1))[
            : random.choice([16, 17, 64, 65, 300])
        ]
    if what == 5:
        for _ in range(random.randint(1, 25)):
            value = [value]
        return value
    if what == 6:
        return [5, random.choice([0, 1, 2]), [value, [6, random.randbytes(32)]][: random.randint(0, 2)]]
    return random.choice([[], None, 0, b"", Raw(random.choice(STRANGE))])


def _spoil_binary(random: Random, value: bytes) -> object:
    what = random.randrange(6)
    if what == 0 and value:
        at = random.randrange(len(value))
        return value[:at] + bytes([value[at] ^ 1 << random.randrange(8)]) + value[at + 1 :]
    if what == 1:
        return value + b"\0"
    if what == 2:
        return value[:-1]
    if what == 3:
        return random.randbytes(len(value))
    if what == 4:
        return bytes(random.choice(SIZES))
    return random.choice([None, 0, [], bytes(len(value)), b"\xff" * len(value), Raw(random.choice(STRANGE))])


def spoil_signature(random: Random, signature: bytes) -> bytes:
    """Return 64 bytes that are nearly a signature: high s, r or s out of range, swapped, or a bit off."""
    order = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
    r, s = signature[:32], signature[32:]
    number = int.from_bytes(s, "big")
    numbers = [0, 1, order - 1, order, order + 1, order // 2, order // 2 + 1, 2**256 - 1, (order - number) % 2**256]
    edge = random.choice(numbers).to_bytes(32, "big")
    return random.choice([r + edge, edge + s, r + ((order - number) % 2**256).to_bytes(32, "big"), s + r, s + s])
