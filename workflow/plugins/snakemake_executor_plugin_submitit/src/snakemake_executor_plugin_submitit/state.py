"""How a job is, in a file that the job itself keeps: for the head process and for people."""

from __future__ import annotations

import contextlib
import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path

HEARTBEAT_SECONDS = 15.0
"""How often a running job rewrites its file."""


@dataclass
class TaskState:
    """A job's own account of itself."""

    id: str = ""
    node: str = ""
    gpus: str = ""
    pid: int = 0
    command_pid: int = 0
    phase: str = "running"
    """`running`, `saving`, `requeued`, `stopped`, `done`, `failed`."""
    cause: str = ""
    started_at: float = 0.0
    """Of this slot."""
    seen_at: float = 0.0
    """The last sign of life."""
    slots: int = 0
    """How many times the job was started, this one included."""
    timeouts: int = 0
    """How many slots ended at the time limit."""
    seconds_before: float = 0.0
    """Spent in earlier slots."""

    @property
    def seconds(self) -> float:
        """Spent in all slots."""
        return self.seconds_before + self.seen_at - self.started_at

    @classmethod
    def read(cls, path: Path) -> TaskState | None:
        """The state in a file; None if the job never started."""
        try:
            return cls(**json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    def write(self, path: Path) -> None:
        """Replace the file atomically. A full disk must not stop a job that runs."""
        self.seen_at = time.time()
        temporary = path.with_name(f"{path.name}.{os.getpid()}.partial")
        with contextlib.suppress(OSError):
            temporary.write_text(json.dumps(asdict(self)), encoding="utf-8")
            temporary.replace(path)
