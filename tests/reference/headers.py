"""Section "Headers" of docs/protocol.md."""

from __future__ import annotations

from typing import NamedTuple

from tests.reference.encoding import hash256, need
from tests.reference.records import Network


class Header(NamedTuple):
    """The fields of 80 bytes, and what follows from them."""

    raw: bytes
    version: int
    previous: bytes
    root: bytes
    time: int
    bits: int
    nonce: int
    id: bytes


class Anchor(NamedTuple):
    """What the difficulty of a branch is measured from."""

    height: int
    time: int
    target: int


class Place(NamedTuple):
    """A header in the tree, with what its children need of its branch."""

    header: Header
    height: int
    times: list[int]
    """Of the header and up to ten before it, oldest first."""
    work: int
    """Sum, genesis included."""
    anchor: Anchor | None
    """None at genesis."""

    @property
    def median_time(self) -> int:
        """Median time of the block, in seconds."""
        return sorted(self.times)[len(self.times) // 2]


def read_header(raw: bytes) -> Header:
    """Return the fields of a header, or refuse it as malformed."""
    need(len(raw) == 80, "malformed")

    def number(start: int) -> int:
        return int.from_bytes(raw[start : start + 4], "little")

    return Header(raw, number(0), raw[4:36], raw[36:68], number(68), number(72), number(76), hash256(raw))


def bits_of(target: int) -> int:
    """Return the compact form of a target."""
    size = (target.bit_length() + 7) // 8
    mantissa = target >> 8 * (size - 3) if size > 3 else target << 8 * (3 - size)
    if mantissa >= 2**23:
        mantissa >>= 8
        size += 1
    return size << 24 | mantissa


def target_of(bits: int) -> int | None:
    """Return the target of a compact form, None if it stands for none."""
    size, mantissa = bits >> 24, bits & 0xFFFFFF
    if mantissa >= 2**23:
        return None
    target = mantissa << 8 * (size - 3) if size >= 3 else mantissa >> 8 * (3 - size)
    if not 0 < target < 2**256 or bits_of(target) != bits:
        return None
    return target


def target_at(bits: int) -> int:
    """Return the target of bits that the network itself chose."""
    target = target_of(bits)
    if target is None:
        raise ValueError(f"{bits:08x} stands for no target")
    return target


def next_bits(network: Network, parent: Place) -> tuple[int, Anchor | None]:
    """Return the bits of the block after `parent`, and its anchor if that is another than the parent's."""
    if network.half_life is None or parent.height == 0:
        return network.start_bits, None
    anchor = parent.anchor
    if anchor is None:
        raise ValueError("only genesis has no anchor")
    p, t_p = parent.height, parent.header.time
    scaled = (t_p - anchor.time - network.spacing * (p - anchor.height)) * 65536
    exponent = abs(scaled) // network.half_life * (1 if scaled >= 0 else -1)
    n, f = exponent >> 16, exponent & 0xFFFF
    factor = 65536 + ((195766423245049 * f + 971821376 * f**2 + 5127 * f**3 + 2**47) >> 48)
    target = anchor.target * factor
    target = target << (n - 16) if n >= 16 else target >> (16 - n)
    target = target or 1
    limit = target_at(network.limit_bits)
    if target > limit:
        return bits_of(limit), Anchor(p, t_p, limit)
    return bits_of(target), None


def work_of(target: int) -> int:
    """Return the work of a header with this target."""
    return 2**256 // (target + 1)


def genesis_place(header: Header) -> Place:
    """Return where a chain starts."""
    return Place(header, 0, [header.time], work_of(target_at(header.bits)), None)


def check_header(network: Network, header: Header, parent: Place) -> Place:
    """Hold a header against its parent; return its place. `invalid-parent` is for the chain to say."""
    need(header.previous == parent.header.id, "bad-previous")
    bits, anchor = next_bits(network, parent)
    need(header.bits == bits, "bad-bits")
    target = target_at(bits)
    need(int.from_bytes(header.id, "little") <= target, "high-hash")
    need(header.time > parent.median_time, "time-too-old")
    if parent.height == 0:
        anchor = Anchor(1, header.time, target_at(network.start_bits))
    return Place(
        header=header,
        height=parent.height + 1,
        times=[*parent.times, header.time][-11:],
        work=parent.work + work_of(target),
        anchor=anchor or parent.anchor,
    )
