"""A command line whose mistakes are one line each, as those of files are."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import NoReturn

from raat_core.validation import one_line


class Parser(argparse.ArgumentParser):
    """`argparse`'s, without the usage before an error: `--help` prints it."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong and where help is, and exit with 2."""
        self.exit(2, one_line(f"error: {message} ({self.prog} --help)") + "\n")


def whole_number(largest: int, smallest: int = 1) -> Callable[[str], int]:
    """A type for `argparse`: a whole number in a range, both ends included."""

    def read(text: str) -> int:
        # No int() of a text that may be thousands of digits, or digits of other scripts.
        is_short = text.isascii() and text.isdecimal() and len(text) <= len(str(largest))
        if not is_short or not smallest <= int(text) <= largest:
            raise argparse.ArgumentTypeError(
                f"{text[:50]!r}: must be a whole number from {smallest} to {largest:,}"
            )
        return int(text)

    return read
