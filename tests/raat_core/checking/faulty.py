"""Plugins with one fault each, as files of text."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Faulty:
    """A plugin's code; `fault` is the only one in it, and `said` is in what is told of it."""

    fault: str
    said: tuple[str, ...]
    code: str

    def write(self, folder: Path, name: str) -> Path:
        path = folder / f"{name.replace('-', '_')}.py"
        path.write_text(self.code.replace("NAME", name))
        return path


_HEAD = """
from __future__ import annotations
import random
from typing import Literal
import numpy as np
from pydantic import Field
from raat_core.interface import Method, MethodSettings, register
from raat_core.interface.losses import cross_entropy
from raat_core.interface.operations import Passes

class Settings(MethodSettings):
    name: Literal["NAME"] = "NAME"
    weight: float = Field(1.0, description="Of the loss.")
"""


def method(
    body: str, loss: str = "", head: str = "", costs: str = "gradients=steps, updates=1"
) -> str:
    """A method whose loss is PGD-AT's, but for what is given.

    Args:
        body: attributes and hooks.
        loss: lines before it returns; they may change `logits` and `losses`, both of the batch.
        head: lines before the class.
        costs: what passes returns.
    """
    return f'''{_HEAD}
{head}

@register
class Mine(Method):
    """PGD-AT."""

    Settings = Settings

{_indented(body, 4)}

    def passes(self, steps, correct):
        return Passes({costs})

    def loss(self, step):
        import torch
        images, labels = step.views[0], step.labels
        logits = step.forward(step.attack(images, labels))
        losses = cross_entropy(logits, labels)
{_indented(loss, 8)}
        return {{"supervised": self.settings.weight * losses.mean()}}
'''


def _indented(lines: str, by: int) -> str:
    return "\n".join(" " * by + line for line in lines.splitlines())


GOOD_METHOD = method("views = 1")
GOOD_CALLS = method(
    "",
    """
count = 0
def note(iterate):
    nonlocal count
    count = count + (iterate.logits.argmax(1) == labels)
logits = step.forward(step.attack(images, labels, on_iterate=note))
mix = step.draws("mix")
other = mix.permutation(len(labels))
some = torch.nn.functional.one_hot(labels[other], self.cell.classes)
losses = losses + 0.1 * cross_entropy(logits, some.to(logits.dtype)) / (1 + count)
losses = losses.where(mix.uniform(len(labels)) < 0.9, 0)
""",
    costs="gradients=2 * steps, updates=2",
)
"""What counts iterates, draws by name, and makes one-hot labels."""
REMEMBERS = """
def __init__(self, settings, cell):
    super().__init__(settings, cell)
    self.count, self.mean = 0, None

def after_step(self, step):
    self.count += 1
    found = step.logits(step.views[0]).softmax(1).mean(0)
    self.mean = found if self.mean is None else 0.9 * self.mean + 0.1 * found
"""
_USES = """
if self.mean is not None:
    losses = losses - (logits.log_softmax(1) * self.mean).sum(1) / (1 + self.count)
"""
_SAVES = """
def state(self):
    import torch
    return {} if self.mean is None else {"mean": self.mean, "count": torch.tensor(self.count)}

def load_state(self, state):
    if state:
        self.mean, self.count = state["mean"], int(state["count"])
"""


def remembers(more: str) -> str:
    """A method with a mean and a count."""
    return method(REMEMBERS + more, _USES, costs="forwards=1, gradients=steps, updates=1")


GOOD_MEMORY = remembers(_SAVES)

