"""Work, targets and the difficulty rule (ASERT, aserti3-2d), all in exact integers."""

from __future__ import annotations

import msgspec

from consensus.errors import ConsensusError, Rule
from consensus.params import Params
from consensus.types import Header


def target_from_bits(bits: int) -> int:
    """Return the target that Bitcoin's compact form stands for, or 0 where it stands for none.

    None is a negative number, zero, one above 2^256 - 1, and one in a longer form than needed:
    `bits_from_target(target_from_bits(bits)) == bits` for every other value.
    """
    size, mantissa = bits >> 24, bits & 0x7FFFFF
    if bits & 0x800000 or size > 34:
        return 0
    target = mantissa >> 8 * (3 - size) if size <= 3 else mantissa << 8 * (size - 3)
    if target >> 256 or not target or bits_from_target(target) != bits:
        return 0
    return target


def bits_from_target(target: int) -> int:
    """Return the compact form of `target` (1 to 2^256 - 1), rounded down to its three digits."""
    size = (target.bit_length() + 7) // 8
    mantissa = target << 8 * (3 - size) if size <= 3 else target >> 8 * (size - 3)
    if mantissa & 0x800000:
        # The top bit of the mantissa is a sign: move it into the size.
        mantissa >>= 8
        size += 1
    return size << 24 | mantissa


def work_of_bits(bits: int) -> int:
    """Return the expected number of hashes for a valid `bits`: 2^256 // (target + 1)."""
    return 2**256 // (target_from_bits(bits) + 1)


def check_proof_of_work(header: Header) -> None:
    """Check that the header's id is not above the target that its own bits name.

    Raises:
        ConsensusError: `BAD_BITS` if they name no target; `HIGH_HASH` if the id is above it.
    """
    target = target_from_bits(header.bits)
    if not target:
        raise ConsensusError(Rule.BAD_BITS, bits=f"{header.bits:08x}")
    if int.from_bytes(header.hash, "little") > target:
        raise ConsensusError(Rule.HIGH_HASH, block=header.hash[::-1], bits=f"{header.bits:08x}")


class Anchor(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The block that the difficulty rule measures from."""

    height: int
    time: int
    bits: int
    """Its target, in compact form."""


def asert_target(anchor_target: int, time_passed: int, heights_passed: int, spacing: int, half_life: int) -> int:
    """Return the target that aserti3-2d demands, exact and without any limit, at least 1.

    Args:
        anchor_target: the anchor's target.
        time_passed: seconds from the anchor's reference time to the parent's time; may be negative.
        heights_passed: blocks that were due in that time.
        spacing: ideal seconds between blocks.
        half_life: seconds of delay that double the target.
    """
    # Looks odd, is right: the division truncates toward zero, as in the published rule. `//` floors.
    scaled = (time_passed - spacing * heights_passed) * 65536
    exponent = scaled // half_life if scaled >= 0 else -(-scaled // half_life)
    shift, fraction = exponent >> 16, exponent & 0xFFFF
    factor = 65536 + ((195766423245049 * fraction + 971821376 * fraction**2 + 5127 * fraction**3 + 2**47) >> 48)
    shift -= 16
    if shift > 512:
        # Above every limit whatever the anchor's target: spares us numbers of millions of digits.
        return 1 << 512
    target = anchor_target * factor
    target = target << shift if shift >= 0 else target >> -shift
    return max(1, target)


def next_bits(params: Params, anchor: Anchor | None, height: int, time: int) -> tuple[int, Anchor | None]:
    """Return the bits of the block that follows, and the anchor that holds from its parent on.

    Args:
        anchor: of the parent's branch; None where the parent is the genesis block.
        height: of the parent.
        time: of the parent, in UNIX seconds.

    Where the exact target is above the limit, it becomes the limit and the parent the new anchor,
    so that a network which was asleep for a night does not owe blocks.
    """
    if not params.retarget or anchor is None:
        return params.start_bits, anchor
    limit = target_from_bits(params.limit_bits)
    target = asert_target(
        target_from_bits(anchor.bits), time - anchor.time, height - anchor.height, params.spacing, params.half_life
    )
    if target > limit:
        return params.limit_bits, Anchor(height, time, params.limit_bits)
    return bits_from_target(target), anchor
