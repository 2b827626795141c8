"""From a config to cells, the attacks on each, and the points of every table and figure."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from raat_core.cells.catalogue import ARCHITECTURES, DATA_SETS
from raat_core.cells.cell import Cell
from raat_core.cells.evaluations import (
    Checkpoint,
    Evaluation,
    EvaluationList,
    check_attack,
    evaluation_name,
)
from raat_core.cells.image_folder import ImageFolder
from raat_core.cells.threat_model import ThreatModel
from raat_core.data.cache import data_root
from raat_core.data.image_folder import describe_folder
from raat_core.errors import UserError
from raat_core.validation import format_fraction, one_line, parse, suggest
from raat_sweep.config.attacks import WITH_TRAINING
from raat_sweep.config.config import Config
from raat_sweep.config.grid import Grid
from raat_sweep.config.items import Claim, Comparison, Item, Panel, Table
from raat_sweep.config.reading import find_file
from raat_sweep.plan.published import Published, read_published
from raat_sweep.results.markers import attacked_name, joined_name, shards_made_in


@dataclass(frozen=True)
class Point:
    """One cell in a table or figure, under the names that are printed."""

    cell: Cell
    label: str
    """The method's label."""
    varied: Mapping[str, Any]
    """The settings that the grid varies, with this cell's values."""

    @cached_property
    def row(self) -> dict[str, Any]:
        """What tells this point's row in a table from others; seeds share a row."""
        threat = self.cell.threat_model
        values = ", ".join(f"{key} = {value}" for key, value in self.varied.items())
        return {
            "dataset": DATA_SETS[self.cell.dataset].title,
            "architecture": ARCHITECTURES[self.cell.architecture].title,
            "norm": threat.norm,
            "epsilon": format_fraction(threat.epsilon),
            "method": f"{self.label} ({values})" if values else self.label,
            "variant": self.cell.method.variant,
        }


@dataclass(frozen=True)
class Part:
    """A table, one panel of a figure, or what a comparison needs of them, and its cells."""

    name: str
    """The panel's letter; of a comparison, the table or the number of the claim; else empty."""
    shown: Table | Panel
    points: list[Point]
    attacks: tuple[str, ...]
    """Names of the attacks on its cells; curves over epochs need none."""
    checkpoint: Checkpoint

    @property
    def rows(self) -> tuple[str, ...]:
        """The metrics that the measured numbers are of."""
        return self.attacks or self.shown.metrics


@dataclass(frozen=True)
class JobKey:
    """An attack job: some attacks on one checkpoint of one cell, in one process."""

    cell: str
    checkpoint: Checkpoint
    job: str