METHODS: dict[str, Faulty] = {
    "unsaved-state": Faulty(
        "state", ("self.count was", "self.mean was a tensor (10,)", "load_state"), remembers("")
    ),
    "unsaved-number": Faulty(
        "state",
        ("self.count was",),
        remembers(_SAVES.replace(', "count": torch.tensor(self.count)', "").replace(
            ', self.count = state["mean"], int(state["count"])', ' = state["mean"]'
        )),
    ),
    "state-not-loaded": Faulty(
        "state", ("self.mean was",), remembers(_SAVES.split("\n\n")[0])
    ),
    "module-state": Faulty(
        "shared-state",
        ("COUNTS",),
        method("", "COUNTS['steps'] += 1\nlosses = losses / (1 + COUNTS['steps'] % 7)",
               head="COUNTS = {'steps': 0}"),
    ),
    "class-state": Faulty(
        "shared-state",
        ("Mine.count",),
        method("count = 0\ndef after_step(self, step):\n    type(self).count += 1",
               "losses = losses / (1 + self.count % 7)"),
    ),
    "unseeded": Faulty(
        "not-repeatable",
        ("two trainings",),
        method("", "losses = losses * (1 + 0.1 * np.random.default_rng().random())"),
    ),
    "item": Faulty("waits", (".py:", "losses.mean().item()", "`.item()`"),
                   method("", "scale = losses.mean().item()\nlosses = losses * min(1, 9 / scale)")),
    "truth": Faulty("waits", ("the truth of a tensor", "if losses.mean() > 100"),
                    method("", "if losses.mean() > 100:\n    losses = 0 * losses")),
    "mask": Faulty("waits", ("boolean mask", "losses[losses > 0]"),
                   method("", "losses = losses[losses > 0]")),
    "cpu": Faulty("waits", ("`.cpu()`",), method("", "losses = losses.cpu()")),
    "tolist": Faulty("waits", ("`.tolist()`",),
                     method("", "some = losses.detach().tolist()")),
    "numpy-of-tensor": Faulty("waits", ("`.numpy()`",),
                              method("", "some = losses.detach().numpy()")),
    "waits-in-hook": Faulty(
        "waits", ("`float(tensor)`",),
        method("def after_step(self, step):\n    float(step.labels.sum())"),
    ),
    "draws-of-torch": Faulty(
        "draws", ("torch's global generator", "torch.rand("),
        method("", "losses = losses * torch.rand(len(losses))"),
    ),
    "draws-of-numpy": Faulty(
        "draws", ("NumPy's global generator", "np.random.rand()"),
        method("", "losses = losses * (0.5 + np.random.rand())"),
    ),
    "draws-of-python": Faulty(
        "draws", ("Python's `random`", "random.random()"),
        method("", "losses = losses * (0.5 + random.random())"),
    ),
    "draws-at-an-end": Faulty(
        "draws", ("torch's global generator", "normal_()"),
        method("def after_epoch(self, epoch, model):\n"
               "    for each in model.parameters():\n"
               "        each.data.add_(each.data.clone().normal_(), alpha=1e-3)"),
    ),
    "not-terms": Faulty("fails", ("must return its terms", "a float32 tensor"),
                        method("", "return losses.mean()")),
    "other-terms": Faulty(
        "fails", ("must have the same",),
        method("", "if step.number == 2:\n    return {'other': losses.mean()}"),
    ),
    "raises": Faulty("fails", ("ZeroDivisionError", ".py:", "1 / 0"), method("", "1 / 0")),
    "not-finite": Faulty("fails", ("not finite",), method("", "losses = losses / 0")),
    "state-of-numbers": Faulty(
        "fails", ("state()", "'count'"),
        method("count = 3\ndef state(self):\n    return {'count': self.count}"),
    ),
    "remembers-in-loss": Faulty(
        "twice", ("self.mean",),
        remembers(_SAVES)
        .replace("def after_step(self, step):", "def note(self, step):")
        .replace("        losses = cross", "        self.note(step)\n        losses = cross"),
    ),
    "unused-view": Faulty("views", ("views = 2", "step.views[1]"), method("views = 2")),
    "does-not-smooth": Faulty(
        "smoothing", ("smooths_labels = True",), method("smooths_labels = True")
    ),
    "does-not-say-that-it-smooths": Faulty(
        "smoothing", ("without smooths_labels",),
        method("", "losses = step.cross_entropy(logits, labels)"),
    ),
    "misjudged": Faulty(
        "passes", ("Passes(forwards=1, gradients=steps, updates=1)",),
        method("", "step.logits(images)"),
    ),
    "not-the-copy": Faulty(
        "fast-paths", ("'supervised' is",),
        method("", "step.logits(images)\n"
               "hook = step.model.register_forward_pre_hook(lambda net, given: (0.1 * given[0],))\n"
               "logits = step.forward(step.attack(images, labels))\n"
               "hook.remove()\n"
               "losses = cross_entropy(logits, labels)",
               costs="forwards=2, gradients=2 * steps, updates=1"),
    ),
}  # fmt: skip

