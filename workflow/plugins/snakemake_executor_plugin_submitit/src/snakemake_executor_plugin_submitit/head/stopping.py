r"""How a run ends: Ctrl-C cancels its jobs, Ctrl-\ and errors of Snakemake leave them running."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import traceback
from types import FrameType
from typing import NoReturn

from snakemake_executor_plugin_submitit.head.run import Run
from snakemake_executor_plugin_submitit.interrupts import Interrupt
from snakemake_executor_plugin_submitit.results.files import read_result, refresh
from snakemake_executor_plugin_submitit.results.judge import Outcome


class Stopper:
    """Ends a run."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._interrupt = Interrupt()

    def handle_signals(self) -> None:
        r"""Hear Ctrl-C and Ctrl-\."""
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGQUIT, self._detach)
            if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # Not in nohup.
                signal.signal(signal.SIGINT, self._interrupt)

    def _detach(self, number: int, frame: FrameType | None) -> None:
        r"""On Ctrl-\: leave, and leave the jobs running."""
        self._run.detached = True
        self._interrupt(number, frame)

    def cancel(self) -> None:
        """Cancel everything that is submitted, or exit and leave it running."""
        self._run.leaving = True
        error = sys.exc_info()[1]
        if error is not None and not isinstance(error, (KeyboardInterrupt, SystemExit)):
            traceback.print_exception(error)
            self._exit_leaving_jobs(1)
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, _exit_at_once)
        if self._run.detached:
            self._exit_leaving_jobs(128 + signal.SIGQUIT)
        # Not for ever: the thread that checks jobs may be waiting for SLURM's answer.
        locked = self._run.guard.acquire(timeout=10)
        try:
            self._cancel_all()
        finally:
            if locked:
                self._run.guard.release()

    def _cancel_all(self) -> None:
        # Ctrl-C may have come in the middle of anything: what is live in the journal counts.
        mine = list(self._run.mine.values())
        attached = [running.attempt for running in mine if running.attached]
        live = list(self._run.journal.live.values())
        self._run.cancel(attached + [a for a in live if a.submission in self._run.submissions])

    def _exit_leaving_jobs(self, code: int) -> NoReturn:
        """Leave without Snakemake's own cleaning up, which would take jobs' folders from them."""
        self._run.logger.info("Detached: the jobs go on. The same command attaches to them again.")
        self._run.workflow.persistence.unlock()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)

    def close(self) -> None:
        """When no job is checked any more: let others submit from this folder."""
        journal = self._run.journal
        refresh({attempt.folder for attempt in journal.live.values()})
        if self._run.mine and not self._run.leaving:
            self._exit_leaving_jobs(1)  # Snakemake gives up, for an error of its own.
        for attempt in list(journal.live.values()):
            # Of an earlier run, ended well, and not wanted by this one.
            if (read_result(attempt) or ("", None))[0] == "success":
                with contextlib.suppress(OSError):
                    self._run.end(attempt, Outcome(done=True))
        journal.close()


def _exit_at_once(number: int, frame: FrameType | None) -> None:
    sys.stderr.write("\nJobs may still be there: the same command attaches to them again.\n")
    os._exit(128 + signal.SIGINT)
