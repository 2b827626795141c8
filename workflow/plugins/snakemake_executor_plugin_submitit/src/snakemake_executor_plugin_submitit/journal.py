"""What was sent where: the memory that outlives the head process.

One line of JSON per event with a checksum, appended and flushed to disk before anything depends on
it. A head that was killed leaves at most a torn last line; it is skipped as lines are that were
damaged later. Reading needs no cluster.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import platform
import shutil
import time
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

from snakemake_executor_plugin_submitit.interrupts import uninterrupted

FILE_NAME = "jobs.jsonl"
_CHECKSUM = "crc"


class JournalInUse(RuntimeError):
    """Another head process submits from this folder."""


@dataclass(frozen=True)
class JobRecord:
    """A Snakemake job as the journal knows it."""

    key: str
    """What identifies it over runs: its output files."""
    name: str
    """Rule or group."""
    label: str
    """Its wildcards' values, readable and fit for a file name."""
    outputs: tuple[str, ...]
    log: str
    """Everything that the job printed."""
    fingerprint: str
    """Of inputs and params: another one means other work."""
    threads: int = 1


@dataclass
class Attempt:
    """One submission of one job, from `sending` to `ended`."""

    submission: str
    index: int
    cluster: str
    host: str
    name: str
    folder: Path
    sent_at: float
    job: JobRecord
    id: str | None = None
    """The cluster's; None while it is not known whether the submission was accepted."""
    cancelled: bool = False
    outcome: str | None = None
    """`done` or `failed`; None until somebody collected it."""
    cause: str = ""
    spent: dict[str, Any] = field(default_factory=dict)
    """Of an ended attempt: `node`, `gpus`, `seconds` of all slots, `slots`."""
    ended_at: float | None = None

    @property
    def state_file(self) -> Path:
        """Where the job says how it is: see `state.TaskState`."""
        return self.folder / f"{self.index}.json"