_ATTACK = '''
from __future__ import annotations
import random
from typing import Literal
import numpy as np
from pydantic import Field
from raat_core.interface import Attack, AttackSettings, register
from raat_core.interface.losses import cross_entropy
from raat_core.interface.operations import Passes
from raat_core.specs.threat_model import Norm
from raat_core.validation import PixelFraction

class Settings(AttackSettings):
    kind: Literal["NAME"] = "NAME"
    norm: Literal["linf"] = Field("linf", description="Norm of the ball.")
    epsilon: PixelFraction = Field(description="Radius of the ball.")

HELD = {"sign": 1, "scale": 1.0}

@register
class Mine(Attack):
    """One signed step."""

    Settings = Settings
    BODY

    def passes(self, classes, clean, robust):
        return Passes(gradients=1)

    def run(self, model, batch):
        import torch
        images, labels, draws = batch.images, batch.labels, batch.draws
        epsilon, scale = float(self.settings.epsilon), 1.0
        start = images.clone().requires_grad_()
        loss = cross_entropy(model(start), labels).sum()
        (gradient,) = torch.autograd.grad(loss, start)
CODE
        moved = images + scale * epsilon * gradient.sign()
        return moved.clamp(0, 1)
'''


def attack(code: str, body: str = "") -> str:
    return _ATTACK.replace("BODY", body).replace("CODE", _indented(code, 8))


GOOD_ATTACK = attack("batch.check_stop()")
ATTACKS: dict[str, Faulty] = {
    "out-of-its-ball": Faulty("fails", ("outside of its ball",), attack("scale = 1.5")),
    "out-of-range": Faulty("fails", ("must be in [0, 1]",),
                           attack("return images + epsilon * gradient.sign()")),
    "no-outcome": Faulty("fails", ("must return adversarial images",), attack("return None")),
    "raising-attack": Faulty("fails", ("KeyError", "HELD['nothing']"), attack("HELD['nothing']")),
    "attack-draws-of-numpy": Faulty(
        "draws", ("NumPy's", "np.random.rand"), attack("scale = np.random.rand()")
    ),
    "attack-draws-of-python": Faulty(
        "draws", ("`random`", "random.random"), attack("scale = random.random()")
    ),
    "order-of-batches": Faulty(
        "order", ("HELD", "in another order"),
        attack("HELD['scale'] *= 0.9\nscale = HELD['scale']"),
    ),
    "wrong-sign": Faulty("strength", ("sign",), attack("gradient = -gradient")),
    "changes-the-model": Faulty(
        "model", ("changes the model",),
        attack("for each in model.parameters():\n    each.data.mul_(1 + 1e-6)"),
    ),
    "attack-misjudged": Faulty("passes", ("passes is",), attack("model(images)\nmodel(images)")),
}  # fmt: skip

_NETWORK = """
from __future__ import annotations
import numpy as np
from torch import nn
import torch
from raat_core.interface import Architecture, register
from raat_core.interface.operations import Operations

class Net(nn.Module):
    def __init__(self, channels, classes, image_size):
        super().__init__()
        convolution = nn.Conv2d(channels, 8, 3, padding=1)
        self.body = nn.Sequential(convolution, nn.BatchNorm2d(8), nn.ReLU())
        self.head = nn.Linear(8, classes)
        self.classes, self.calls = classes, 0
INIT

    def forward(self, images):
        hidden = self.body(images).mean((2, 3))
FORWARD
        return self.head(hidden)

@register(Architecture("NAME", title="A net" ARGUMENTS))
def build(channels, classes, image_size):
    return Net(channels, classes, image_size)
"""


def network(forward: str = "", init: str = "", arguments: str = "") -> str:
    code = _NETWORK.replace("FORWARD", _indented(forward, 8)).replace("INIT", _indented(init, 8))
    return code.replace("ARGUMENTS", arguments)


def counted(factor: float) -> str:
    """Declared operations: as they are, times a factor."""
    stem = "2 * 9 * 8 * shape[0] * shape[1] * shape[2]"
    return (
        f", operations=lambda shape, classes: "
        f"Operations({factor} * ({stem} + 16 * classes), {factor} * {stem})"
    )


