"""A progress bar on a terminal, and one line per epoch wherever the output goes."""

from __future__ import annotations

import contextlib
import sys
from types import TracebackType
from typing import Any

from tqdm import tqdm

from raat_core.training.reporter import Reporter, Row


class ConsoleReporter(Reporter):
    """Prints to standard output; the bar is on standard error, if that is a terminal."""

    def __init__(self) -> None:
        self._bar: tqdm[Any] | None = None

    def __enter__(self) -> ConsoleReporter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def started(self, done: int, total: int) -> None:
        """Open the bar; say where an earlier session stopped."""
        if done:
            print(f"resuming after {done} of {total} steps", flush=True)
        self._bar = tqdm(
            total=total, initial=done, unit="step", disable=not sys.stderr.isatty(), leave=False
        )

    def step_done(self) -> None:
        """Move the bar."""
        if self._bar is not None:
            self._bar.update()

    def epoch_done(self, row: Row, epochs: int) -> None:
        """Print the epoch's line."""
        parts = [
            f"epoch {row['epoch']}/{epochs}",
            f"lr {row['learning_rate']:g}",
            f"loss {row['loss']:.4f}",
        ]
        for name in ("clean", "robust"):
            if row[f"{name}_accuracy"] is not None:
                parts.append(f"{name} {row[f'{name}_accuracy']:.2f}%")
        parts.append(f"{row['seconds']:.1f} s")
        # A full disk under the log is no reason to lose the epoch, which is saved next.
        with contextlib.suppress(OSError):
            tqdm.write("  ".join(parts), file=sys.stdout)
            sys.stdout.flush()
