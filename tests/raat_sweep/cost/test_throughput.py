"""Throughput: what files say of hardware, what is taken where they say nothing, and its error."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import small_cell
from raat_core.cells.cell import Cell
from raat_core.cells.evaluations import AutoAttackEvaluation, Evaluation, PgdEvaluation
from raat_core.cells.folder import CellFolder
from raat_core.cells.history import write_history
from raat_core.cells.spec import read_cell, write_spec
from raat_core.cost.flop import Accuracies, evaluation_flop, training_flop
from raat_core.cost.timing import Kind
from raat_core.errors import UserError
from raat_core.evaluation.records import Record
from raat_core.files.checksums import write_json
from raat_core.interface.operations import ImageShape
from raat_sweep.cost.estimate_errors import estimate_errors
from raat_sweep.cost.hardware import (
    CPU_FLOP_PER_SECOND,
    DEFAULT_GPU,
    ONE_CORE,
    PEAK_TFLOPS,
    SLOWEST_GPU,
)
from raat_sweep.cost.throughput import Throughput
from raat_sweep.cost.timed_runs import read_accuracies, read_throughput
from raat_sweep.cost.timed_work import Timed

A100 = {"device": "cuda", "gpu": "NVIDIA A100-SXM4-80GB", "processor": "X", "threads": 1}
CPU = {"device": "cpu", "processor": "X", "threads": 1}
PGD = PgdEvaluation.model_validate(
    {"norm": "linf", "epsilon": "8/255", "step_size": "2/255", "steps": 5}
)
AUTOATTACK = AutoAttackEvaluation.model_validate({"norm": "linf", "epsilon": "8/255"})
SMALL: ImageShape = (1, 8, 8)
COLOUR: ImageShape = (3, 32, 32)


def finish(results: Path, cell: Cell, hardware: dict[str, Any], rate: float) -> CellFolder:
    """A cell's files as if it had been trained at so many FLOP/s."""
    folder = CellFolder(results / "cells" / cell.name)
    write_spec(folder, cell)
    row = {"loss": 1.0, "robust_accuracy": 40.0, "seconds": 1.0}
    accuracies = [60.0, 80.0]
    write_history(
        folder,
        [{"epoch": i + 1, "clean_accuracy": clean, **row} for i, clean in enumerate(accuracies)],
    )
    seconds = training_flop(cell, Accuracies(0.7, 0.4)) / rate
    manifest = {"train_seconds": seconds, "sessions": [hardware], "best": {"epoch": 2}}
    write_json(folder.manifest, manifest)
    return folder


def record(folder: CellFolder, attack: Evaluation, hardware: dict[str, Any], rate: float) -> None:
    """A record of an attack at so many FLOP/s."""
    seconds = evaluation_flop(read_cell(folder), attack, Accuracies(0.8, 0.4)) / rate
    metadata = {"attack": attack.to_json(), "hardware": hardware, "seconds": seconds}
    none = np.zeros(0, np.int32)
    Record(none, none, none, metadata).write(folder.record(attack.label))


def rate_of(
    throughput: Throughput, kind: Kind = "training", hardware: str = "X, 1 thread"
) -> float:
    return throughput.pace(hardware, "resnet-mini", SMALL, kind).flop_per_second


def timed(**changes: Any) -> Timed:
    values: dict[str, Any] = {
        "hardware": "GPU",
        "on_gpu": True,
        "architecture": "resnet-18",
        "image_shape": COLOUR,
        "kind": "training",
        "flop": 1e12,
        "seconds": 1.0,
        "cell": "one",
    }
    return Timed(**{**values, **changes})


# Reading


def test_finished_cells_tell_by_kind_of_work(tmp_path: Path) -> None:
    cell = small_cell()
    folder = finish(tmp_path, cell, CPU, rate=2e9)
    record(folder, PGD, CPU, rate=3e9)
    record(folder, AUTOATTACK, A100, rate=4e9)
    throughput = read_throughput(tmp_path, {})
    assert rate_of(throughput) == pytest.approx(2e9)
    assert rate_of(throughput, "pgd") == pytest.approx(3e9)
    gpu = "NVIDIA A100-SXM4-80GB"
    assert rate_of(throughput, "autoattack", gpu) == pytest.approx(4e9)
    assert throughput.accuracies == {cell.name: Accuracies(0.8, 0.4)}
    assert read_accuracies(cell, folder) == Accuracies(0.8, 0.4)
    assert throughput.measured() == ["X, 1 thread", gpu]
    assert throughput.measured(on_gpu=True) == [gpu]


