"""Processes that train a step when they are told to, so that several sides are timed in turn.

    python benchmarks/workers.py '{"side": "ours", "method": "raat", ...}'

A line on standard input asks for a step; its time comes back as a line of JSON, and the process's
peak of memory when the input ends. `Worker` is the other end.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from raat_core.cells.cell import Cell
from raat_core.data.dataset import Split
from raat_core.fast.arithmetic import use_ieee_arithmetic
from raat_core.fast.cpu.memory import keep_freed_memory
from raat_core.fast.frozen import FrozenModels
from raat_core.fast.switches import FastPaths
from raat_core.interface.registry import method_class
from raat_core.models.build import build_model_for
from raat_core.training.optimisers import Sgd
from raat_core.training.step import Trainee, TrainingStep

LEARNING_RATE = 0.0
"""All sides update weights that stay as they are, and with them the share of samples that are
classified correctly: some methods forward those alone."""
CORRECT = 0.5
WORKERS = 2
"""Of the baseline's DataLoader."""


@dataclass(frozen=True)
class Job:
    """A step of which side, of what, and how."""

    side: str
    """ours, plain, or the path of a checkout of the released code."""
    method: str
    architecture: str = "resnet-18"
    batch_size: int = 128
    threads: int = 2
    device: str = "cpu"
    precision: str = "fp32"
    """Of both halves of a step, on our side; or `attack`: bf16 in the attack alone."""
    fold: bool = True
    winograd: bool = True
    channels_last: bool = True
    repeats: bool = True
    cuda_graphs: bool = False
    keep_memory: bool = True
    input_gradients: bool = True
    """Off: the attack's backward computes the gradients of all weights as well, as advertorch's
    does; the textbook's where the methods' own releases call that."""

    def cell(self) -> Cell:
        """CIFAR-10's shapes, the paper's threat model and batch, the released objective."""
        method = method_class(self.method)
        variant = {"variant": "released"} if method.Settings.preset("released") else {}
        precision: Any = self.precision
        if precision == "attack":
            precision = {"attack": "bf16", "training": "fp32"}
        return Cell.model_validate(
            {
                "dataset": "cifar10",
                "architecture": self.architecture,
                "method": {"name": self.method, **variant},
                "threat_model": {"norm": "linf", "epsilon": "8/255", "step_size": "2/255"},
                "recipe": {"batch_size": self.batch_size},
                "precision": precision,
            }
        )


