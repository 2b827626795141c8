"""What runs on a node: one job's command, as a callable that submitit pickles and calls.

The command's process tree ignores SIGTERM and SIGUSR2 unless a program in it asks for them: the
shells and the Snakemake in between must not die of a signal that tells the training to save. A
command that ends after such a signal is not a failure: whether the job goes back into the queue or
is gone is the cluster's to say.
"""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from submitit.core.utils import DelayedSubmission

from snakemake_executor_plugin_submitit.node.log import keep_rule_logs, output_to
from snakemake_executor_plugin_submitit.node.signals import Signals, ignore_signals, signal_group
from snakemake_executor_plugin_submitit.node.slurm import job_id, still_running
from snakemake_executor_plugin_submitit.state import HEARTBEAT_SECONDS, TaskState

SIGNALS_EARLY_SECONDS = 60.0
"""SLURM may send the signal of a time limit up to so much earlier than asked for."""
LAST_SECONDS = 15.0
"""Before the time limit, for going back into the queue."""


class JobFailed(RuntimeError):
    """The command of a job failed; says how."""


@dataclass
class Task:
    """A job's command and what it needs to be run, stopped, and run again."""

    command: str
    directory: str
    index: int
    """Its place in its submission."""
    state_file: Path
    log: Path
    rule_logs: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    latency_seconds: float = 5.0
    """How long files of other nodes may take to show up here."""
    time_limit_seconds: float | None = None
    grace_seconds: float = 90.0
    """How long before the time limit the job is told to save."""
    restarts: int = 20
    """How many time limits it may run into."""
    timeouts: int = 0
    _state: TaskState = field(default_factory=TaskState)

    def __call__(self) -> None:
        """Run the command to its end.

        Raises:
            JobFailed: it failed, ran into too many time limits, or files are missing.
            SystemExit: it was stopped, or put back into the queue.
        """
        signals = Signals()
        self._begin()
        with output_to(self.log, self._describe()):
            try:
                self._wait_for(self.inputs, "input")
                self._run(signals)
                self._wait_for(self.outputs, "output")
            except JobFailed as error:
                self._set_phase("failed", str(error))
                print(f"error: {error}", flush=True)
                raise
        self._set_phase("done")

    def checkpoint(self) -> DelayedSubmission:
        """What submitit puts in place of this job before it goes back into the queue."""
        return DelayedSubmission(self)

    def _begin(self) -> None:
        before = TaskState.read(self.state_file) or TaskState()
        now = time.time()
        self._state = TaskState(
            id=job_id(),
            node=os.environ.get("SLURMD_NODENAME") or platform.node(),
            gpus=os.environ.get("CUDA_VISIBLE_DEVICES", ""),
            pid=os.getpid(),
            started_at=now,
            slots=before.slots + 1,
            timeouts=self.timeouts,
            seconds_before=before.seconds if before.slots else 0.0,
        )
        self._set_phase("running")

    def _set_phase(self, phase: str, cause: str = "") -> None:
        self._state.phase, self._state.cause = phase, cause
        self._state.write(self.state_file)

    def _describe(self) -> str:
        state = self._state
        gpus = f", GPU {state.gpus}" if state.gpus else ""
        began = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(state.started_at))
        return f"{began} job {state.id} on {state.node}{gpus}, start {state.slots}"

    def _wait_for(self, paths: tuple[str, ...], kind: str) -> None:
        deadline = time.monotonic() + self.latency_seconds
        while missing := [p for p in paths if not Path(self.directory, p).exists()]:
            if time.monotonic() > deadline:
                more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
                raise JobFailed(
                    f"{kind} {missing[0]}{more} is not there on {self._state.node}, "
                    f"{self.latency_seconds:g} s after {_WHEN[kind]}"
                )
            time.sleep(0.5)

    def _run(self, signals: Signals) -> None:
        """Run the command; returns if it succeeded."""
        with subprocess.Popen(
            self.command,
            shell=True,
            cwd=self.directory,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=ignore_signals,
        ) as process:
            self._state.command_pid = process.pid
            if callable(signals.requeue):  # Not in the `debug` cluster, in the user's own process.
                signals.install()
            self._set_phase("running")
            try:
                self._watch(process, signals)
            except BaseException:
                signal_group(process.pid, signal.SIGKILL)
                raise
        if process.returncode == 0:
            return
        if signals.any:
            self._leave(signals)
        raise JobFailed(_exit_reason(process.returncode))

    def _watch(self, process: subprocess.Popen[bytes], signals: Signals) -> None:
        """Wait for the command, passing on what it is told by signals."""
        started = heartbeat = told = time.monotonic()
        while process.poll() is None:
            now = time.monotonic()
            if now - heartbeat > HEARTBEAT_SECONDS:
                heartbeat = now
                self._state.write(self.state_file)
            if signals.any and now - told > 1.0:
                # Again every second: a program that is still starting does not listen yet.
                told = now
                if self._state.phase == "running":
                    self._set_phase("saving")
                number = signal.SIGTERM if signals.terminate else signal.SIGUSR2
                signal_group(process.pid, number)
            if signals.save is not None and self._is_late(now - signals.save):
                print("error: not saved in time; stopped", flush=True)
                signal_group(process.pid, signal.SIGKILL)
            time.sleep(min(0.5, 0.02 + (now - started) / 20))

    def _is_late(self, seconds_since_signal: float) -> bool:
        """Whether a command that was told to save has to be stopped now."""
        if seconds_since_signal < 0.8 * self.grace_seconds:
            return False
        spent = time.time() - self._state.started_at
        return self.time_limit_seconds is None or spent > self.time_limit_seconds - LAST_SECONDS

    def _leave(self, signals: Signals) -> None:
        """After a signal: back into the queue, or gone. Returns only by an exception."""
        keep_rule_logs(self.directory, self.rule_logs)
        timed_out = signals.terminate is None and self._near_time_limit()
        if timed_out:
            self._count_time_limit()
        elif signals.terminate is not None and not still_running():
            # The cluster ends it: cancelled for good, or put back into the queue by others.
            self._set_phase("stopped")
            sys.stdout.flush()
            os._exit(128 + signal.SIGTERM)
        self._state.timeouts = self.timeouts
        self._set_phase("requeued")
        print(f"back into the queue ({'time limit' if timed_out else 'preempted'})", flush=True)
        self._requeue(signals)

    def _count_time_limit(self) -> None:
        self.timeouts += 1
        if self.timeouts > self.restarts:
            raise JobFailed(
                f"ran into its time limit {self.timeouts} times and was not finished: give it "
                f"more time (runtime) or more restarts"
            )

    def _requeue(self, signals: Signals) -> None:
        """Until it is done: submitit's handler exits then."""
        while True:
            try:
                assert callable(signals.requeue)
                signals.requeue(signal.SIGUSR2, None)
            except (subprocess.SubprocessError, OSError, AssertionError) as error:
                print(f"cannot requeue yet: {error}", flush=True)
                for partial in self.state_file.parent.glob(f"{self._state.id}_*.save_tmp"):
                    partial.unlink(missing_ok=True)  # submitit refuses to write over its own.
                time.sleep(2.0)

    def _near_time_limit(self) -> bool:
        if self.time_limit_seconds is None:
            return False
        spent = time.time() - self._state.started_at
        early = self.grace_seconds + SIGNALS_EARLY_SECONDS
        return spent >= 0.8 * (self.time_limit_seconds - early)


_WHEN = {"input": "this job started", "output": "its command ended without an error"}


def _exit_reason(code: int) -> str:
    if code == -signal.SIGKILL or code == 128 + signal.SIGKILL:
        return "its command was killed (SIGKILL), as happens when memory runs out"
    if code < 0:
        return f"its command was ended by {signal.Signals(-code).name}"
    return f"its command exited with {code}"
