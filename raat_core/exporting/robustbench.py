"""What RobustBench keeps of a model: an entry of its zoo, and the JSON of its leaderboard.

Fields and names are those of robustbench 1.1.1 (`robustbench.utils.ModelInfo`, its `model_info/`).
Needs neither torch nor that package.
"""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from raat_core.cells.catalogue import ARCHITECTURES, DATA_SETS
from raat_core.evaluation.records import Record
from raat_core.exporting.evidence import Evidence
from raat_core.specs.threat_model import ThreatModel
from raat_core.validation import format_fraction

DATA_SETS_THERE = ("cifar10", "cifar100")
"""Ours that RobustBench loads (`BenchmarkDataset`), by the same names."""
THREATS = {"linf": "Linf", "l2": "L2"}
"""Its names (`ThreatModel`) of our norms."""
USUAL_EPSILON = {
    ("cifar10", "linf"): "8/255",
    ("cifar10", "l2"): "0.5",
    ("cifar100", "linf"): "8/255",
}
"""Of its leaderboards; there are no others of these data sets and norms."""
TO_BE_FILLED_IN = ("link", "name", "authors", "venue")
"""Fields about a paper, which no record knows."""
Value = TypeVar("Value")


@dataclass(frozen=True)
class Place:
    """Where RobustBench looks for a model."""

    dataset: str
    threat: str
    name: str

    @property
    def info(self) -> str:
        """Of its JSON, from the folder where RobustBench runs."""
        return f"model_info/{self.dataset}/{self.threat}/{self.name}.json"

    @property
    def weights(self) -> str:
        """Of its weights, where `model_dir` is `models`."""
        return f"models/{self.dataset}/{self.threat}/{self.name}.pt"


def place_of(evidence: Evidence, name: str) -> Place:
    """A model's place; a data set that RobustBench does not have keeps its name here."""
    cell = evidence.cell
    return Place(cell.dataset.partition("@")[0], THREATS[cell.threat_model.norm], name)


def is_loadable(evidence: Evidence) -> bool:
    """Whether RobustBench has the data set, and so can load and benchmark the model."""
    return evidence.cell.dataset in DATA_SETS_THERE


def stored(weights: dict[str, Value]) -> dict[str, Value]:
    """Tensors under names from which RobustBench's `load_model` makes ours.

    From a name that has `module.` anywhere it cuts the first seven characters, and then the first
    six if `model.` is left in it.
    """
    return {_uncut(_uncut(name, "model."), "module."): each for name, each in weights.items()}


RESTORED = """{
        name.removeprefix("module.").removeprefix("model."): each for name, each in weights.items()
    }"""
"""The expression for our names of what `stored` made, if it changed any."""


def _uncut(name: str, cut: str) -> str:
    return f"{cut}{name}" if cut in name else name


def model_info(evidence: Evidence) -> dict[str, Any]:
    """The JSON of a model: every field that RobustBench's have, null where nothing is known.

    Two are left out where there is nothing to say, because what reads these files takes them for a
    number and an answer: `external`, the lowest accuracy that is known, where an attack found less
    than AutoAttack; and `unreliable`, whether something about the records is suspicious.
    """
    cell, record = evidence.cell, evidence.autoattack
    reported, _ = worst_case(evidence)
    info: dict[str, Any] = {
        **dict.fromkeys(("link", "name", "authors"), ""),
        "additional_data": cell.extra_data is not None,
        "number_forward_passes": 1,
        "dataset": cell.dataset,
        "venue": "",
        "architecture": ARCHITECTURES[cell.architecture].title,
        "eps": format_fraction(cell.threat_model.epsilon),
        "clean_acc": _percent(clean_accuracy(evidence)),
        "reported": _percent(reported),
        "corruptions_acc": None,
        "corruptions_acc_3d": None,
        "corruptions_mce": None,
        "corruptions_mce_3d": None,
        "autoattack_acc": None if record is None else _percent(record.accuracy),
        "footnote": " ".join(footnotes(evidence)),
    }
    if record is not None and reported is not None and reported < record.accuracy:
        info["external"] = _percent(reported)
    if evidence.suspicions or evidence.is_judged:
        info["unreliable"] = bool(evidence.suspicions)
    return info


def worst_case(evidence: Evidence) -> tuple[float | None, list[str]]:
    """Percent of images that withstood every attack in the ball, and these attacks' records.

    Of the images of AutoAttack's record, and the records that have all of these; without that one,
    of the record of most images.
    """
    records = evidence.in_ball
    if not records:
        return None, []
    base = evidence.autoattack or max(records.values(), key=lambda each: len(each.index))
    right = np.ones(len(base.index), dtype=bool)
    used = []
    for name, record in records.items():
        found = correct_on(record, base.index)
        if found is not None:
            used.append(name)
            right &= found
    return 100.0 * float(right.mean()), used


def clean_accuracy(evidence: Evidence) -> float | None:
    """In percent, without an attack; of AutoAttack's images, if that is known of all of them."""
    records = [r for r in evidence.records.values() if r.metadata["attack"]["kind"] == "clean"]
    best = max(records, key=lambda record: len(record.index), default=None)
    attacked = evidence.autoattack
    if attacked is not None and attacked.clean is not None:
        return 100.0 * float(np.equal(attacked.clean, attacked.label).mean())
    if best is None:
        return None
    right = None if attacked is None else correct_on(best, attacked.index)
    return best.accuracy if right is None else 100.0 * float(right.mean())