def test_a_training_on_two_kinds_of_hardware_tells_nothing(tmp_path: Path) -> None:
    folder = finish(tmp_path, small_cell(), CPU, rate=2e9)
    manifest = json.loads(folder.manifest.read_text())
    write_json(folder.manifest, {**manifest, "sessions": [CPU, A100]})
    assert not read_throughput(tmp_path, {}).timed


def test_what_is_damaged_is_left_out(tmp_path: Path) -> None:
    finish(tmp_path, small_cell(), CPU, rate=2e9)
    for seed, change in enumerate(("manifest", "history", "no best", "record"), start=1):
        folder = finish(tmp_path, small_cell(seed=seed), CPU, rate=9e9)
        record(folder, PGD, CPU, rate=9e9)
        if change == "manifest":
            folder.manifest.write_text('{"train_sec')
        if change == "history":
            folder.history.write_text("epoch,clean_accuracy\n")
        if change == "no best":
            write_json(folder.manifest, {"sessions": [CPU], "train_seconds": 1.0})
        if change == "record":
            folder.record(PGD.label).write_bytes(b"damaged")
            write_json(
                folder.manifest, {"train_seconds": 0, "sessions": [CPU], "best": {"epoch": 1}}
            )
    (tmp_path / "cells" / "stray").write_text("no folder")
    throughput = read_throughput(tmp_path, {})
    assert [one.rate for one in throughput.timed] == [pytest.approx(2e9)]


def test_no_folder_at_all(tmp_path: Path) -> None:
    throughput = read_throughput(tmp_path / "none", {})
    assert not throughput.timed
    assert not throughput.warnings


def test_so_many_cells_are_read_and_no_more(tmp_path: Path) -> None:
    for seed in range(7):
        finish(tmp_path, small_cell(seed=seed), CPU, rate=2e9)
    assert len(read_throughput(tmp_path, {}, most=3).timed) == 3
    assert len({one.cell for one in read_throughput(tmp_path, {}).timed}) == 7


def test_files_of_measure_count_where_nothing_ran(tmp_path: Path) -> None:
    timing = {
        "architecture": "resnet-18",
        "image_shape": COLOUR,
        "kind": "training",
        "batch_size": 128,
        "flop": 6e12,
        "seconds": 1.0,
    }
    file = {"hardware": A100, "finished": "now", "versions": {}, "timings": [timing]}
    write_json(tmp_path / "throughput" / "a100.json", file)
    (tmp_path / "throughput" / "half.json").write_text("{")
    (tmp_path / "throughput" / "notes.txt").write_text("mine")
    throughput = read_throughput(tmp_path, {})
    gpu = throughput.default(on_gpu=True)
    pace = throughput.pace(gpu, "resnet-18", COLOUR, "training")
    assert (pace.flop_per_second, pace.basis) == (6e12, "one timing by `measure`")
    (warning,) = throughput.warnings
    assert "half.json" in warning
    both = Throughput([*throughput.timed, timed(hardware=gpu, flop=5e12)])
    assert both.pace(gpu, "resnet-18", COLOUR, "training").basis == "one run"
    assert both.pace(gpu, "resnet-18", COLOUR, "training", without="one").flop_per_second == 6e12


# Where nothing was measured


def test_the_nearest_that_was_measured() -> None:
    wide = timed(architecture="wrn-28-10", flop=9e12)
    mini = timed(architecture="resnet-mini", flop=1e11)
    attack = timed(kind="pgd", flop=3e12)
    throughput = Throughput([mini, wide, attack])

    def basis(architecture: str, shape: ImageShape, kind: Kind) -> tuple[float, str]:
        pace = throughput.pace("GPU", architecture, shape, kind)
        return pace.flop_per_second, pace.basis

    assert basis("resnet-18", COLOUR, "pgd") == (3e12, "one run")
    assert basis("resnet-18", COLOUR, "training") == (3e12, "one run of other work")
    expected = 3e12, "one run of ResNet-18, images of 3 × 32 × 32"
    assert basis("resnet-18", (3, 64, 64), "pgd") == expected
    # A wide network on small images is as much work as a narrow one on larger images.
    assert basis("wrn-28-10", SMALL, "pgd") == expected
    assert basis("resnet-mini", COLOUR, "autoattack")[0] == 1e11


