"""Why a cell failed, as its logs say: for the gaps of tables, and for who watches a sweep."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from raat_core.cells.folder import CellFolder
from raat_sweep.results.listing import changes_in

TAIL_BYTES = 65_536
"""How much of the end of a log is read."""
_LOG_NAME = re.compile(
    r"(?P<cell>.+?)(?:(?P<list>_(?:best|last)_[0-9a-f]+)(?:_\d+of(?P<shards>\d+))?)?\.log"
)
"""`<cell>.log`, `<cell>_<attack list>.log`, or `<cell>_<attack list>_<shard>of<shards>.log`."""
_EXIT_CODE = re.compile(r"its command exited with \d+$")
Needs = Mapping[str, Mapping[str, str]]
"""By name of a cell, the names of those that it needs, by the setting that asks for each."""
_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@dataclass(frozen=True)
class Failure:
    """What a log says last, of a cell or of one that it waits for."""

    reason: str
    """One line of printable characters."""
    log: Path | None
    at: float
    """When the log was last written, in seconds since 1970; 0 without one."""

    @property
    def log_name(self) -> str:
        """The log's path; empty if none says more."""
        return "" if self.log is None else str(self.log)


class Failures:
    """The failures that the logs below a results folder tell of; the folder is listed once."""

    def __init__(self, results: Path, needs: Needs | None = None) -> None:
        self._needs = needs or {}
        self._logs: dict[str, list[tuple[float, Path]]] = {}
        shared: dict[tuple[str, str], list[tuple[float, str, Path]]] = {}
        for rule in ("train", "attack"):
            folder = results / "logs" / rule
            for name, written in changes_in(folder).items():
                if match := _LOG_NAME.fullmatch(name):
                    path, cell = folder / name, match["cell"]
                    if match["shards"]:
                        shard = written, match["shards"], path
                        shared.setdefault((cell, match["list"]), []).append(shard)
                    else:
                        self._logs.setdefault(cell, []).append((written, path))
        for (cell, _), shards in shared.items():
            # What failed when there were more or fewer shards does not matter any more.
            _, newest, _ = max(shards)
            kept = [(written, path) for written, of, path in shards if of == newest]
            self._logs.setdefault(cell, []).extend(kept)

    def of(self, folder: CellFolder) -> Failure | None:
        """Why the cell is not done, by its own logs or by those of the cells that it waits for."""
        return self._own(folder) or self._waiting(folder)

    def _waiting(self, folder: CellFolder, whose: str = "its") -> Failure | None:
        """That a cell was not started, because one that it needs is not trained; and why that."""
        for setting, helper in self._needs.get(folder.path.name, {}).items():
            needed = CellFolder(folder.path.parent / helper)
            if folder.manifest.exists() or needed.manifest.exists():
                continue
            what, cause = f"{whose} {setting}", self._own(needed)
            if cause is None:
                alone = Failure(f"it waits for {what} (cell {helper})", None, 0.0)
                return self._waiting(needed, f"{what}'s") or alone
            reason = f"it waits for {what}: {cause.reason} (cell {helper})"
            return Failure(reason, cause.log, cause.at)
        return None

    def _own(self, folder: CellFolder) -> Failure | None:
        """Why the cell is not trained, or if it is trained, why it is not attacked.

        Snakemake empties a rule's log when it starts the rule again, so that a cell that is not
        trained is as its newest log says. Of a trained cell's several attack jobs, the newest that
        failed counts.
        """
        logs = sorted(self._logs.get(folder.path.name, []), reverse=True)
        try:
            trained = folder.manifest.stat().st_mtime
            logs = [log for log in logs if log[0] >= trained]
        except OSError:
            logs = logs[:1]
        for written, path in logs:
            if reason := reason_in(path):
                return Failure(reason, path, written)
        return None


def reason_in(log: Path) -> str | None:
    """The last error of a log: of a line `error: ...`, or the exception that ends a traceback.

    A scheduler that knows no more than that the command failed says so after what the command said
    itself: then the command's own error stands in place of its exit code.
    """
    try:
        with log.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL_BYTES))
            text = file.read().decode(errors="replace")
    except OSError:
        return None
    errors = list(_errors(re.split(r"[\r\n]+", text)))
    if not errors:
        return None
    if len(errors) > 1 and _EXIT_CODE.search(errors[-1]):
        return _EXIT_CODE.sub(lambda _: errors[-2], errors[-1])
    return errors[-1]


def _errors(lines: Sequence[str]) -> Iterator[str]:
    in_traceback = False
    for line in lines:
        if line.startswith("Traceback ("):
            in_traceback = True
        elif line.startswith("error: "):
            yield _printable(line.removeprefix("error: "))
        elif in_traceback and line and not line[0].isspace():
            in_traceback = False
            if line != "KeyboardInterrupt":
                yield _printable(line)


def _printable(line: str) -> str:
    """Without colours and control characters."""
    plain = _ANSI.sub("", line)
    return " ".join("".join(c if c.isprintable() else " " for c in plain).split())
