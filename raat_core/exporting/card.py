"""The model card: what a checkpoint is, what was found of it, and what was not looked at.

Made from the manifest and the records alone. It is to be read by others: hosts, folders and jobs of
this machine are not in it. Needs no torch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from raat_core.cells.catalogue import ARCHITECTURES, DATA_SETS
from raat_core.cells.extensions import extensions_of, of_other_code, short
from raat_core.cells.manifest import warnings_in
from raat_core.evaluation.records import Record
from raat_core.exporting.evidence import Evidence
from raat_core.specs.threat_model import NORM_SYMBOLS
from raat_core.validation import format_fraction, one_line


def model_card(
    evidence: Evidence,
    name: str,
    load: str,
    files: Mapping[str, str],
    checked: str,
    more: Sequence[str] = (),
) -> str:
    """The card, in Markdown.

    Args:
        evidence: of the model.
        name: what it is called.
        load: code that loads it.
        files: SHA-256 of the exported files, by path.
        checked: how the exported files were tried.
        more: other sections.
    """
    sections = [
        f"# {name}\n\n{_summary(evidence)}",
        f"## How to load it\n\n```python\nimport torch\n\n{load}\n```\n\n{_loaded(evidence)}",
        f"## What was measured\n\n{_measured(evidence)}",
        f"## How it was trained\n\n{_trained(evidence)}",
        *more,
        f"## What was not checked\n\n{checked}\n\n{_list(_not_checked(evidence))}",
        f"## Files\n\n{_checksums(evidence, files)}",
        f"## Licence\n\n{_LICENCE}",
    ]
    return "\n\n".join(sections) + "\n"


_LICENCE = (
    "Of the weights: to be stated by whoever publishes them; it is not stated here. The data set "
    "has terms of its own. `model.py`, where there is one, says what its code is under."
)


def _summary(evidence: Evidence) -> str:
    cell, manifest = evidence.cell, evidence.manifest
    threat = cell.threat_model
    ball = f"{NORM_SYMBOLS[threat.norm]}, ε = {format_fraction(threat.epsilon)}"
    parameters = manifest.get("parameters")
    size = f" ({parameters:,} parameters)" if isinstance(parameters, int) else ""
    return (
        f"{ARCHITECTURES[cell.architecture].title}{size}, trained on "
        f"{DATA_SETS[cell.dataset].title} by the method `{cell.method.name}` "
        f"({cell.method.variant}), seed {cell.seed}. Threat model: {ball}. {_chosen(evidence)}"
    )


def _chosen(evidence: Evidence) -> str:
    """Which checkpoint it is."""
    epoch, best = evidence.weights.epoch, evidence.manifest["best"]
    if not best["split"]:
        return f"Checkpoint: {best['chosen_by']}; it was not trained in this project."
    of = f"epoch {epoch} of {evidence.manifest.get('epochs', epoch)}"
    if evidence.checkpoint == "last":
        return f"Checkpoint: the last, {of}."
    chosen = f"chosen by {best['chosen_by']} on the {best['split']} split"
    same = " – the images that the numbers below are of" if best["split"] == "test" else ""
    return f"Checkpoint: the best, {of}, {chosen}{same}."


def _loaded(evidence: Evidence) -> str:
    channels, height, width = evidence.image_shape
    return (
        f"It takes images (N, {channels}, {height}, {width}), float32 in [0, 1]; whatever "
        f"normalisation there is happens inside. It returns logits "
        f"(N, {DATA_SETS[evidence.cell.dataset].classes}), in evaluation mode."
    )


def _measured(evidence: Evidence) -> str:
    if not evidence.records:
        return "Nothing: there is no record of this checkpoint."
    rows = [
        "| Attack | Settings | Accuracy (%) | Images | Measured |",
        "| :-- | :-- | --: | --: | :-- |",
        *(_row(record) for record in evidence.records.values()),
    ]
    found = _list(evidence.suspicions)
    said = f"\n\nWhat is suspicious about these numbers:\n\n{found}" if found else ""
    return "\n".join(rows) + said


def _row(record: Record) -> str:
    metadata = record.metadata
    attack = dict(metadata["attack"])
    kind = attack.pop("kind")
    settings = ", ".join(f"{key} {_value(value)}" for key, value in attack.items())
    of = metadata.get("test_size", len(record.index))
    how = [
        _device(metadata.get("hardware", {})),
        _versions(metadata.get("versions", {})),
        _commit(metadata.get("git_commit")),
        str(metadata.get("finished", "")),
    ]
    cells = [
        kind, settings, f"{record.accuracy:.2f}", f"{len(record.index):,} of {of:,}",
        "; ".join(filter(None, how)),
    ]  # fmt: skip
    return f"| {' | '.join(_cell(each) for each in cells)} |"


def _value(value: object) -> str:
    if value is None:
        return "all"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _cell(text: str) -> str:
    """Of a table in Markdown."""
    return one_line(text).replace("|", "\\|")


def _device(facts: Mapping[str, Any]) -> str:
    return str(facts.get("gpu") or facts.get("processor") or facts.get("device") or "")


def _versions(versions: Mapping[str, str]) -> str:
    """Of what computed, and not of what read files."""
    named = ("raat_core", "torch", "pyautoattack")
    return ", ".join(f"{name} {versions[name]}" for name in named if name in versions)


def _commit(commit: str | None) -> str:
    return f"commit {commit[:12]}{'+changes' * commit.endswith('+changes')}" if commit else ""


def _trained(evidence: Evidence) -> str:
    cell, manifest = evidence.cell, evidence.manifest
    data = DATA_SETS[cell.dataset]
    lines = [
        f"Data: {data.title}, {data.train_size:,} training and {data.test_size:,} test images, "
        f"SHA-256 `{manifest.get('data_sha256') or 'not kept'}`",
    ]
    if cell.extra_data is not None:
        lines.append(f"Extra data: {cell.extra_data.dataset}")
    lines += [f"Needed cell: `{need.cell.name}`, {need.checkpoint}" for need in cell.needs.values()]
    lines += [f"Warning: {each}" for each in warnings_in(manifest)]
    lines += [_session(session) for session in manifest.get("sessions", ())]
    lines += [
        f"{one['kind'].capitalize()} `{one['name']}` (version {one['version']}) is of "
        f"{Path(one['path']).name}, {short(one['sha256'])}"
        for one in manifest.get("extensions", ())
    ]
    lines.append(f"Method's version {manifest.get('method_version', 1)}")
    lines.append(f"Training took {manifest['train_seconds']:,.0f} s")
    lines.append(f"Versions: {_versions(manifest.get('versions', {}))}")
    spec = json.dumps(cell.to_json(), indent=2, ensure_ascii=False)
    name = f"Cell `{manifest['cell']}`, all settings:"
    return f"{_list(lines)}\n\n{name}\n\n```json\n{spec}\n```"


def _session(session: Mapping[str, Any]) -> str:
    """When and on what it was trained, or a part of it."""
    when = f"Trained from {session.get('start')} to {session.get('end')}"
    how = [_device(session), _commit(session.get("git_commit"))]
    return "; ".join(filter(None, [when, *how]))


def _not_checked(evidence: Evidence) -> list[str]:
    found = []
    kinds = {record.metadata["attack"]["kind"] for record in evidence.records.values()}
    if "clean" not in kinds:
        found.append("Accuracy on clean images: there is no record of it.")
    if evidence.autoattack is None:
        found.append("The standard AutoAttack in the ball of the threat model: no record.")
    elif not evidence.is_judged:
        found.append("AutoAttack's own warnings: its record is older than they are kept.")
    for name, record in evidence.records.items():
        of = record.metadata.get("test_size", len(record.index))
        if len(record.index) < of:
            found.append(f"The other {of - len(record.index):,} test images, under `{name}`.")
    others = of_other_code(evidence.manifest, extensions_of(evidence.cell))
    found += [
        f"Whether the code of {one['kind']} '{one['name']}' that was exported "
        f"({short(one['sha256'])}) computes what that computed which trained it ({short(was)})."
        for one, was in others
    ]
    return [
        *found,
        "Attacks made for this model (adaptive ones), other threat models, other data.",
        "Other hardware and other versions of torch than named above.",
    ]


def _checksums(evidence: Evidence, files: Mapping[str, str]) -> str:
    rows = [f"| `{path}` | `{sha256}` |" for path, sha256 in files.items()]
    table = "\n".join(["| File | SHA-256 |", "| :-- | :-- |", *rows])
    return (
        f"{table}\n\nIn this project the checkpoint is `{evidence.checkpoint}` of cell "
        f"`{evidence.manifest['digest']}`, with the checksum `{evidence.weights.sha256}` of its "
        f"tensors."
    )


def _list(lines: Sequence[str]) -> str:
    return "\n".join(f"- {one_line(line)}" for line in lines)