def test_the_median_of_runs() -> None:
    throughput = Throughput([timed(flop=flop, cell=str(flop)) for flop in (1e12, 2e12, 9e12)])
    pace = throughput.pace("GPU", "resnet-18", COLOUR, "training")
    assert (pace.flop_per_second, pace.basis) == (2e12, "median of 3 runs")
    left = throughput.pace("GPU", "resnet-18", COLOUR, "training", without="9000000000000.0")
    assert left.flop_per_second == 1.5e12


@pytest.mark.parametrize("gpu", PEAK_TFLOPS)
def test_data_sheets_are_called_assumed(gpu: str) -> None:
    pace = Throughput().pace(gpu, "resnet-18", COLOUR, "training")
    assert pace.flop_per_second == pytest.approx(0.4e12 * PEAK_TFLOPS[gpu])
    assert pace.basis.startswith("assumed, not measured: 40% of its ")
    assert not pace.is_measured
    assert Throughput().is_gpu(gpu)


def test_defaults() -> None:
    nothing = Throughput()
    assert (nothing.default(on_gpu=True), nothing.default(on_gpu=False)) == (DEFAULT_GPU, ONE_CORE)
    some = [timed(hardware="B"), *[timed(hardware="A")] * 2, timed(hardware="C", on_gpu=False)]
    assert Throughput(some).default(on_gpu=True) == "A"
    assert Throughput(some).default(on_gpu=False) == "C"
    assert not Throughput(some).is_gpu("C")


def test_names_that_users_give() -> None:
    throughput = Throughput(
        [timed(hardware="NVIDIA A100-SXM4-80GB"), timed(hardware="X, 1 thread")]
    )
    assert throughput.find("a100") == "NVIDIA A100-SXM4-80GB"
    assert throughput.find("a100-40gb") == "A100-40GB"
    assert throughput.find("h200") == "H200"
    for bad in ("H100", "K80"):
        with pytest.raises(UserError, match=rf"--gpu '{bad}'.*NVIDIA A100.*RTX-3090"):
            throughput.find(bad)


def test_the_slowest_that_a_job_may_meet() -> None:
    def slowest(throughput: Throughput, on_gpu: bool = True) -> float:
        return throughput.slowest(on_gpu, "resnet-18", COLOUR, "training")

    assumed = 0.4e12 * PEAK_TFLOPS[SLOWEST_GPU]
    assert slowest(Throughput()) == pytest.approx(assumed)
    assert slowest(Throughput(), on_gpu=False) == CPU_FLOP_PER_SECOND
    two = [timed(hardware="A", flop=5e12), timed(hardware="B", flop=2e12)]
    assert slowest(Throughput(two)) == 2e12
    assert slowest(Throughput(two), on_gpu=False) == CPU_FLOP_PER_SECOND
    # A small network leaves a GPU idle: no limit of a large one follows it.
    assert slowest(Throughput([timed(architecture="resnet-mini", flop=1e10)])) == pytest.approx(
        assumed
    )


# Errors


def test_errors_are_of_cells_estimated_from_others() -> None:
    rates = {"a": 1e12, "b": 2e12, "c": 2e12, "d": 2e12}
    trainings = [timed(cell=cell, flop=rate) for cell, rate in rates.items()]
    elsewhere = timed(hardware="another", cell="e")
    (errors,) = estimate_errors(Throughput([*trainings, elsewhere]), "GPU")
    # a takes twice as long as the others say; of b's others, the median is right.
    assert errors.values == pytest.approx((0.5, 0.0, 0.0, 0.0))
    assert str(errors) == "on 4 trainings: median 0%, largest 50%"


def test_errors_of_attacks_are_of_all_on_a_cell() -> None:
    def attacks(cell: str, pgd: float, autoattack: float) -> list[Timed]:
        return [
            timed(cell=cell, kind="pgd", seconds=pgd),
            timed(cell=cell, kind="autoattack", seconds=autoattack),
        ]

    (errors,) = estimate_errors(
        Throughput([*attacks("a", 1.0, 9.0), *attacks("b", 2.0, 10.0)]), "GPU"
    )
    assert errors.kind == "cells' attacks"
    assert errors.values == pytest.approx((0.2, 1 / 6))


def test_one_cell_alone_has_no_error() -> None:
    assert estimate_errors(Throughput([timed(), timed(kind="pgd")]), "GPU") == []
    assert estimate_errors(Throughput(), "H200") == []
    # But there is something to compare it with if the hardware was timed.
    (errors,) = estimate_errors(Throughput([timed(), timed(cell="", flop=2e12)]), "GPU")
    assert errors.values == pytest.approx((0.5,))
