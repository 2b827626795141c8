"""Snakemake's jobs as the journal knows them."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from pathlib import Path, PurePath
from typing import Any

from snakemake_executor_plugin_submitit.journal import JobRecord

LABEL_LENGTH = 180


def record_of(job: Any, logs: Path) -> JobRecord:
    """A job or group, with the path of its log: <logs>/<rule>/<wildcards>.log."""
    outputs = tuple(sorted(str(path) for path in job.output))
    key = _digest([job.name, *(outputs or _all_wildcards(job))])
    name = re.sub(r"[^A-Za-z0-9_.+-]+", "_", job.name)
    label = _label(job, key)
    return JobRecord(
        key=key,
        name=name,
        label=label,
        outputs=tuple(sorted(str(output) for output in job.output if _stays(output))),
        log=str(logs / name / f"{label}.log"),
        fingerprint=_digest(
            [
                [sorted(map(str, single.input)), _plain(list(single.params))]
                for single in members(job)
            ]
        ),
        threads=int(job.threads),
    )


def title(record: JobRecord) -> str:
    """What a job is called in messages: its rule or group, and its wildcards."""
    return record.name if record.label == record.key else f"{record.name} {record.label}"


def members(job: Any) -> Iterable[Any]:
    """The jobs of a group, or the job itself."""
    return sorted(job.jobs, key=str) if job.is_group() else [job]


def _stays(output: Any) -> bool:
    """Whether an output is a file here, and not gone as soon as its readers are."""
    flags = getattr(output, "flags", {})
    fleeting = any(flags.get(flag) for flag in ("temp", "pipe", "service", "nodelocal"))
    return not (fleeting or output.is_storage)


def _label(job: Any, key: str) -> str:
    if job.is_group():
        return key
    words = [str(value) for value in _wildcards(job).values()]
    text = "_".join(words)
    label = re.sub(r"[^A-Za-z0-9_.+=-]+", "-", text).strip("-.")[:LABEL_LENGTH]
    if not label:
        return key
    # Other wildcards could look the same.
    return label if label == text and len(words) == 1 else f"{label}_{key}"


def _wildcards(job: Any) -> dict[str, Any]:
    return dict(job.wildcards_dict)


def _all_wildcards(job: Any) -> list[str]:
    return [json.dumps(_wildcards(single), default=str) for single in members(job)]


def _plain(value: Any) -> Any:
    """The same in every process: no addresses, no order of sets, keys that JSON takes."""
    if isinstance(value, dict):
        return sorted(([_plain(k), _plain(v)] for k, v in value.items()), key=repr)
    if isinstance(value, (set, frozenset)):
        return sorted(map(_plain, value), key=repr)
    if isinstance(value, (list, tuple)):
        return list(map(_plain, value))
    if value is None or isinstance(value, (str, int, float, PurePath)):
        return str(value)
    return type(value).__name__


def _digest(parts: Any) -> str:
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
