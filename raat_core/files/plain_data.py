"""Plain data from YAML and JSON text: no key twice, no objects, and one line for what is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from raat_core.errors import UserError
from raat_core.validation import one_line


class _Loader(yaml.SafeLoader):
    """Without duplicate keys, of which PyYAML would silently take the last."""

    def compose_mapping_node(self, anchor: dict[Any, yaml.Node]) -> yaml.MappingNode:
        """Here, because merged keys (`<<`), which may be given again, are not there yet."""
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            identity = key.tag, str(key.value)
            if isinstance(key, yaml.ScalarNode) and identity in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"the key '{key.value}' stands there twice", problem_mark=key.start_mark
                )
            seen.add(identity)
        return node


def parse_text(text: str, source: str) -> Any:
    """Mappings, lists, strings, numbers from YAML, of which JSON is a part.

    Args:
        text: one document.
        source: where it is from, for messages.

    Raises:
        UserError: it is not valid, or a key stands twice in a mapping; says in which line.
    """
    try:
        return yaml.load(text, _Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
        reason = error.problem or error.context
    except yaml.YAMLError as error:
        where, reason = "", str(error).splitlines()[0]
    except RecursionError:
        where, reason = "", "its lists and mappings are nested too deeply"
    except (ValueError, TypeError, OverflowError) as error:  # Dates and numbers that cannot be.
        where, reason = "", str(error)
    raise UserError(
        one_line(f"{source} is not valid JSON or YAML, cut short or damaged{where}: {reason}")
    )


def read_text(path: Path) -> str:
    """The content of a text file.

    Raises:
        UserError: the file is missing, cannot be read, or is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(one_line(f"cannot read {path}: {error.strerror}")) from None
    except ValueError:  # Bytes that are no text, or a name that no file can have.
        raise UserError(one_line(f"{path} is not a text file (UTF-8)")) from None
