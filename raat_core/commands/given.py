"""`attack --weights FILE`: a model that was trained elsewhere, from the command line's options."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

from raat_core.cells.catalogue import DATA_SETS
from raat_core.cells.cell import Cell
from raat_core.cells.given import GivenModel
from raat_core.errors import UserError
from raat_core.files.checksums import file_checksum
from raat_core.files.plain_data import parse_text, read_text
from raat_core.specs.threat_model import ThreatModel
from raat_core.validation import parse, suggest

OPTIONS = ("weights", "architecture", "dataset", "threat_model", "given", "into")
"""Names of the options that go without a cell's folder."""
STEPS_ACROSS = 4
"""A step size that is not given is this part of ε, as the paper's 2/255 of 8/255."""


def refuse_given(options: argparse.Namespace) -> None:
    """Of a cell that has a folder, the folder says it all.

    Raises:
        UserError: names an option that says something else.
    """
    for name in OPTIONS:
        if getattr(options, name) is not None:
            said = "--folder" if name == "into" else f"--{name.replace('_', '-')}"
            raise UserError(
                f"{said}: is for a model that has no cell's folder; {options.folder} has"
            )


def given_cell(options: argparse.Namespace) -> tuple[Cell, Path]:
    """The cell that the options describe, and the file of its weights.

    Raises:
        UserError: an option is missing or not allowed, or the file cannot be read.
    """
    source = "the command line"
    more = _mapping(options.given, source) if options.given else {}
    said = {key: getattr(options, key) for key in ("weights", "architecture")}
    model = parse(GivenModel, {**more, **{k: v for k, v in said.items() if v is not None}}, source)
    if options.dataset not in DATA_SETS:
        missing = "is missing" if options.dataset is None else f"{options.dataset!r}"
        raise UserError(f"--dataset {missing}{suggest(options.dataset or '', DATA_SETS)}")
    threat = _threat_model(options.threat_model, source)
    if len(model.files) > 1:
        raise UserError("--weights: one file; several are several cells")
    (path,) = model.files
    try:
        (method,) = model.methods(file_checksum)
        network = model.network({})
    except ValueError as error:
        raise UserError(f"{source}: {error}") from None
    spec = {"dataset": options.dataset, **network, "method": method, "threat_model": threat}
    return parse(Cell, spec, source), path


def _mapping(text: str, source: str) -> Mapping[str, Any]:
    """From a file's path or from JSON or YAML itself."""
    is_text = text.lstrip().startswith("{")
    where = source if is_text else text
    data = parse_text(text if is_text else read_text(Path(text)), where)
    if not isinstance(data, Mapping):
        raise UserError(f"{where}: must be a mapping of keys to values")
    return data


def _threat_model(text: str | None, source: str) -> ThreatModel:
    """`linf:8/255`, `linf:8/255:2/255` or a mapping."""
    if text is None:
        raise UserError("--threat-model is missing: for example linf:8/255")
    if text.lstrip().startswith("{") or Path(text).is_file():
        return parse(ThreatModel, _mapping(text, source), f"{source}: threat_model")
    norm, _, rest = text.partition(":")
    epsilon, _, step_size = rest.partition(":")
    data = {"norm": norm, "epsilon": epsilon, "step_size": step_size or _quarter(epsilon)}
    return parse(ThreatModel, data, f"{source}: threat_model")


def _quarter(epsilon: str) -> Fraction | str:
    try:
        return Fraction(epsilon.replace(" ", "")) / STEPS_ACROSS
    except (ValueError, ZeroDivisionError):
        return epsilon  # Refused under its own name.
