"""Checks of a method: two tiny epochs, watched, resumed, and computed in two ways."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from raat_core.cells.cell import Cell
from raat_core.checking.draws import seed_generators, undisturbed
from raat_core.checking.findings import Report
from raat_core.checking.observed import Watched, watch
from raat_core.checking.places import Code
from raat_core.checking.registered import Extension, describe_settings
from raat_core.checking.resuming import check_resuming
from raat_core.checking.tiny import Rehearsal, TinyCells, tiny_cells, train_needs
from raat_core.cost.flop import operations_of
from raat_core.interface.method import Method
from raat_core.interface.operations import Passes
from raat_core.interface.registry import build_method, method_class

MISJUDGED = 0.1
"""By what part declared operations may differ from those that were counted."""
_NOT_COMPARABLE = ("shared-state", "not-repeatable", "draws")
"""Faults that make any two trainings differ."""
_DOUBLE, _SINGLE = (1e-6, 1e-9), (1e-2, 1e-3)
"""Relative and absolute differences of loss terms on the fast and the plain path."""


def check_method(extension: Extension, given: Mapping[str, Any]) -> Report:
    """Try a method on a few images.

    Args:
        extension: the method.
        given: settings by config key, where they are not the defaults.
    """
    report = extension.report()
    describe_settings(method_class(extension.name).Settings, report)
    found = tiny_cells(extension.name, given)
    _tell_of_cells(found, report)
    with undisturbed(), tempfile.TemporaryDirectory(prefix="raat-check-") as folder:
        for norm, cell in found.cells.items():
            place = Path(folder) / norm
            train_needs(cell, place)
            if not _check_cell(extension, norm, cell, place, report):
                break
    return report


def _tell_of_cells(found: TinyCells, report: Report) -> None:
    for key in found.missing:
        report.needs("settings", f"setting '{key}' has no default: --set {key}=...")
    if found.adapted:
        chosen = ", ".join(f"{key} = {value}" for key, value in found.adapted.items())
        report.facts.append(f"for the check: {chosen}")
    if found.cells:
        report.facts.extend(f"refuses {norm}: {why}" for norm, why in found.refused.items())
    elif found.refused:
        why = "; ".join(dict.fromkeys(found.refused.values()))
        report.needs(
            "refuses",
            f"its settings refuse a cell of two epochs on digits: {why}; others: --set key=value",
        )


def _check_cell(extension: Extension, norm: str, cell: Cell, folder: Path, report: Report) -> bool:
    """All that is checked in one norm, the most of it in the first; whether it went through."""
    code, is_first = Code(extension.files), not report.passed
    try:
        is_resumed = check_resuming(extension, cell, folder, report)
        if is_first:
            watched = watch(extension, cell, folder / "watched")
            watched.tell(report, method_class(extension.name))
            _check_passes(cell, watched, report)
            if not any(each.fault in _NOT_COMPARABLE for each in report.findings):
                _check_fast_paths(cell, folder, report)
    except Exception as error:  # Whatever a method's own code raises.
        report.wrong("fails", f"{norm}: {code.explain(error)}")
        return False
    if is_resumed:
        report.passed.append(f"trains in {norm}, resumed bit for bit")
    return True


def _check_passes(cell: Cell, watched: Watched, report: Report) -> None:
    """Declared operations against counted ones; how many samples are correct is not known ahead."""
    declares = build_method(cell.method, cell.facts())
    steps, operations = cell.threat_model.steps, operations_of(cell)
    told = [declares.passes(steps, correct).flop(operations) for correct in (0.0, 1.0)]
    least, most = min(told), max(told)
    counted = watched.flop_per_image
    nearest = min(max(counted, least), most)
    ratio = nearest / counted - 1 if counted else 0.0
    report.facts.append(
        f"operations: {counted / 1e6:.3g} MFLOP an image counted, {nearest / 1e6:.3g} by passes "
        f"({ratio:+.0%})"
    )
    if abs(ratio) <= MISJUDGED:
        return
    was = _written(watched.passes, steps)
    text = f"passes is {ratio:+.0%} off what was counted, which is about {was}"
    if type(declares).passes is Method.passes:
        report.hint("passes", f"{text}; without it hours are estimated from an assumption")
    else:
        report.wrong("passes", text)


def _written(passes: Passes, steps: int) -> str:
    """As an author would."""
    parts = []
    for kind in ("forwards", "gradients", "updates"):
        value = getattr(passes, kind)
        if not value:
            continue
        if kind == "gradients" and value % steps == 0:
            times = value / steps
            parts.append(f"gradients={'' if times == 1 else f'{times:g} * '}steps")
        else:
            parts.append(f"{kind}={value:.3g}")
    return f"Passes({', '.join(parts)})"


def _check_fast_paths(cell: Cell, folder: Path, report: Report) -> None:
    """Loss terms of all steps on the fast path and on the plain one."""
    try:
        difference = _first_difference(cell, folder, in_double=True)
        arithmetic = "in double precision"
    except (RuntimeError, TypeError):  # A method's own tensors may be float32.
        difference = _first_difference(cell, folder, in_double=False)
        arithmetic = "within 1%"
    if difference:
        report.wrong(
            "fast-paths",
            f"the fast path is not the plain one: {difference}; attacks use a copy of the model "
            f"with its weights and statistics: attributes of its modules, hooks and exchanged "
            f"modules are as they were at the first step",
        )
    else:
        report.passed.append(f"fast as plain {arithmetic}")


def _first_difference(cell: Cell, folder: Path, *, in_double: bool) -> str:
    """In which term and step the two paths differ; empty if they do not."""
    paths = [Rehearsal(cell, folder / "fast", fast) for fast in ("", "plain")]
    relative, absolute = _DOUBLE if in_double else _SINGLE
    for rehearsal in paths:
        if in_double:
            rehearsal.in_double_precision()
        seed_generators("start")
        rehearsal.method.start(rehearsal.model)
    # In single precision rounding grows from step to step, through the signs of gradients.
    for epoch, number in list(paths[0].positions())[: None if in_double else 2]:
        fast, plain = (_terms(rehearsal, epoch, number) for rehearsal in paths)
        for name, value in plain.items():
            if abs(fast[name] - value) > absolute + relative * abs(value):
                return (
                    f"'{name}' is {fast[name]:.6g}, not {value:.6g}, at step {number + 1} of "
                    f"epoch {epoch + 1}"
                )
    return ""


def _terms(rehearsal: Rehearsal, epoch: int, number: int) -> dict[str, float]:
    seed_generators(epoch, number)
    terms = rehearsal.trainee.update(rehearsal.step(epoch, number))
    if rehearsal.is_last_of_epoch(number):
        rehearsal.method.after_epoch(epoch, rehearsal.model)
    return {name: term.item() for name, term in terms.items()}
