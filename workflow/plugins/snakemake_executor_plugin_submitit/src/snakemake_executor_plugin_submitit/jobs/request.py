"""What a job asks of the cluster: Snakemake's resources, under the official slurm executor's names.

Jobs with equal requests go out as one array.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


class BadRequest(ValueError):
    """A resource that cannot be understood; names it and its value."""


@dataclass(frozen=True)
class Request:
    """Equal for jobs that may share an array."""

    threads: int
    runtime: int
    """Minutes."""
    memory: str | None
    memory_per_cpu: str | None
    nodes: int
    tasks: int
    gpus: int
    gpu_model: str | None
    gres: str | None
    partition: str | None
    account: str | None
    qos: str | None
    constraint: str | None
    reservation: str | None
    extra: tuple[tuple[str, str | bool], ...]
    """Other options of sbatch, from `slurm_extra`."""

    def grace_within(self, asked: float) -> float:
        """Seconds before the time limit at which the job saves: at most half of the time."""
        return min(asked, 30.0 * self.runtime)

    def slurm_parameters(self) -> dict[str, Any]:
        """For `submitit.SlurmExecutor.update_parameters`."""
        gpus: dict[str, Any] = {}
        if self.gpus:
            model = f"{self.gpu_model}:" if self.gpu_model else ""
            gpus["gpus_per_node"] = f"{model}{self.gpus}"
        others = {
            "requeue": True,  # Also where slurm.conf says JobRequeue=0.
            "reservation": self.reservation,
            **dict(self.extra),
        }
        chosen = {
            "time": self.runtime,
            "mem": self.memory,
            "mem_per_cpu": self.memory_per_cpu,
            "nodes": self.nodes,
            "ntasks_per_node": self.tasks,
            "cpus_per_task": self.threads,
            "gres": self.gres,
            "partition": self.partition,
            "account": self.account,
            "qos": self.qos,
            "constraint": self.constraint,
            "additional_parameters": {k: v for k, v in others.items() if v is not None},
            **gpus,
        }
        return {name: value for name, value in chosen.items() if value is not None}


def request_of(resources: Mapping[str, Any], threads: int, default_runtime: int) -> Request:
    """Read a job's resources.

    Args:
        resources: Snakemake's, of one job or one group.
        threads: of the job; `cpus_per_task` overrides it.
        default_runtime: minutes for jobs that say nothing.

    Raises:
        BadRequest: names the resource and its value.
    """
    memory_per_cpu = _number(resources, "mem_mb_per_cpu", None)
    memory = None if memory_per_cpu else _number(resources, "mem_mb", None)
    tasks = _number(resources, "tasks", 1)
    if tasks != 1:
        raise BadRequest(f"tasks = {tasks}: must be 1, a job is one process tree")
    return Request(
        threads=_number(resources, "cpus_per_task", threads) or 1,
        runtime=_number(resources, "runtime", default_runtime) or default_runtime,
        memory=f"{memory}M" if memory else None,
        memory_per_cpu=f"{memory_per_cpu}M" if memory_per_cpu else None,
        nodes=_number(resources, "nodes", 1) or 1,
        tasks=1,
        gpus=_number(resources, "gpu", 0) or 0,
        gpu_model=_text(resources, "gpu_model"),
        gres=_text(resources, "gres"),
        partition=_text(resources, "slurm_partition"),
        account=_text(resources, "slurm_account"),
        qos=_text(resources, "qos") or _text(resources, "slurm_qos"),
        constraint=_text(resources, "constraint") or _text(resources, "slurm_constraint"),
        reservation=_text(resources, "reservation") or _text(resources, "slurm_reservation"),
        extra=_extra_options(_text(resources, "slurm_extra") or ""),
    )


def _number(resources: Mapping[str, Any], name: str, default: int | None) -> int | None:
    value = resources.get(name)
    if value is None:
        return default
    try:
        number = int(value)
    except (TypeError, ValueError):
        raise BadRequest(f"{name} = {value!r}: must be a whole number") from None
    if number < 0:
        raise BadRequest(f"{name} = {value!r}: must not be negative")
    return number


def _text(resources: Mapping[str, Any], name: str) -> str | None:
    value = resources.get(name)
    if value is not None and not str(value).isprintable():
        raise BadRequest(f"{name} = {value!r}: must have no line breaks")
    return None if value in (None, "") else str(value)


def _extra_options(text: str) -> tuple[tuple[str, str | bool], ...]:
    """`--mail-type=END --exclusive` as pairs of long options."""
    pairs: list[tuple[str, str | bool]] = []
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise BadRequest(f"slurm_extra = {text!r}: {error}") from None
    for word in words:
        name, separator, value = word.partition("=")
        if not name.startswith("--") or len(name) < 3:
            raise BadRequest(
                f"slurm_extra = {text!r}: {word!r} must be written --option=value or --option"
            )
        pairs.append((name[2:], value if separator else True))
    return tuple(pairs)
