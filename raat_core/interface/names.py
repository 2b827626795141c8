"""What names, titles and numbers of extensions may be."""

from __future__ import annotations

import re

from raat_core.errors import UserError
from raat_core.validation import one_line, refuse_control_characters

NAME = "^[A-Za-z][A-Za-z0-9_-]*$"
"""Names of data sets and architectures, as a regular expression: they stand in names of files."""
LONGEST_NAME = 60


def require_name(kind: str, name: object) -> None:
    """Refuse a name that cannot stand in names of files.

    Raises:
        UserError: names the kind and the name.
    """
    is_name = isinstance(name, str) and "\n" not in name and re.fullmatch(NAME, name)
    if not is_name or len(str(name)) > LONGEST_NAME:
        raise UserError(
            f"{kind} {one_line(repr(name))}: a name must be letters, digits, - and _, a letter "
            f"first, at most {LONGEST_NAME}"
        )


def require_title(where: str, title: object) -> None:
    """Refuse a title that cannot stand in a table.

    Raises:
        UserError: it is empty or has more than one line.
    """
    try:
        if not isinstance(title, str) or not title.strip():
            raise ValueError("must be text")
        refuse_control_characters(title)
    except ValueError as error:
        raise UserError(f"{where}: title = {title!r}: {error}") from None


def require_whole(where: str, key: str, value: object, smallest: int = 1) -> None:
    """Refuse what is not a whole number, or too small.

    Raises:
        UserError: names the key and the value.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < smallest:
        raise UserError(f"{where}: {key} = {value!r}: must be a whole number, at least {smallest}")
