"""Which work is recorded and replayed, with a stand-in for the GPU."""

from __future__ import annotations

import torch
from torch import Tensor

from raat_core.fast.graphs import RUNS_BEFORE_RECORDING, Recordings, Work


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