class Worker(AbstractContextManager["Worker"]):
    """A process that does a job's steps; gone when the block ends.

    Raises:
        SystemExit: it died, for want of memory for example.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        command = [sys.executable, str(Path(__file__).resolve()), json.dumps(asdict(job))]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._read()

    def __exit__(self, *_: object) -> None:
        """Also where another's death ends the measurement."""
        self._process.kill()
        self._process.wait()

    def seconds(self) -> float:
        """Of one step."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # Then nothing is to be read, either.
            self._process.stdin.write("step\n")
            self._process.stdin.flush()
        return float(self._read()["seconds"])

    def finish(self) -> float:
        """End the process; returns its peak of memory in MiB (of the GPU's, where it is on one).

        Raises:
            SystemExit: not half of the samples were classified correctly: others' work was timed.
        """
        assert self._process.stdin is not None
        self._process.stdin.close()
        found = self._read()
        self._process.wait()
        if abs(found["correct"] - CORRECT) > 0.01:
            raise SystemExit(f"{self.job}: {found['correct']:.0%} of the samples are correct")
        return float(found["peak_mib"])

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("{"):
                found: dict[str, Any] = json.loads(line)
                return found
        status = self._process.wait()
        raise SystemExit(f"the process of {self.job} has died (status {status})")


def main() -> None:
    """Serve one job."""
    job = Job(**json.loads(sys.argv[1]))
    torch.set_num_threads(job.threads)
    if job.keep_memory and job.side == "ours":
        keep_freed_memory()
    torch.manual_seed(0)
    step, correct = {"ours": ours, "plain": plain}.get(job.side, released)(job)
    _answer(ready=True)
    for _ in sys.stdin:
        started = time.perf_counter()
        step()
        if job.device != "cpu":
            torch.cuda.synchronize()
        _answer(seconds=time.perf_counter() - started)
    peak = _peak_mib(job)
    _answer(peak_mib=peak, correct=correct())


def _answer(**values: Any) -> None:
    print(json.dumps(values), flush=True)


def _peak_mib(job: Job) -> float:
    if job.device != "cpu":
        return torch.cuda.max_memory_allocated() / 2**20
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 2**10


def _random_pixels(count: int) -> Tensor:
    draws = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 3, 32, 32), generator=draws, dtype=torch.uint8)


Side: TypeAlias = tuple[Callable[[], None], Callable[[], float]]
"""A step, and the share of samples that the model classifies correctly."""


def predictions(model: nn.Module, pixels: Tensor) -> Tensor:
    """Classes in evaluation mode, in which the model stays."""
    model.eval()
    with torch.no_grad():
        parts = torch.split(pixels, 128)
        return torch.cat([model(some.float() / 255).argmax(1) for some in parts])


def half_correct(model: nn.Module, pixels: Tensor) -> Tensor:
    """Labels of which the model predicts every other one, and will: its statistics are fixed."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.0  # They are computed and averaged as ever, with weight zero.
    labels = predictions(model, pixels)
    wrong = torch.arange(len(labels), device=labels.device) % 2 == 1
    return torch.where(wrong, (labels + 1) % 10, labels)


def ours(job: Job) -> Side:
    """A step of this project: as the training loop does it, from the pixels on the device on."""
    use_ieee_arithmetic()
    cell, device = job.cell(), torch.device(job.device)
    fast = FastPaths(job.fold, job.winograd, job.channels_last, job.repeats, job.cuda_graphs)
    model = build_model_for(cell.architecture, "cifar10", 0).to(device)
    model.to(memory_format=fast.memory_format)
    pixels = _random_pixels(2 * job.batch_size).to(device)
    split = Split(pixels, half_correct(model, pixels), 255, fast.memory_format)
    method = method_class(job.method)(cell.method)
    optimizer = Sgd(model.train(), cell.recipe.momentum, cell.recipe.weight_decay)
    trainee, frozen = Trainee(model, optimizer, method), FrozenModels(fast)
    if not job.input_gradients:
        _attack_through_the_weights(frozen)
    indices = torch.arange(job.batch_size, device=device)
    short = cell.model_copy(
        update={"threat_model": cell.threat_model.model_copy(update={"steps": 1})}
    )

    def step(cell: Cell = cell) -> None:
        drawn = TrainingStep.draw(cell, model, frozen, split, indices, method.views, 0, 0)
        trainee.update(drawn, LEARNING_RATE)

    def correct() -> float:
        return float((predictions(model, pixels) == split.labels).double().mean())

    step(short)
    return step, correct


def _attack_through_the_weights(frozen: FrozenModels) -> None:
    """As attacks that call `backward()` do."""
    from raat_core.attacks import pgd

    class Through:
        @staticmethod
        def grad(loss: Tensor, images: Tensor) -> tuple[Tensor]:
            for copies in frozen._copies.values():
                for copied in copies.values():
                    if copied.folded is not None:
                        copied.folded.module.requires_grad_(True).zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            assert images.grad is not None
            return (images.grad,)

    class Torch:
        autograd = Through

        def __getattr__(self, name: str) -> Any:
            return getattr(torch, name)

    pgd.torch = Torch()  # type: ignore[assignment, attr-defined]


def plain(job: Job) -> Side:
    """A step of the textbook, from the DataLoader on."""
    import baseline

    use_ieee_arithmetic()
    baseline.WHOLE = not job.input_gradients
    model = baseline.NETWORKS[job.architecture]()
    loader, correct = textbook_batches(job, model)
    optimizer = torch.optim.SGD(model.parameters(), LEARNING_RATE, momentum=0.9, weight_decay=5e-4)

    def step() -> None:
        *views, labels = (tensor.to(job.device) for tensor in next(loader))
        loss = baseline.OBJECTIVES[job.method](model, views, labels)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        loss.item()

    baseline.STEPS = 1
    step()
    baseline.STEPS = 10
    return step, correct


def textbook_batches(
    job: Job, model: nn.Module
) -> tuple[Iterator[list[Tensor]], Callable[[], float]]:
    """Views and labels from a DataLoader on the CPU, and the share that is correct.

    The model ends on the job's device.
    """
    import baseline

    pixels = _random_pixels(4 * job.batch_size)
    labels = half_correct(model, pixels)
    model.to(job.device).train()
    views = baseline.VIEWS.get(job.method, 1)
    dataset = baseline.Images(pixels.permute(0, 2, 3, 1).numpy(), labels.tolist(), views)

    def correct() -> float:
        found = predictions(model, pixels.to(job.device)).cpu()
        return float((found == labels).double().mean())

    return baseline.batches(dataset, job.batch_size, WORKERS), correct


def released(job: Job) -> Side:
    """A step of the authors' code; see benchmarks/vs_released.py."""
    import vs_released

    return vs_released.step_of(job, Path(job.side))


if __name__ == "__main__":
    main()
