"""`measure`: what it times, what it writes, and how hardware is called."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from flops import counted_flop
from raat_core.cells.evaluations import AutoAttackEvaluation, CleanEvaluation, PgdEvaluation
from raat_core.commands.cli import main
from raat_core.cost import measure as measuring
from raat_core.cost.measure import measure
from raat_core.cost.timing import TimingFile, hardware_name, kind_of, read_timings
from raat_core.errors import UserError


@pytest.fixture(autouse=True)
def _once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "SECONDS", 0.0)
    monkeypatch.setattr(measuring, "REPEATS", 1)


def test_the_work_that_is_timed_is_the_work_that_is_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RAAT_FAST_PATHS", "plain")  # A folded copy is compared with its model.
    found: list[TimingFile] = []
    device = torch.device("cpu")
    counted = counted_flop(lambda: found.append(measure(["resnet-mini"], "digits", 16, device)))
    training, evaluation = found[0].timings
    assert (training.kind, training.batch_size) == ("training", 16)
    assert (evaluation.kind, evaluation.batch_size) == ("pgd", 256)
    # Each is done twice, the first time to warm up.
    assert counted == pytest.approx(2 * (training.flop + evaluation.flop))
    assert training.seconds > 0


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "throughput" / "here.json"
    arguments = ["--dataset", "digits", "--batch-size", "8", "--device", "cpu"]
    assert main(["measure", "resnet-mini", *arguments, "--output", str(output)]) == 0
    file = read_timings(output)
    assert hardware_name(file.hardware) in capsys.readouterr().out
    assert [timing.image_shape for timing in file.timings] == [(1, 8, 8)] * 2
    assert file.versions["torch"] == torch.__version__


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["resnet18", "--dataset", "digits"], "did you mean 'resnet-18'?"),
        (["resnet-mini", "--dataset", "digit"], "did you mean 'digits'?"),
        (["resnet-mini", "--dataset", "digits", "--device", "cuda:63"], "cannot be used here"),
    ],
)
def test_bad_input(arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["measure", *arguments]) == 2
    assert expected in capsys.readouterr().err


def test_a_model_that_does_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> None:
        raise torch.cuda.OutOfMemoryError

    monkeypatch.setattr(measuring, "_training", full)
    with pytest.raises(UserError, match=r"resnet-mini does not fit .* smaller --batch-size"):
        measure(["resnet-mini"], "digits", 8, torch.device("cpu"))


@pytest.mark.parametrize("text", ["{", "{}", json.dumps({"timings": []})])
def test_a_damaged_file_is_named(text: str, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(UserError, match=r"a\.json"):
        read_timings(path)


def test_names_of_hardware() -> None:
    gpu = {"device": "cuda", "gpu": "NVIDIA A100-SXM4-80GB", "processor": "X", "threads": 4}
    assert hardware_name(gpu) == "NVIDIA A100-SXM4-80GB"
    assert hardware_name({"device": "cpu", "processor": "X", "threads": 1}) == "X, 1 thread"
    assert hardware_name({"device": "cpu", "processor": "X", "threads": 2}) == "X, 2 threads"
    assert hardware_name({"device": "cpu"}) == ""


def test_kinds() -> None:
    ball = {"norm": "linf", "epsilon": "8/255"}
    pgd = PgdEvaluation.model_validate({**ball, "step_size": "2/255", "steps": 1})
    assert [kind_of(CleanEvaluation()), kind_of(pgd)] == ["pgd", "pgd"]
    assert kind_of(AutoAttackEvaluation.model_validate(ball)) == "autoattack"