GOOD_NETWORK = network(arguments=counted(1))
GOOD_DROPOUT = network(
    "hidden = nn.functional.dropout(hidden, 0.5, self.training)",
    init="self.body.append(nn.Dropout(0.5))",
    arguments=", channels=1",
)
NETWORKS: dict[str, Faulty] = {
    "shape-of-logits": Faulty("logits", ("must be logits (4, 10)",), network("return hidden")),
    "one-channel": Faulty(
        "fails", ("3 × 32 × 32", "RuntimeError"),
        network(init="self.body[0] = nn.Conv2d(1, 8, 3, padding=1)"),
    ),
    "weights-of-numpy": Faulty(
        "draws", ("NumPy's", "np.random.rand"),
        network(init="self.head.weight.data.mul_(float(np.random.rand()))"),
    ),
    "draws-of-numpy-in-forward": Faulty(
        "draws", ("NumPy's global generator", "np.random.rand"),
        network("hidden = hidden * (1 + self.training * float(np.random.rand()))"),
    ),
    "dropout-when-evaluated": Faulty(
        "not-repeatable", ("in evaluation mode",),
        network("hidden = nn.functional.dropout(hidden, 0.5, True)"),
    ),
    "counts-on-self": Faulty(
        "buffers", ("self.calls", "register_buffer"),
        network("self.calls += self.training\nhidden = hidden / (1 + self.calls)"),
    ),
    "private-state": Faulty(
        "buffers", ("self._mean",),
        network("if self.training:\n    self._mean = hidden.detach().mean(0)\n"
                "hidden = hidden - self._mean", init="self._mean = torch.zeros(8)"),
    ),
    "loose-tensor": Faulty(
        "buffers", ("self.scale", "persistent=False"),
        network("hidden = hidden * self.scale", init="self.scale = torch.ones(8)"),
    ),
    "unsaved-buffer": Faulty(
        "buffers", ("persistent=False perhaps",),
        network("if self.training:\n    self.mean.add_(hidden.detach().mean(0))\n"
                "hidden = hidden - self.mean",
                init="self.register_buffer('mean', torch.zeros(8), persistent=False)"),
    ),
    "no-gradient": Faulty("gradient", ("no gradient reaches",),
                          network("hidden = self.body(images.detach()).mean((2, 3))")),
    "sees-the-batch": Faulty("batch", ("depend on the others",),
                             network("hidden = hidden - 0.5 * hidden.mean(0)")),
    "not-in-bf16": Faulty(
        "precision", ("bf16",),
        network("hidden = hidden @ self.mix", init="self.mix = nn.Parameter(torch.eye(8))\n"
                "self.body[2].register_forward_hook(lambda m, i, o: "
                "1 / 0 if torch.is_autocast_enabled('cpu') else o)"),
    ),
    "network-waits": Faulty("waits", ("`.item()`",),
                            network("hidden = hidden / max(1.0, hidden.detach().max().item())")),
    "misdeclared": Faulty("operations", ("+100%",), network(arguments=counted(2))),
}  # fmt: skip

_DATA = """
from __future__ import annotations
import torch
from raat_core.data.dataset import DataSet, Split
from raat_core.interface import DataSetSpec, register

@register(DataSetSpec("NAME", title="Noise", image_shape=(1, 8, 8), classes=3, train_size=30,
                      test_size=60))
def load(root, check_stop):
    draws = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (90, 1, 8, 8), generator=draws).to(torch.uint8)
    labels, levels = torch.arange(90) % 3, 255
CODE
    train, test = Split(images[:30], labels[:30], levels), Split(images[30:], labels[30:], levels)
    return DataSet(train, test, classes=3)
"""


def data(code: str) -> str:
    return _DATA.replace("CODE", _indented(code, 4))


GOOD_DATA = data("check_stop()")
DATA: dict[str, Faulty] = {
    "another-split": Faulty(
        "checksum", ("torch.randperm(90)", "torch's global generator"),
        data("order = torch.randperm(90)\nimages, labels = images[order], labels[order]"),
    ),
    "other-images": Faulty(
        "checksum", ("loaded again",),
        data("import time\nnow = time.perf_counter_ns().to_bytes(8, 'little')"
             "\nimages.view(-1)[:8] = torch.tensor(list(now))"),
    ),
    "not-as-described": Faulty("fails", ("labels are from 1 to 3",), data("labels = labels + 1")),
    "no-files": Faulty("fails", ("FileNotFoundError", "open("), data("open('/nowhere/images')")),
    "dark": Faulty("pixels", ("largest training pixel is 15",), data("images = images // 16")),
    "black": Faulty("pixels", ("all training pixels are 0",), data("images[:30] = 0")),
}  # fmt: skip