def correct_on(record: Record, index: np.ndarray) -> np.ndarray | None:
    """Whether predictions of images (N,) of the test set are right; None if some are not there."""
    places = {position: place for place, position in enumerate(record.index.tolist())}
    if not all(position in places for position in index.tolist()):
        return None
    found: np.ndarray = record.correct[[places[position] for position in index.tolist()]]
    return found


def footnotes(evidence: Evidence) -> list[str]:
    """Sentences on what the numbers of the JSON are not."""
    cell, record = evidence.cell, evidence.autoattack
    found = _differences(cell.dataset, cell.threat_model)
    reported, used = worst_case(evidence)
    if record is None:
        found.append("There is no record of the standard AutoAttack in this ball.")
        if reported is not None:
            found.append(f"`reported` is the worst case of {', '.join(used)}.")
    else:
        total = record.metadata.get("test_size", DATA_SETS[cell.dataset].test_size)
        if len(record.index) < total:
            found.append(f"Measured on {len(record.index)} of {total:,} test images.")
        if reported is not None and reported < record.accuracy:
            found.append(f"{reported:.2f}% is the worst case of {', '.join(used)}.")
    found += [f"{each}." for each in evidence.suspicions]
    best = evidence.manifest["best"]
    if evidence.checkpoint == "best" and best["split"] == "test":
        found.append(f"The checkpoint was chosen by {best['chosen_by']} on the test split.")
    return found


def _differences(dataset: str, threat: ThreatModel) -> list[str]:
    if dataset not in DATA_SETS_THERE:
        return [f"RobustBench has no data set {dataset}."]
    usual = USUAL_EPSILON.get((dataset, threat.norm))
    if usual is None:
        return [f"RobustBench has no leaderboard of {dataset} and {THREATS[threat.norm]}."]
    epsilon = format_fraction(threat.epsilon)
    if epsilon != usual:
        return [f"Uses eps = {epsilon} instead of {usual}."]
    return []


def zoo_entry(evidence: Evidence, place: Place, network: str) -> str:
    """The code that adds a model to RobustBench's zoo, and runs its benchmark.

    Args:
        evidence: of the model.
        place: where its weights are.
        network: the expression that builds it from what `model.py` defines.
    """
    builder = network.partition("(")[0]
    epsilon = format_fraction(evidence.cell.threat_model.epsilon)
    return textwrap.dedent(f'''\
        """Adds a model to RobustBench's zoo: `from zoo import load; model = load()`.

        `python zoo.py 1000` runs RobustBench's benchmark on its first 1,000 test images; without a
        number, on 10,000. Needs the package robustbench (and its autoattack).
        """

        import sys
        from pathlib import Path

        import torch
        from robustbench.eval import benchmark
        from robustbench.model_zoo import model_dicts
        from robustbench.model_zoo.enums import BenchmarkDataset, ThreatModel
        from robustbench.utils import load_model

        from model import {builder}

        NAME = {place.name!r}
        DATASET, THREAT, EPS = {place.dataset!r}, {place.threat!r}, {epsilon}
        # Into robustbench/model_zoo/{place.dataset}.py, with the id of the uploaded weights; here
        # the file is at hand, and nothing is downloaded.
        ENTRY = {{"model": lambda: {network}, "gdrive_id": ""}}


        def load():
            """The trained model in evaluation mode, as RobustBench loads it."""
            models = model_dicts[BenchmarkDataset(DATASET)].setdefault(ThreatModel(THREAT), {{}})
            models[NAME] = ENTRY
            return load_model(NAME, Path(__file__).with_name("models"), DATASET, THREAT)


        if __name__ == "__main__":
            benchmark(
                load(),
                n_examples=int(sys.argv[1]) if len(sys.argv) > 1 else 10_000,
                dataset=DATASET,
                threat_model=THREAT,
                eps=EPS,
                device=torch.device("cuda" if torch.cuda.is_available() else "cpu"),
            )
        ''')


def section(evidence: Evidence) -> str:
    """Of the model card: what is for whom who hands a model to RobustBench."""
    lines = [
        f"`model_info/`: the JSON of RobustBench's leaderboard. Fill in {_words(TO_BE_FILLED_IN)}, "
        f"which are empty. `reported` is what is measured here, in the worst case over all records "
        f"in the ball; put in what your paper says.",
        "`models/`: the weights, where RobustBench's `load_model` looks for them.",
    ]
    if is_loadable(evidence):
        lines.append(
            "`zoo.py`: the entry of the model zoo; `python zoo.py 1000` runs RobustBench's "
            "benchmark on its first 1,000 test images."
        )
    else:
        lines.append(
            "RobustBench has no such data set: there is no `zoo.py`, and its benchmark cannot be "
            "run."
        )
    lines += footnotes(evidence)
    return "## For RobustBench\n\n" + "\n".join(f"- {line}" for line in lines)


def _words(names: tuple[str, ...]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _percent(accuracy: float | None) -> str | None:
    return None if accuracy is None else f"{accuracy:.2f}"