class Plan:
    """Everything a config asks for, in the order of the config.

    A job holds every attack that any item of the config wants of a cell, so that no two jobs
    attack one cell in the same way.

    Raises:
        UserError: a cell is refused, or two cells of an item would stand in the same place.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self.data = _data_folder(config.data)
        self._folders: dict[str, ImageFolder] = {}
        self.cells: dict[str, Cell] = {}
        self._published: dict[str, Published] = {}
        self._claims: dict[str, list[Claim]] = {}
        self._parts: dict[str, list[Part]] = {}
        # Comparisons last: they are made of the others' cells.
        for name, item in sorted(config.items.items(), key=lambda i: isinstance(i[1], Comparison)):
            self._parts[name] = list(self._parts_of(name, item))
        self._resolved: dict[tuple[str, ThreatModel], Evaluation] = {}
        attacks: dict[JobKey, dict[str, Evaluation]] = {}
        self._jobs_by_attack: dict[tuple[str, Checkpoint, Evaluation], str] = {}
        for name in config.items:
            for part in self._parts[name]:
                for point in part.points:
                    self.cells[point.cell.name] = point.cell
                    for metric in part.attacks:
                        self._check_attack(f"items.{name}", metric, point.cell)
                        key = self._job_key(point.cell, part.checkpoint, metric)
                        wanted = attacks.setdefault(key, {})
                        evaluation = self._attack(metric, point.cell)
                        if evaluation not in wanted.values():
                            wanted[metric] = evaluation
        self.lists = {
            key: EvaluationList(
                checkpoint=key.checkpoint,
                attacks=tuple(chosen[name] for name in config.attacks if name in chosen),
            )
            for key, chosen in attacks.items()
        }
        self.jobs = {(key.cell, chosen.name): chosen for key, chosen in self.lists.items()}
        self.shards = {
            (key.cell, chosen.name): self._shards(key, chosen, attacks[key])
            for key, chosen in self.lists.items()
        }
        """In how many jobs a list's batches are attacked, by cell and list."""
        self._with_training: dict[str, str] = {}
        for key, chosen in self.lists.items():
            if key.job == WITH_TRAINING:
                self._with_training.setdefault(key.cell, chosen.name)

    def items_of(self, kind: str) -> list[str]:
        """Names of the tables, figures or comparisons."""
        return [name for name, item in self.config.items.items() if item.kind == kind]

    def _shards(
        self, key: JobKey, chosen: EvaluationList, attacks: Mapping[str, Evaluation]
    ) -> int:
        """As many as the config says of a job's attacks, which agree; no more than batches.

        A list that is attacked stays with the shards it was made in, whatever the config says
        now: Snakemake makes a file again whose inputs are others, and all its shards for nothing.
        """
        made = shards_made_in(Path(self.config.results) / "cells" / key.cell, chosen.name)
        if made is not None:
            return made
        cell = self.cells[key.cell]
        asked = self.config.attacks[next(iter(attacks))].shards_of(cell.architecture)
        size = DATA_SETS[cell.dataset].test_size
        return min(asked, max(attack.batches(size) for attack in chosen.attacks))

    def attack_summary(self, cell: str, attacks: str) -> str:
        """Name of the file that says that an attack list is done, in the cell's folder.

        `run_...` is made by the process that trains the cell, for attacks of the job `training`;
        of two lists (for the best and the last checkpoint) that process runs the first.
        `joined_...` is made of shards, `attacked_...` by one process.
        """
        if self._with_training.get(cell) == attacks:
            return f"run_{attacks}.json"
        return joined_name(attacks) if self.shards[cell, attacks] > 1 else attacked_name(attacks)

    def training_summary(self, cell: str) -> str:
        """Name of the file that says that a cell is trained, in the cell's folder."""
        attacks = self._with_training.get(cell)
        return self.attack_summary(cell, attacks) if attacks else "trained.json"

    def jobs_of(self, name: str) -> list[tuple[str, str]]:
        """(cell's name, attack list's name) of what an item is made from; none twice."""
        keys = dict.fromkeys(
            self._job_key(point.cell, part.checkpoint, metric)
            for part in self._parts[name]
            for point in part.points
            for metric in part.attacks
        )
        return [(key.cell, self.lists[key].name) for key in keys]

    def curves_of(self, name: str) -> list[str]:
        """Names of the cells of whose history an item draws curves; none twice."""
        parts = [part for part in self._parts[name] if not part.attacks]
        return list(dict.fromkeys(point.cell.name for part in parts for point in part.points))

    def cells_of(self, name: str) -> list[Cell]:
        """The cells of an item; none twice."""
        points = [point for part in self._parts[name] for point in part.points]
        return list({point.cell.name: point.cell for point in points}.values())

    def attacks_of(self, name: str) -> list[tuple[str, Evaluation]]:
        """Column title and settings of every attack on an item's cells; none twice."""
        asked = {
            (metric, point.cell.threat_model): point.cell
            for part in self._parts[name]
            for point in part.points
            for metric in part.attacks
        }
        return [
            (self.config.titles[metric], self._attack(metric, cell))
            for (metric, _), cell in asked.items()
        ]

    def checkpoints_of(self, name: str) -> list[Checkpoint]:
        """Whose weights an item reports; none twice."""
        return list(dict.fromkeys(part.checkpoint for part in self._parts[name]))

    def rows_of(self, name: str) -> list[dict[str, Any]]:
        """One row per number that an item is made of: its place in it, and the file that has it.

        A row of a table has `Point.row`, one of a figure `panel`, `series` and `x`, one of a
        comparison `part` and `Point.row`; all `seed`, `metric`, `cell` and `record`. A curve over
        epochs is one row without `x` and `record`: its points are in the cell's history.
        """
        is_comparison = isinstance(self.config.items[name], Comparison)
        return [
            {
                **({"part": part.name, **point.row} if is_comparison else _place(point, part)),
                "seed": point.cell.seed,
                "metric": metric,
                "cell": point.cell.name,
                "record": evaluation_name(self._attack(metric, point.cell), part.checkpoint)
                if part.attacks
                else None,
            }
            for part in self._parts[name]
            for point in part.points
            for metric in part.rows
        ]

    def published_rows(self, name: str) -> list[dict[str, Any]]:
        """The published numbers that stand in a table, or that a comparison sets against ours.

        As `Published.rows`, with `part` in a comparison: the name of the table.
        """
        item = self.config.items[name]
        if isinstance(item, Table):
            if item.cited is None:
                return []
            (part,) = self._parts[name]
            return self._read(item.cited, f"items.{name}.cited").about(_places(part))
        if not isinstance(item, Comparison):
            return []
        parts = {part.name: part for part in self._parts[name]}
        return [
            {"part": table, **published}
            for table, path in item.published.items()
            for row in _places(parts[table])
            for published in self._published[path].of(row)
            if published["metric"] in parts[table].shown.metrics
        ]

    def unmatched(self, name: str) -> dict[str, int]:
        """How many numbers of each published table are of cells that the sweep does not have."""
        item = self.config.items[name]
        paths = item.published if isinstance(item, Comparison) else {}
        counts = {}
        for table, path in paths.items():
            numbers = self._published[path]
            (part,) = self._parts[table]
            counts[table] = len(numbers.rows) - numbers.matching(_places(part))
        return counts

    def _read(self, path: str, where: str) -> Published:
        if path not in self._published:
            self._published[path] = read_published(find_file(path), where)
        return self._published[path]

    def _numbers_of(self, path: str, where: str) -> Published:
        """Published numbers, their metrics all known to the config."""
        numbers, titles = self._read(path, where), self.config.titles
        for metric in dict.fromkeys(row["metric"] for row in numbers.rows):
            if metric not in titles:
                raise UserError(f"{where} = '{path}': metric '{metric}'{suggest(metric, titles)}")
        return numbers

    def _parts_of(self, name: str, item: Item) -> Iterator[Part]:
        if isinstance(item, Comparison):
            yield from self._compared(name, item)
        elif isinstance(item, Table):
            yield self._part("", item, f"items.{name}", item.checkpoint)
        else:
            for letter, panel in item.panels.items():
                yield self._part(letter, panel, f"items.{name}.panels.{letter}", item.checkpoint)

    def _part(self, letter: str, shown: Table | Panel, where: str, checkpoint: Checkpoint) -> Part:
        over_epochs = isinstance(shown, Panel) and shown.x == "epoch"
        attacks = () if over_epochs else self.config.attacks_of(shown.metrics)
        if isinstance(shown, Table) and shown.cited is not None:
            self._read(shown.cited, f"{where}.cited")
        part = Part(letter, shown, list(self._points(where, shown.grids)), attacks, checkpoint)
        return replace(part, points=_distinct_points(where, part))

    def _compared(self, name: str, item: Comparison) -> Iterator[Part]:
        """A part for every published table and for every claim, with the cells that it needs."""
        for table, path in item.published.items():
            (part,) = self._parts[table]
            numbers = self._numbers_of(path, f"items.{name}.published.{table}")
            points = [point for point in part.points if numbers.matching([point.row])]
            metrics = {row["metric"] for row in numbers.rows}
            wanted = [metric for metric in part.shown.metrics if metric in metrics]
            attacks = self.config.attacks_of(wanted)
            yield replace(part, name=table, points=points if attacks else [], attacks=attacks)
        self._claims[name] = self._resolve_claims(name, item.claims)
        for index, claim in enumerate(self._claims[name]):
            part = self._part_of(claim)
            points = [p for p in part.points if p.row["method"] in (*claim.left, *claim.right)]
            attacks = self.config.attacks_of([claim.metric])
            yield replace(part, name=str(index), points=points, attacks=attacks)

    def claims_of(self, name: str) -> list[Claim]:
        """A comparison's claims, with the rows that its patterns stand for."""
        return self._claims[name]

    def _resolve_claims(self, name: str, claims: Sequence[Claim]) -> list[Claim]:
        """See `claims_of`.

        Raises:
            UserError: there is no such row, or one is on both sides.
        """
        resolved = [
            claim.model_copy(
                update={
                    side: tuple(self._rows_named(getattr(claim, side), claim, f"{where}.{side}"))
                    for side in ("left", "right")
                }
            )
            for where, claim in ((f"items.{name}.claims.{i}", c) for i, c in enumerate(claims))
        ]
        for index, claim in enumerate(resolved):
            both = sorted(set(claim.left) & set(claim.right))
            if both:
                raise UserError(
                    f"items.{name}.claims.{index}: '{both[0]}' is on both sides; a row is compared "
                    f"with others"
                )
        return resolved

    def _rows_named(self, patterns: Sequence[str], claim: Claim, where: str) -> Iterator[str]:
        known = list(dict.fromkeys(point.row["method"] for point in self._part_of(claim).points))
        for pattern in patterns:
            expression = ".*".join(map(re.escape, pattern.split("*")))
            found = [pattern] if pattern in known else []
            found = found or [label for label in known if re.fullmatch(expression, label)]
            if not found:
                raise UserError(f"{where} = '{pattern}'{suggest(pattern, known)}")
            yield from found

    def _part_of(self, claim: Claim) -> Part:
        """The table or panel that a claim is about."""
        (part,) = (p for p in self._parts[claim.item] if p.name == (claim.panel or ""))
        return part

    def _points(self, where: str, grids: Sequence[Grid]) -> Iterator[Point]:
        """The cells of some grids: data sets first, seeds last."""
        for grid in grids:
            axes = (grid.datasets, grid.architectures, grid.methods)
            for dataset, architecture, label in itertools.product(*axes):
                threat = self.config.threat_models[grid.threat_model].resolve(dataset)
                data = self._data_of(dataset)
                for values in itertools.product(*grid.vary.values()):
                    varied = dict(zip(grid.vary, values, strict=True))
                    method = self.config.methods[label].replace(varied)
                    for seed in grid.seeds:
                        cell = {
                            **data,
                            "architecture": self.config.architectures.get(
                                architecture, architecture
                            ),
                            "method": method,
                            "threat_model": threat,
                            "recipe": self.config.recipes[grid.recipe],
                            "selection": self.config.selection,
                            "precision": self.config.precision,
                            "seed": seed,
                        }
                        yield Point(parse(Cell, cell, where), label, varied)

    def _data_of(self, dataset: str) -> dict[str, Any]:
        """What a cell's spec says of a data set; an image folder is read if it has changed."""
        if dataset not in self.config.datasets:
            return {"dataset": dataset}
        if dataset not in self._folders:
            entry = self.config.datasets[dataset]
            path = Path(entry.path)
            self._folders[dataset] = describe_folder(dataset, path, entry.image_size, self.data)
        folder = self._folders[dataset]
        return {"dataset": folder.register(), "image_folder": folder}

    def _check_attack(self, where: str, metric: str, cell: Cell) -> None:
        """Before anything is trained for it."""
        try:
            check_attack(self._attack(metric, cell), cell.dataset)
        except ValueError as error:
            raise UserError(f"attacks.{metric}: {error}, which {where} asks for") from None

    @cached_property
    def prepared(self) -> list[str]:
        """Names of the data sets that are downloaded and decoded before cells need them."""
        used = dict.fromkeys(cell.dataset for cell in self.cells.values())
        return [dataset for dataset in used if DATA_SETS[dataset].prepared]

    def _job_key(self, cell: Cell, checkpoint: Checkpoint, metric: str) -> JobKey:
        """The job that an attack is part of: of equal attacks under two names, the first one's."""
        asked = cell.name, checkpoint, self._attack(metric, cell)
        job = self._jobs_by_attack.setdefault(asked, self.config.attacks[metric].job)
        return JobKey(cell.name, checkpoint, job)

    def _attack(self, metric: str, cell: Cell) -> Evaluation:
        key = metric, cell.threat_model
        if key not in self._resolved:
            self._resolved[key] = self.config.attacks[metric].resolve(cell.threat_model)
        return self._resolved[key]


