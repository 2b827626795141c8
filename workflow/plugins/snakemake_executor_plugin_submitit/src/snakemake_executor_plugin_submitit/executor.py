"""Snakemake's executor: what is ready goes out as arrays, what ends is collected, nothing twice."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import threading
import time
import traceback
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from snakemake_interface_common.exceptions import WorkflowError
from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo
from snakemake_interface_executor_plugins.executors.real import RealExecutor
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor
from submitit.core.utils import JobPaths

from snakemake_executor_plugin_submitit.clusters.cluster import (
    Cluster,
    Refused,
    State,
    Submission,
    TryLater,
    parts,
)
from snakemake_executor_plugin_submitit.clusters.debug import Debug
from snakemake_executor_plugin_submitit.clusters.local import Local
from snakemake_executor_plugin_submitit.clusters.pool import Pool, gpu_ids, gpus_of_this_machine
from snakemake_executor_plugin_submitit.clusters.slurm import Slurm
from snakemake_executor_plugin_submitit.clusters.slurm_answers import HELD, NEVER
from snakemake_executor_plugin_submitit.interrupts import Interrupt, uninterrupted
from snakemake_executor_plugin_submitit.jobs.records import members, record_of, title
from snakemake_executor_plugin_submitit.jobs.request import BadRequest, Request, request_of
from snakemake_executor_plugin_submitit.journal import (
    Attempt,
    JobRecord,
    Journal,
    JournalInUse,
)
from snakemake_executor_plugin_submitit.results.files import read_result, refresh
from snakemake_executor_plugin_submitit.results.judge import Judge, Outcome
from snakemake_executor_plugin_submitit.results.logs import end_of, last_lines, printed_by_cluster
from snakemake_executor_plugin_submitit.settings import ExecutorSettings
from snakemake_executor_plugin_submitit.state import TaskState
from snakemake_executor_plugin_submitit.task import Task

LONGEST_BACKOFF_SECONDS = 60.0
SETTLE_SECONDS = 30.0
"""How long an sbatch that a killed head left behind may take to be accepted."""


@dataclass
class _Ready:
    """A job that is to be submitted."""

    job: Any
    record: JobRecord
    request: Request


@dataclass
class _Batch:
    """Ready jobs of equal requests, from the first try to submit them to the one that succeeds."""

    jobs: list[_Ready]
    submission: Submission | None = None
    tries: int = 0
    not_before: float = 0.0


@dataclass
class _Running:
    """A submitted job."""

    ready: _Ready
    attempt: Attempt
    attached: bool = False
    """Submitted by an earlier head process."""
    replace: bool = False
    """Its outcome does not count: the job is submitted anew when it is over."""
    was_active: bool = False
    stuck_since: float | None = None
    done_since: float | None = None


class Executor(RemoteExecutor):  # type: ignore[misc]
    """Submits jobs through submitit, and finds them again after this process was killed."""

    def __init__(self, workflow: Any, logger: Any) -> None:
        # Before the base class's constructor, which starts the thread that checks jobs.
        self._settings: ExecutorSettings = workflow.executor_settings or ExecutorSettings()
        if mistake := self._settings.mistake():
            raise WorkflowError(mistake)
        self._folder = Path(workflow.persistence.path).absolute() / "submitit"
        self._logs = Path(self._settings.logs or self._folder / "logs").absolute()
        self._journal = _open_journal(self._folder)
        self._clusters: dict[str, Cluster] = {}
        self._judge = Judge()
        self._batches: list[_Batch] = []
        self._unsettled: list[_Ready] = []
        self._submissions: set[str] = set()
        self._mine: dict[tuple[str, int], _Running] = {}
        self._guard = threading.RLock()
        self._leaving = False
        self._detached = False
        self.workflow = workflow
        try:
            self._cluster = self._cluster_named(self._settings.cluster)
        except Refused as error:
            raise WorkflowError(str(error)) from None
        super().__init__(workflow, logger)
        if damaged := self._journal.damaged:
            self.logger.warning(
                f"{self._journal.path} is damaged: left out: line {', '.join(map(str, damaged))}. "
                f"A job that is not found again is submitted anew."
            )
        self._interrupt = Interrupt()
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGQUIT, self._detach)
            if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # Not in nohup.
                signal.signal(signal.SIGINT, self._interrupt)

    def _cluster_named(self, name: str) -> Cluster:
        """The cluster of new jobs, or that of jobs of an earlier run."""
        if name not in self._clusters:
            self._clusters[name] = self._make_cluster(name)
        return self._clusters[name]

    def _make_cluster(self, name: str) -> Cluster:
        settings = self._settings
        if name == "debug":
            return Debug()
        if name == "slurm":
            return Slurm(
                setup=[settings.setup] if settings.setup else [],
                most_jobs=settings.array_size,
                seconds_between_queries=float(
                    self.workflow.remote_execution_settings.seconds_between_status_checks
                ),
            )
        gpus = settings.gpus
        local = Local(
            Pool(
                gpus=gpus_of_this_machine() if gpus is None else gpu_ids(gpus),
                cores=settings.cores or len(os.sched_getaffinity(0)),
                jobs_per_gpu=settings.jobs_per_gpu,
            )
        )
        local.adopt(a for a in self._journal.live.values() if a.cluster == "local")
        return local

    # Submission

    def run_job(self, job: Any) -> None:
        """See `run_jobs`."""
        self.run_jobs([job])

    def run_jobs(self, jobs: list[Any]) -> None:
        """Submit what is ready: jobs of equal requests as one array. Returns at once."""
        with self._guard:
            ready = []
            for job in jobs:
                self.run_job_pre(job)
                try:
                    request = request_of(job.resources, job.threads, self._settings.default_runtime)
                except BadRequest as error:
                    self._report_unsent(job, str(error))
                    continue
                ready.append(_Ready(job, record_of(job, self._logs), request))
            self._place(ready)
            self._send()

    def _place(self, ready: Sequence[_Ready]) -> None:
        """Attach jobs that an earlier head process submitted; the others go into batches."""
        self._settle()
        if not ready:
            return
        makers = self._makers()
        groups: dict[Request, list[_Ready]] = {}
        for one in ready:
            makes = (makers[path] for path in one.record.outputs if path in makers)
            earlier = self._journal.live.get(one.record.key) or next(makes, None)
            if earlier is None:
                groups.setdefault(one.request, []).append(one)
            elif earlier.id is None:
                self._unsettled.append(one)
            else:
                self._attach(one, earlier)
        for group in groups.values():
            self._batches += [_Batch(list(part)) for part in parts(group, self._cluster.most_jobs)]

    def _makers(self) -> dict[str, Attempt]:
        """Who makes which file among the live jobs of earlier head processes.

        A group is another one when some of its jobs are done, and a rule can be renamed: what
        makes the same file must not run beside it.
        """
        earlier = (a for a in self._journal.live.values() if a.submission not in self._submissions)
        return {path: attempt for attempt in earlier for path in attempt.job.outputs}

    def _settle(self) -> None:
        """Find out about submissions that a killed head process left without an answer."""
        trying = {batch.submission.id for batch in self._batches if batch.submission is not None}
        unknown = {a.submission for a in self._journal.live.values() if a.id is None} - trying
        for submission in unknown:
            attempts = self._journal.submissions[submission]
            try:
                ids = self._cluster_named(attempts[0].cluster).find(attempts)
            except (TryLater, Refused):
                continue
            if ids is not None:
                self._journal.sent(submission, ids)
            elif time.time() - attempts[0].sent_at > SETTLE_SECONDS:
                self._journal.dropped(submission)

    def _attach(self, ready: _Ready, attempt: Attempt) -> None:
        """Take over a job of an earlier head process."""
        try:
            cluster = self._cluster_named(attempt.cluster)
        except Refused as error:
            self._report_unsent(ready.job, f"it was submitted as job {attempt.id} before: {error}")
            return
        same = attempt.job.key == ready.record.key
        changed = same and attempt.job.fingerprint != ready.record.fingerprint
        replace = attempt.cancelled or changed
        if attempt.cancelled:
            self.logger.info(
                f"Job {attempt.id} ({title(ready.record)}) was cancelled: submitted anew as soon "
                f"as it is over."
            )
            cluster.cancel([attempt])  # Perhaps it was never told.
        elif replace:
            self.logger.info(
                f"Job {attempt.id} makes {title(ready.record)} from other inputs or params: "
                f"cancelled, to be submitted anew."
            )
            self._journal.cancelled([attempt])
            cluster.cancel([attempt])
        else:
            self.logger.info(
                f"Attached to job {attempt.id} of an earlier run: {title(ready.record)}, "
                f"log: {attempt.job.log}"
            )
        self._watch(_Running(ready, attempt, attached=True, replace=replace))

    def _send(self) -> None:
        """Submit what waits, as far as the cluster takes it."""
        if self._leaving:
            return
        self._cluster.release_ended()
        for batch in sorted(self._batches, key=lambda batch: len(batch.jobs)):
            has_room = self._cluster.has_room(batch.jobs[0].request)
            if batch.not_before > time.monotonic() or not has_room:
                continue
            if not self._try(batch):
                return

    def _try(self, batch: _Batch) -> bool:
        """Try to submit a batch; False if the cluster takes nothing now."""
        # A job of this machine must not start without this process knowing which it is.
        atomic = uninterrupted() if isinstance(self._cluster, Local) else contextlib.nullcontext()
        try:
            with atomic:
                submission = batch.submission = batch.submission or self._prepare(batch)
                ids = self._cluster.submit(submission)
                self._journal.sent(submission.id, ids)
        except TryLater as reason:
            self._put_off(batch, reason)
            return False
        except OSError as error:  # A full disk, say. What was accepted is found by its name.
            self._put_off(batch, TryLater(str(error)))
            return False
        except KeyboardInterrupt:
            self._leaving = True
            raise
        except Refused as error:
            self._batches.remove(batch)
            self._journal.dropped(submission.id)
            self.logger.error(f"Refused: {error}")
            for ready in batch.jobs:
                self._report_unsent(ready.job, f"refused: {error}")
            return True
        self._batches.remove(batch)
        attempts = self._journal.submissions[submission.id]
        for ready, attempt in zip(batch.jobs, attempts, strict=True):
            self.logger.info(
                f"Submitted {title(ready.record)} as job {attempt.id}, log: {ready.record.log}"
            )
            self._watch(_Running(ready, attempt))
        if self._leaving:  # Ctrl-C came while the cluster thought about it.
            self._cancel(attempts)
        return True

    def _put_off(self, batch: _Batch, reason: TryLater) -> None:
        """Try again later; with fewer jobs at a time if there are too many."""
        batch.tries += 1
        pause = min(2.0**batch.tries, LONGEST_BACKOFF_SECONDS)
        batch.not_before = time.monotonic() + pause
        self.logger.info(
            f"Not accepted now: {reason}. {len(batch.jobs)} jobs wait; next try in {pause:.0f} s."
        )
        if reason.too_many and len(batch.jobs) > 1 and batch.submission is not None:
            self._journal.dropped(batch.submission.id)
            self._batches.remove(batch)
            half = len(batch.jobs) // 2
            self._batches += [_Batch(batch.jobs[:half]), _Batch(batch.jobs[half:])]

    def _prepare(self, batch: _Batch) -> Submission:
        """Write down what is about to be submitted."""
        identity = uuid.uuid4().hex[:12]
        self._submissions.add(identity)
        rules = {ready.record.name for ready in batch.jobs}
        folder = self._folder / identity
        submission = Submission(
            id=identity,
            name=f"{rules.pop() if len(rules) == 1 else 'jobs'}-{identity}",
            folder=folder,
            request=batch.jobs[0].request,
            tasks=[self._task(ready, index, folder) for index, ready in enumerate(batch.jobs)],
        )
        records = [ready.record for ready in batch.jobs]
        self._journal.sending(submission.id, self._cluster.name, submission.name, records)
        return submission

    def _task(self, ready: _Ready, index: int, folder: Path) -> Task:
        limit = 60.0 * ready.request.runtime if self._cluster.has_time_limits else None
        return Task(
            command=self.format_job_exec(ready.job),
            directory=str(Path.cwd()),
            index=index,
            state_file=folder / f"{index}.json",
            log=Path(ready.record.log),
            rule_logs=tuple(map(str, ready.job.log)),
            inputs=tuple(map(str, ready.job.get_wait_for_files())),
            outputs=ready.record.outputs,
            latency_seconds=self.workflow.execution_settings.latency_wait,
            time_limit_seconds=limit,
            grace_seconds=ready.request.grace_within(self._settings.grace),
            restarts=self._settings.restarts,
        )

    def get_job_args(self, job: Any, **kwargs: Any) -> str:
        """Without --wait-for-files: a Snakemake that waits for them in vain exits with 0.

        `Task` waits for them, and says so if they do not come.
        """
        return str(RealExecutor.get_job_args(self, job, **kwargs))

    # Watching

    def _watch(self, running: _Running) -> None:
        attempt = running.attempt
        self._mine[attempt.submission, attempt.index] = running
        self._clusters[attempt.cluster].submitted(attempt)
        self.report_job_submission(
            SubmittedJobInfo(
                running.ready.job, external_jobid=running.attempt.id, aux={"running": running}
            )
        )

    async def check_active_jobs(
        self, active_jobs: list[SubmittedJobInfo]
    ) -> AsyncIterator[SubmittedJobInfo]:
        """Collect what ended, submit what waits; yields what goes on."""
        with self._guard:
            unsettled, self._unsettled = self._unsettled, []
            self._place(unsettled)
            self._send()
        states = self._states(active_jobs)
        for info in active_jobs:
            running = info.aux["running"]
            state = states.get((running.attempt.cluster, running.attempt.id), State("unknown"))
            try:
                over = self._collect(info, running, state)
            except OSError as error:
                self.logger.error(f"Job {running.attempt.id} cannot be collected yet: {error}")
                over = False
            if not over:
                yield info

    def _states(self, active: Sequence[SubmittedJobInfo]) -> dict[tuple[str, str | None], State]:
        attempts = [info.aux["running"].attempt for info in active]
        refresh({attempt.folder for attempt in attempts})
        states: dict[tuple[str, str | None], State] = {}
        for cluster, some in self._by_cluster(attempts):
            for job_id, state in cluster.states(some).items():
                states[cluster.name, job_id] = state
        return states

    def _by_cluster(self, attempts: Sequence[Attempt]) -> Iterator[tuple[Cluster, list[Attempt]]]:
        for name in {attempt.cluster for attempt in attempts}:
            yield self._cluster_named(name), [a for a in attempts if a.cluster == name]

    def _collect(self, info: SubmittedJobInfo, running: _Running, state: State) -> bool:
        """Report a job that is over; whether it is."""
        attempt, outputs = running.attempt, running.ready.record.outputs
        outcome = (
            _collected(attempt)
            or self._judge.outcome(attempt, state)
            or self._stuck(running, state)
        )
        if outcome is None:
            running.was_active |= state.phase == "active"
            return False
        if outcome.done and _missing(outputs) and self._may_still_come(running):
            return False
        with self._guard:
            if self._is_old(running, outcome):
                self._end(attempt, outcome)
                if not running.replace:
                    said = "was done" if outcome.done else f"failed: {outcome.cause}"
                    self.logger.info(
                        f"Job {attempt.id} of an earlier run {said}; {title(attempt.job)} is "
                        f"submitted anew."
                    )
                self._place([running.ready])
                return True
            if outcome.done and (missing := _missing(outputs)):
                outcome = Outcome(False, f"it ended without an error, but {missing} is not there")
            self._end(attempt, outcome)
        if outcome.done:
            self.report_job_success(info)
        else:
            self._report_failure(info, attempt, state, outcome.cause)
        return True

    def _may_still_come(self, running: _Running) -> bool:
        """Whether output files of another node may take a little longer to show up here."""
        running.done_since = running.done_since or time.monotonic()
        patience = self.workflow.execution_settings.latency_wait
        return bool(time.monotonic() - running.done_since < patience)

    def _end(self, attempt: Attempt, outcome: Outcome) -> None:
        self._mine.pop((attempt.submission, attempt.index), None)
        if attempt.outcome is not None:
            return
        own = TaskState.read(attempt.state_file) or TaskState()
        spent = {
            "node": own.node,
            "gpus": own.gpus,
            "seconds": round(own.seconds, 1),
            "slots": own.slots,
        }
        self._journal.ended(attempt, "done" if outcome.done else "failed", outcome.cause, spent)

    def _is_old(self, running: _Running, outcome: Outcome) -> bool:
        """Whether an outcome is of the past: the job has to run again all the same.

        What ended before this process looked counts only if it is what this process wants: the
        outputs were not there when it began, and are now.
        """
        if running.replace:
            return True
        if not running.attached:
            return False
        if not outcome.done:
            return not running.was_active
        if _missing(running.ready.record.outputs):
            return True
        recent = running.was_active or self._ended_now(running.attempt)
        return not (recent or self._were_missing(running.ready.job))

    def _ended_now(self, attempt: Attempt) -> bool:
        """Whether its result is younger than this process, by the clock of one file system."""
        with contextlib.suppress(OSError):
            result = JobPaths(attempt.folder, attempt.id, 0).result_pickle
            return result.stat().st_mtime > (self._folder / "lock").stat().st_mtime
        return False

    def _were_missing(self, job: Any) -> bool:
        return any(self.workflow.dag.reason(single).missing_output for single in members(job))

    def _stuck(self, running: _Running, state: State) -> Outcome | None:
        """Give up a job that waits for what never comes."""
        if state.name not in ("PENDING", "REQUEUE_HOLD") or state.reason not in NEVER | HELD:
            running.stuck_since = None
            return None
        now = time.monotonic()
        attempt = running.attempt
        held = state.reason in HELD
        if running.stuck_since is None:
            running.stuck_since = now
            what = (
                f"scontrol release {attempt.id} lets it go on"
                if held
                else f"it is given up in {self._settings.pending_patience} s"
            )
            self.logger.warning(
                f"Job {attempt.id} ({title(attempt.job)}) cannot start: SLURM says "
                f"{state.reason}; {what}."
            )
        if held:
            return None
        if now - running.stuck_since < self._settings.pending_patience:
            return None
        self._cluster_named(attempt.cluster).cancel([attempt])
        return Outcome(False, f"it can never start: SLURM says {state.reason}")

    async def sleep(self) -> None:
        """Wait until the next check, or until there is nothing to check any more."""
        deadline = time.monotonic() + self._seconds_between_checks()
        while self.wait and time.monotonic() < deadline:
            await asyncio.sleep(0.1)

    def _seconds_between_checks(self) -> float:
        """Looking for results is cheap, a file each; SLURM itself is asked less often."""
        asked = float(self.workflow.remote_execution_settings.seconds_between_status_checks)
        return min(asked, max(1.0, len(self.active_jobs) / 200))

    # Reporting

    def _report_unsent(self, job: Any, message: str) -> None:
        self._note_in_rule_log(job, message)
        self.report_job_error(SubmittedJobInfo(job), msg=message)

    def _report_failure(
        self, info: SubmittedJobInfo, attempt: Attempt, state: State, cause: str
    ) -> None:
        own = TaskState.read(attempt.state_file)
        node = state.node or (own.node if own else "") or attempt.host
        summary = f"job {attempt.id} on {node}: {cause}"
        self._note_in_rule_log(info.job, summary)
        tail = last_lines(end_of(Path(attempt.job.log)) or printed_by_cluster(attempt))
        lines = "".join(f"\n        {line}" for line in tail)
        message = f"{title(attempt.job)} failed: {summary}\n    job log: {attempt.job.log}"
        self.report_job_error(info, msg=message + (f", which ends:{lines}" if tail else ""))

    def _note_in_rule_log(self, job: Any, message: str) -> None:
        """What only the cluster knows stands in the rule's log too, as its last line."""
        for path in list(map(str, job.log))[:1]:
            with contextlib.suppress(OSError):
                Path(path).parent.mkdir(parents=True, exist_ok=True)
                with Path(path).open("a", encoding="utf-8") as log:
                    log.write(f"error: {message}\n")

    def print_job_error(self, job_info: SubmittedJobInfo, msg: Any = None, **kwargs: Any) -> None:
        """Without the base class's advice to look for logs: the message names them."""
        job_info.job.log_error(msg, external_jobid=job_info.external_jobid, **kwargs)

    # Leaving

    def cancel(self) -> None:
        """On Ctrl-C: cancel everything that is submitted, unless told to leave it running.

        Snakemake calls this for errors of its own, too. They are no reason to end jobs.
        """
        self._leaving = True
        error = sys.exc_info()[1]
        if error is not None and not isinstance(error, (KeyboardInterrupt, SystemExit)):
            traceback.print_exception(error)
            self._exit_leaving_jobs(1)
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, _exit_at_once)
        if self._detached:
            self._exit_leaving_jobs(128 + signal.SIGQUIT)
        # Not for ever: the thread that checks jobs may be waiting for SLURM's answer.
        locked = self._guard.acquire(timeout=10)
        try:
            self._cancel_all()
        finally:
            if locked:
                self._guard.release()
        self.shutdown()

    def _exit_leaving_jobs(self, code: int) -> None:
        """Leave without Snakemake's own cleaning up, which would take jobs' folders from them."""
        self.logger.info("Detached: the jobs go on. The same command attaches to them again.")
        self.workflow.persistence.unlock()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)

    def _cancel_all(self) -> None:
        # Ctrl-C may have come in the middle of anything: what is live in the journal counts.
        attached = [running.attempt for running in list(self._mine.values()) if running.attached]
        live = list(self._journal.live.values())
        self._cancel(attached + [a for a in live if a.submission in self._submissions])

    def _cancel(self, attempts: Sequence[Attempt]) -> None:
        if not attempts:
            return
        self._journal.cancelled(attempts)
        self.logger.info(f"Cancelling {len(attempts)} jobs. Ctrl-C again exits at once.")
        for cluster, some in self._by_cluster(attempts):
            if complaint := cluster.cancel(some):
                self.logger.error(complaint.strip())

    def _detach(self, number: int, frame: FrameType | None) -> None:
        r"""On Ctrl-\: leave, and leave the jobs running."""
        self._detached = True
        self._interrupt(number, frame)

    def cancel_jobs(self, active_jobs: list[SubmittedJobInfo]) -> None:
        """Not used: `cancel` looks into the journal, which has no gap while jobs are checked."""

    def shutdown(self) -> None:
        """Stop checking jobs, and let others submit from this folder."""
        super().shutdown()
        refresh({attempt.folder for attempt in self._journal.live.values()})
        if self._mine and not self._leaving:
            self._exit_leaving_jobs(1)  # Snakemake gives up, for an error of its own.
        for attempt in list(self._journal.live.values()):
            # Of an earlier run, ended well, and not wanted by this one.
            if (read_result(attempt) or ("", None))[0] == "success":
                with contextlib.suppress(OSError):
                    self._end(attempt, Outcome(done=True))
        self._journal.close()


def _open_journal(folder: Path) -> Journal:
    try:
        return Journal.open(folder)
    except JournalInUse as holder:
        raise WorkflowError(
            f"another Snakemake submits jobs from this folder ({holder}). Wait for it, or stop it "
            f"by Ctrl-C; Ctrl-\\ there leaves its jobs running for this one to attach to"
        ) from None
    except OSError as error:
        raise WorkflowError(f"cannot write {folder}: {error.strerror}") from None


def _missing(outputs: Sequence[str]) -> str | None:
    return next((path for path in outputs if not Path(path).exists()), None)


def _collected(attempt: Attempt) -> Outcome | None:
    """The outcome of an attempt that was collected for another job of its group."""
    return None if attempt.outcome is None else Outcome(attempt.outcome == "done", attempt.cause)


def _exit_at_once(number: int, frame: FrameType | None) -> None:
    sys.stderr.write("\nJobs may still be there: the same command attaches to them again.\n")
    os._exit(128 + signal.SIGINT)
