"""Which work is recorded and replayed, with a stand-in for the GPU."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from raat_core.attacks.pgd import Live, Pgd
from raat_core.fast.frozen import FrozenModels
from raat_core.fast.graphs import RUNS_BEFORE_RECORDING, Recordings, Work
from raat_core.fast.switches import FastPaths
from raat_core.interface.l2 import L2Details
from raat_core.models.build import build_model


class Recorder:
    """Records as a GPU does: the work reads and writes memory of the recording."""

    def __init__(self) -> None:
        self.recorded = 0
        self.replayed = 0

    def __call__(self, work: Work, inputs: tuple[Tensor, ...]) -> Work:
        self.recorded += 1
        held = [tensor.clone() for tensor in inputs]

        def replay(*given: Tensor) -> Tensor:
            self.replayed += 1
            for mine, its in zip(held, given, strict=True):
                mine.copy_(its)
            return work(*held)

        return replay


def test_work_is_recorded_when_it_comes_back_and_replayed_on_new_inputs() -> None:
    recorder = Recorder()
    recordings = Recordings(recorder)
    for run in range(6):
        inputs = torch.full((2,), float(run)), torch.ones(2)
        found = recordings.run("a", lambda first, second: first + second, *inputs)
        assert torch.equal(found, inputs[0] + inputs[1])
        assert recorder.recorded == (run >= RUNS_BEFORE_RECORDING)
    assert recorder.replayed == 6 - RUNS_BEFORE_RECORDING


def test_a_recording_is_for_one_key_and_one_layout() -> None:
    recorder = Recorder()
    recordings = Recordings(recorder)
    whole, ragged = torch.zeros(4, 3, 2, 2), torch.zeros(3, 3, 2, 2)
    last = whole.to(memory_format=torch.channels_last)
    kinds = [("a", whole), ("a", ragged), ("a", last), ("b", whole), ("a", whole.double())]
    for _ in range(RUNS_BEFORE_RECORDING + 2):
        for key, images in kinds:
            assert torch.equal(recordings.run(key, lambda given: given + 1, images), images + 1)
    assert recorder.recorded == len(kinds)
    assert recorder.replayed == 2 * len(kinds)


class OnAGpu(FrozenModels):
    """As if images lay on one."""

    def _records(self, images: Tensor, live: Live) -> bool:
        return self.fast.cuda_graphs and live.can_be_recorded


@pytest.mark.parametrize(
    ("live", "recorded"),
    [
        (Live(), True),
        (Live(radii=torch.linspace(0, 2, 6)), True),
        (Live(objective=lambda logits: logits[:, 0]), False),
        (Live(on_iterate=lambda iterate: None), False),
    ],
    ids=["plain", "radii", "objective", "callback"],
)
def test_attacks_that_hold_functions_are_not_recorded(
    live: Live, recorded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A replay would not see what a function holds; radii and soft labels are inputs."""
    recorder = Recorder()
    monkeypatch.setattr("raat_core.fast.graphs.record_cuda_graph", recorder)
    model = build_model("resnet-mini", 1, 10, seed=0)
    frozen = OnAGpu(FastPaths(cuda_graphs=True))
    pgd = Pgd("linf", 0.1, 0.05, 2)
    for number in range(RUNS_BEFORE_RECORDING + 2):
        draws = torch.Generator().manual_seed(number)
        images = torch.rand(6, 1, 8, 8, generator=draws)
        labels = torch.rand(6, 10, generator=draws).softmax(1)
        begun = pgd.perturb(images, draws, live)
        radii = None if live.radii is None else live.radii.roll(number)
        found = frozen.attack(pgd, model, images, labels, begun, "fp32", replace(live, radii=radii))
        plain = FrozenModels(FastPaths())
        expected = plain.attack(
            pgd, model, images, labels, begun, "fp32", replace(live, radii=radii)
        )
        assert torch.equal(found, expected)
    assert recorder.replayed == (2 if recorded else 0)


def test_attacks_that_step_otherwise_in_an_l2_ball_are_recorded_apart(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recorder = Recorder()
    monkeypatch.setattr("raat_core.fast.graphs.record_cuda_graph", recorder)
    model = build_model("resnet-mini", 1, 10, seed=0)
    frozen, plain = OnAGpu(FastPaths(cuda_graphs=True)), FrozenModels(FastPaths())
    details = [L2Details(), L2Details(gradient="advertorch"), L2Details(gradient="mart")]
    images = torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(6)
    for _ in range(RUNS_BEFORE_RECORDING + 2):
        for each in details:
            pgd = Pgd("l2", 0.5, 0.2, 2, l2=each)
            found, expected = (
                some.attack(pgd, model, images, labels, images, "fp32") for some in (frozen, plain)
            )
            assert torch.equal(found, expected)
    assert recorder.replayed == 2 * len(details)