def _data_folder(chosen: str | None) -> Path:
    """Where data lies: a rule's output is below it, in which Snakemake gives { and } a meaning.

    Raises:
        UserError: there are such characters, or control characters, in the path.
    """
    root = data_root(chosen)
    if re.search(r"[{}]", str(root)) or one_line(root) != str(root):
        key = "data" if chosen else "RAAT_DATA"
        raise UserError(one_line(f"{key} = '{root}': must have no {{, }} or line breaks"))
    return root


def _place(point: Point, part: Part) -> dict[str, Any]:
    """Where a point stands in its table or panel, but for the seed and the metric."""
    panel = part.shown
    if isinstance(panel, Table):
        return point.row
    label = panel.labels.get(point.label, point.label)
    if panel.x == "method":
        return {"panel": part.name, "series": "", "x": label}
    # Settings that vary beside the x axis tell lines apart.
    others = ", ".join(f"{key} = {value}" for key, value in point.varied.items() if key != panel.x)
    return {
        "panel": part.name,
        "series": f"{label} ({others})" if others else label,
        "x": point.varied.get(panel.x),
    }


def _places(part: Part) -> list[dict[str, Any]]:
    """The rows of a table or comparison, none twice."""
    unique = {tuple(point.row.values()): point.row for point in part.points}
    return list(unique.values())


def _distinct_points(where: str, part: Part) -> list[Point]:
    """A part's points without those that overlapping grids ask for twice.

    Raises:
        UserError: two cells would be one row, or one point of a line, and not be told apart.
    """
    places: dict[object, Point] = {}
    for point in part.points:
        place = (*_place(point, part).values(), point.cell.seed)
        other = places.setdefault(place, point).cell
        if other.name != point.cell.name:
            raise UserError(
                f"{where}: {other.name} and {point.cell.name} would stand in the same place; "
                f"give what they differ in labels of its own in `methods`, or a table or panel "
                f"of its own"
            )
    return list(places.values())
