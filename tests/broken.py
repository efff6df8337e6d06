"""What is wrong in model files that are nearly right: bytes, and numbers at the ends of their ranges."""

from __future__ import annotations

from drawn import Draw

NUMBERS_32 = (-(2**31), -2, -1, 0, 1, 2, 3, 5, 7, 64, 1 << 16, 2**31 - 1)
NUMBERS = (*NUMBERS_32, -(2**63), 2**40, 2**63 - 1)
ENDS = (0, 1, 0x7F, 0x80, 0xFF)  # of numbers and lengths


def edited(content: bytes, draw: Draw) -> bytes:
    """A few bytes replaced, and perhaps a piece missing."""
    found = bytearray(content)
    for _ in range(draw.integer(1, 6)):
        byte = draw.choice(ENDS) if draw.chance(0.5) else draw.integer(0, 255)
        found[draw.integer(0, len(found) - 1)] = byte
    if draw.chance(0.2):
        begin = draw.integer(0, len(found) - 1)
        del found[begin : len(found) if draw.chance(0.3) else begin + draw.integer(1, 12)]
    return bytes(found)
