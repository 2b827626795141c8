"""Files made from the config's models: the defaults that every config starts from, and schemas."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import Any

import yaml

from raat_core.cells.cell import Cell
from raat_core.files.atomic import write_text
from raat_core.interface.registry import BUILT_IN_METHODS, method_class
from raat_sweep.config.config import Config

_HEADER = """\
# What every config starts from: the paper's settings (Appendix D.1). A config names only what it
# adds or changes; an entry of `methods`, `threat_models`, `recipes` or `attacks` with a name that
# stands here replaces the whole entry. Made from the models by `python -m raat_sweep reference`.
"""


def reference_files() -> dict[str, str]:
    """Contents of the generated files by path from the root of the repository."""
    return {
        "config/defaults.yaml": _defaults(),
        "workflow/schemas/config.schema.json": _schema(Config.model_json_schema(by_alias=True)),
        "workflow/schemas/cell.schema.json": _schema(Cell.model_json_schema(by_alias=True)),
    }


def write_reference(root: Path) -> None:
    """Write the generated files under the root of the repository."""
    for path, content in reference_files().items():
        write_text(root / path, content)
        print(root / path)


def _schema(schema: dict[str, Any]) -> str:
    dialect = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return json.dumps({**dialect, **schema}, indent=2, ensure_ascii=False) + "\n"


def _defaults() -> str:
    config = Config.model_validate({})
    parts = [_HEADER]
    for key, field in Config.model_fields.items():
        value = config.model_dump(mode="json", by_alias=True)[key]
        text = yaml.safe_dump({key: value}, sort_keys=False, allow_unicode=True, width=100)
        parts.append(f"# {field.description}\n{text}")
    parts.append(_method_settings())
    return "\n".join(parts)


def _method_settings() -> str:
    """What each method's settings mean, as comments."""
    lines = ["# The methods' settings; where two values stand, the first is the paper's and the"]
    lines.append("# second the released code's (`variant: released` sets all of them).")
    for name in BUILT_IN_METHODS:
        settings = method_class(name).Settings
        lines.append(f"#\n# {name}:")
        for key, field in settings.model_fields.items():
            if key == "name":
                continue
            extra = field.json_schema_extra
            values = f"{field.default!r}"
            if isinstance(extra, dict) and "released" in extra:
                values = f"{extra['paper']!r} / {extra['released']!r}"
            text = f"{field.alias or key}: {values}. {field.description}"
            lines += textwrap.wrap(text, 96, initial_indent="#   ", subsequent_indent="#     ")
    return "\n".join(lines) + "\n"
