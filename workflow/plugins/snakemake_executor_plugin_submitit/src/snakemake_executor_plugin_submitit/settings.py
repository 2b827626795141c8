"""Settings of the executor: `--submitit-...` on the command line, `submitit-...` in a profile.

Snakemake reads the types of the fields: no postponed annotations, and Optional for `| None`.
"""

# ruff: noqa: UP045

from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

from snakemake_interface_executor_plugins.settings import CommonSettings, ExecutorSettingsBase

common_settings = CommonSettings(
    non_local_exec=True,
    implies_no_shared_fs=False,
    job_deploy_sources=False,
    pass_default_storage_provider_args=True,
    pass_default_resources_args=True,
    pass_envvar_declarations_to_cmd=True,
    auto_deploy_default_storage_provider=False,
    init_seconds_before_status_checks=0,
    pass_group_args=True,
)


@dataclass
class ExecutorSettings(ExecutorSettingsBase):  # type: ignore[misc]
    """Every field is an option."""

    cluster: str = field(
        default="slurm",
        metadata={
            "help": "Where jobs run: slurm; local (this machine, each job with GPUs of its own, "
            "jobs outlive the head process); debug (in the head process).",
            "choices": ["slurm", "local", "debug"],
        },
    )
    restarts: int = field(
        default=20,
        metadata={
            "help": "How many time limits a job may run into and go on after; preemptions and "
            "failures of nodes do not count."
        },
    )
    grace: int = field(
        default=90,
        metadata={
            "help": "Seconds before its time limit at which a job is told to save (SIGUSR2)."
        },
    )
    default_runtime: int = field(
        default=60, metadata={"help": "Minutes for jobs without the resource `runtime`."}
    )
    array_size: int = field(
        default=1000,
        metadata={"help": "Most jobs in one array; SLURM's MaxArraySize bounds it (1001)."},
    )
    pending_patience: int = field(
        default=120,
        metadata={
            "help": "Seconds after which a job that waits for something that never comes (a "
            "partition it may not use, a limit it exceeds) is cancelled and counts as failed."
        },
    )
    logs: Optional[Path] = field(
        default=None,
        metadata={"help": "Folder for the jobs' logs; default: .snakemake/submitit/logs."},
    )
    setup: Optional[str] = field(
        default=None,
        metadata={"help": "Shell command before every job on SLURM, such as `module load cuda`."},
    )
    gpus: Optional[str] = field(
        default=None,
        metadata={
            "help": "local: ids of the GPUs to use, separated by commas; default: all that "
            "CUDA_VISIBLE_DEVICES and nvidia-smi show."
        },
    )
    jobs_per_gpu: int = field(
        default=1,
        metadata={
            "help": "local: jobs that share a GPU, for models that do not fill it; their memory "
            "has to fit together."
        },
    )
    cores: Optional[int] = field(
        default=None, metadata={"help": "local: cores to use; default: all of this process."}
    )

    def mistake(self) -> Optional[str]:
        """The first setting with a value that means nothing, with it and what is allowed."""
        for name, smallest in _SMALLEST.items():
            value = getattr(self, name)
            if value is not None and value < smallest:
                option = f"submitit-{name.replace('_', '-')}"
                return f"{option} = {value}: must be a whole number of at least {smallest}"
        gpus = [name.strip() for name in (self.gpus or "").split(",")]
        if len(set(gpus)) < len(gpus):
            return f"submitit-gpus = '{self.gpus}': the same GPU stands there twice"
        return None


_SMALLEST = {
    "restarts": 0,
    "grace": 1,
    "default_runtime": 1,
    "array_size": 1,
    "pending_patience": 0,
    "cores": 1,
    "jobs_per_gpu": 1,
}
