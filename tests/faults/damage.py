"""What a bad disk, a crash or a careless copy makes of a file."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

from raat_core.errors import UserError
from raat_core.files.checksums import read_arrays

Damage = Callable[[bytes, random.Random], bytes]


def cut_short(content: bytes, chance: random.Random) -> bytes:
    """As much as was written when the machine went down."""
    return content[: chance.randrange(1, len(content))]


def emptied(content: bytes, chance: random.Random) -> bytes:
    """A name without data."""
    return b""


def flipped(content: bytes, chance: random.Random) -> bytes:
    """One bit, anywhere."""
    changed = bytearray(content)
    changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def flipped_early(content: bytes, chance: random.Random) -> bytes:
    """One bit near the beginning, where headers are."""
    changed = bytearray(content)
    changed[chance.randrange(min(400, len(changed)))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def zeroed(content: bytes, chance: random.Random) -> bytes:
    """Of the right length, with blocks that never reached the disk."""
    first = chance.randrange(len(content))
    size = min(len(content) - first, 4096)
    return content[:first] + bytes(size) + content[first + size :]


def doubled(content: bytes, chance: random.Random) -> bytes:
    """Written twice over."""
    return content + content


DAMAGES: list[Damage] = [cut_short, emptied, flipped, flipped, flipped_early, zeroed, doubled]


def says_the_same(path: Path, content: bytes) -> bool:
    """Whether a damaged file still says what it said, by what no reader looks at."""
    if path.read_bytes() == content:
        return True
    copy = path.with_name(f"{path.name}.original")
    copy.write_bytes(content)
    try:
        if path.suffix == ".json":
            same: bool = json.loads(path.read_bytes()) == json.loads(content)
            return same
        return read_arrays(path)[2] == read_arrays(copy)[2]
    except (UserError, ValueError):
        return False
    finally:
        copy.unlink()