@dataclass
class Journal:
    """All attempts of one working directory."""

    folder: Path
    submissions: dict[str, list[Attempt]] = field(default_factory=dict)
    """Attempts in the order of their submission's jobs."""
    live: dict[str, Attempt] = field(default_factory=dict)
    """The newest attempt of each job's key, unless it is over and collected."""
    damaged: list[int] = field(default_factory=list)
    """Numbers of lines that are not what was written; they are left out."""
    _lock: IO[str] | None = None

    @classmethod
    def read(cls, folder: Path) -> Journal:
        """The journal as it is now, for looking only."""
        journal = cls(folder.absolute())
        for number, event in _events(journal.path):
            try:
                if event is None:
                    raise ValueError("no checksum, or another one")
                journal._apply(event)
            except (LookupError, TypeError, ValueError, AttributeError):
                journal.damaged.append(number)
        return journal

    @classmethod
    def open(cls, folder: Path) -> Journal:
        """The journal for writing; held until the process ends, however it does.

        Raises:
            JournalInUse: says by which process.
        """
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / "lock").open("a+", encoding="utf-8")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise JournalInUse(_holder(lock)) from None
        except OSError:
            pass  # A file system without locks: nothing can be known here.
        lock.truncate(0)
        lock.write(f"process {os.getpid()} on {platform.node()}\n")
        lock.flush()
        _remove_torn_line(folder / FILE_NAME)
        journal = cls.read(folder)
        journal._lock = lock
        return journal

    @property
    def path(self) -> Path:
        """The file."""
        return self.folder / FILE_NAME

    def sending(
        self, submission: str, cluster: str, name: str, jobs: Sequence[JobRecord]
    ) -> list[Attempt]:
        """Note what is about to be submitted, before it is."""
        self._append(
            event="sending",
            submission=submission,
            cluster=cluster,
            host=platform.node(),
            name=name,
            jobs=[asdict(job) for job in jobs],
        )
        return self.submissions[submission]

    def sent(self, submission: str, ids: Sequence[str]) -> None:
        """Note the ids of an accepted submission."""
        self._append(event="sent", submission=submission, ids=list(ids))

    def dropped(self, submission: str) -> None:
        """Note that a submission was refused: it never ran."""
        self._append(event="dropped", submission=submission)

    def cancelled(self, attempts: Sequence[Attempt]) -> None:
        """Note that attempts were told to stop; they may still be saving."""
        self._append(event="cancelled", attempts=[[a.submission, a.index] for a in attempts])

    def ended(self, attempt: Attempt, outcome: str, cause: str, spent: dict[str, Any]) -> None:
        """Note that an attempt is over and collected; submissions that went well leave no files."""
        self._append(
            event="ended",
            submission=attempt.submission,
            index=attempt.index,
            outcome=outcome,
            cause=cause,
            spent=spent,
        )
        if all(a.outcome == "done" for a in self.submissions[attempt.submission]):
            shutil.rmtree(attempt.folder, ignore_errors=True)

    def close(self) -> None:
        """Let others write."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _append(self, **event: Any) -> None:
        event["at"] = time.time()
        line = json.dumps({**event, _CHECKSUM: _checksum(event)}).encode() + b"\n"
        with uninterrupted(), self.path.open("ab", buffering=0) as file:
            before = file.seek(0, os.SEEK_END)
            try:
                if file.write(line) < len(line):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
                os.fsync(file.fileno())
            except OSError:
                file.truncate(before)  # Or the next event would go on in the middle of the line.
                raise
            self._apply(event)

    def _apply(self, event: dict[str, Any]) -> None:
        submission = event.get("submission", "")
        if event["event"] in ("sent", "dropped", "ended") and submission not in self.submissions:
            return  # Its first line was lost with a full disk.
        match event["event"]:
            case "sending":
                self.submissions[submission] = [
                    Attempt(
                        submission=submission,
                        index=index,
                        cluster=event["cluster"],
                        host=event["host"],
                        name=event["name"],
                        folder=self.folder / submission,
                        sent_at=event["at"],
                        job=JobRecord(**{**job, "outputs": tuple(job["outputs"])}),
                    )
                    for index, job in enumerate(event["jobs"])
                ]
                self.live.update({a.job.key: a for a in self.submissions[submission]})
            case "sent":
                for attempt, job_id in zip(self.submissions[submission], event["ids"], strict=True):
                    attempt.id = job_id
            case "dropped":
                for attempt in self.submissions.pop(submission):
                    self._forget(attempt)
            case "cancelled":
                for name, index in event["attempts"]:
                    if name in self.submissions:
                        self.submissions[name][index].cancelled = True
            case "ended":
                attempt = self.submissions[submission][event["index"]]
                attempt.outcome, attempt.cause = event["outcome"], event["cause"]
                attempt.spent, attempt.ended_at = event["spent"], event["at"]
                self._forget(attempt)

    def _forget(self, attempt: Attempt) -> None:
        if self.live.get(attempt.job.key) is attempt:
            del self.live[attempt.job.key]


def _holder(lock: IO[str]) -> str:
    """Who says in a lock's file that it holds it, which it does a moment after it has it."""
    for _ in range(20):
        lock.seek(0)
        if text := lock.read().strip():
            return text
        time.sleep(0.05)
    return "a process that cannot write"


def _checksum(event: dict[str, Any]) -> str:
    return f"{zlib.crc32(json.dumps(event, sort_keys=True).encode()):08x}"


def _events(path: Path) -> Iterator[tuple[int, dict[str, Any] | None]]:
    """The lines of a journal by number; None for one that is damaged.

    A torn last line was never acted upon, and is left out. Once one line has a checksum, all after
    it have.
    """
    if not path.exists():
        return
    checked = False
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n"):
                return
            try:
                event = json.loads(line)
                found = event.pop(_CHECKSUM, None)
            except (ValueError, AttributeError, TypeError):
                yield number, None
                continue
            whole = found == _checksum(event) if checked or found is not None else True
            checked |= whole and found is not None
            yield number, event if whole else None


def _remove_torn_line(path: Path) -> None:
    """Cut off a last line that a killed process left torn, so that the next event has its own."""
    if not path.exists():
        return
    content = path.read_bytes()
    if not content.endswith(b"\n"):
        os.truncate(path, content.rfind(b"\n") + 1)
