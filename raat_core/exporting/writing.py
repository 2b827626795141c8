"""The files of each form, and the code that loads them."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from raat_core.cells.catalogue import ARCHITECTURES, DATA_SETS
from raat_core.errors import UserError
from raat_core.exporting import robustbench
from raat_core.exporting.bundle import Bundle, bundle
from raat_core.exporting.evidence import Evidence
from raat_core.exporting.forms import CODE, GRAPH, PROGRAM, STATE_DICT, ZOO_ENTRY, Form
from raat_core.exporting.network import (
    INPUT,
    onnx_bytes,
    program_bytes,
    require_onnx,
    state_dict_bytes,
)
from raat_core.exporting.read_back import random_images
from raat_core.exporting.statements import CannotFollowError


@dataclass(frozen=True)
class Files:
    """What stands for a model, but for the model card."""

    contents: dict[str, bytes]
    """By path in the folder."""
    load: str
    """Code that runs in the folder and leaves a function from images to logits as `model`."""
    can_read: bool = True
    """Whether what `load` imports is installed here."""


Writer = Callable[[nn.Module], Files]
"""From the model, on the CPU and in evaluation mode, to its files."""


def writer(form: Form, evidence: Evidence, name: str) -> Writer:
    """What writes a form of a model; what can be refused is refused here.

    Args:
        form: which.
        evidence: of the model.
        name: of the model.

    Raises:
        UserError: the network's code needs more than torch, or packages are missing.
    """
    shape = evidence.image_shape
    if form == "torch-export":
        return lambda model: Files(
            {PROGRAM: program_bytes(model, random_images(2, shape))},
            f'model = torch.export.load("{PROGRAM}").module()',
        )
    if form == "onnx":
        require_onnx()
        return lambda model: Files(
            {GRAPH: onnx_bytes(model, random_images(2, shape))},
            _LOAD_ONNX,
            can_read=importlib.util.find_spec("onnxruntime") is not None,
        )
    code = _bundle(form, evidence)
    if form == "state-dict":
        return lambda model: Files(
            {
                CODE: _code(evidence, code, STATE_DICT),
                STATE_DICT: state_dict_bytes(model.state_dict()),
            },
            _LOAD_CODE,
        )
    return lambda model: _for_robustbench(evidence, name, code, model)


_IMPORTS = ("import torch", "from pathlib import Path")
_TAKEN: dict[str, object] = {"torch": torch, "Path": Path, "load_model": None}
"""What a file of code has beside the network's."""
_LOAD_CODE = "from model import load_model\n\nmodel = load_model()"
_LOAD_ONNX = f"""\
import onnxruntime

session = onnxruntime.InferenceSession("{GRAPH}", providers=["CPUExecutionProvider"])

def model(images):
    return torch.from_numpy(session.run(None, {{"{INPUT}": images.numpy()}})[0])"""


def _for_robustbench(evidence: Evidence, name: str, code: Bundle, model: nn.Module) -> Files:
    place = robustbench.place_of(evidence, name)
    info = json.dumps(robustbench.model_info(evidence), indent=2, ensure_ascii=False) + "\n"
    weights = model.state_dict()
    stored = robustbench.stored(weights)
    names = "weights" if list(stored) == list(weights) else robustbench.RESTORED
    contents = {
        CODE: _code(evidence, code, place.weights, names),
        place.weights: state_dict_bytes(stored),
        place.info: info.encode(),
    }
    if robustbench.is_loadable(evidence):
        entry = robustbench.zoo_entry(evidence, place, _network(evidence, code))
        contents[ZOO_ENTRY] = entry.encode()
    return Files(contents, _LOAD_CODE)


def _bundle(form: Form, evidence: Evidence) -> Bundle:
    name = evidence.cell.architecture
    try:
        return bundle(ARCHITECTURES[name].build, _TAKEN)
    except CannotFollowError as reason:
        raise UserError(
            f"form = {form}: architecture '{name}' is no code that needs torch alone: {reason}; "
            f"torch-export and onnx need no code of it"
        ) from None


def _network(evidence: Evidence, code: Bundle) -> str:
    """The expression that builds the network, without its weights."""
    channels, *size = evidence.image_shape
    classes = DATA_SETS[evidence.cell.dataset].classes
    return f"{code.builder}({channels}, {classes}, {min(size)})"


def _code(evidence: Evidence, code: Bundle, weights: str, names: str = "weights") -> bytes:
    """`model.py`: the network, and the function that loads it.

    Args:
        evidence: of the model.
        code: of the network.
        weights: path of their file.
        names: the expression for what the network takes, of what stands in that file.
    """
    ours = any(module.startswith("raat_core.") for module in code.modules)
    licence = "\nCopyright (c) 2026 The raat-core developers; SPDX-License-Identifier: MIT.\n"
    start = f'''\
"""{ARCHITECTURES[evidence.cell.architecture].title} with its weights; needs torch alone.

Written by `python -m raat_core export` from {", ".join(map(_public, code.modules))}.
{licence if ours else ""}"""

from __future__ import annotations
'''
    end = f'''\
def load_model(device="cpu"):
    """The trained network in evaluation mode: images (N, C, H, W) in [0, 1] to logits (N, K)."""
    path = Path(__file__).parent / "{weights}"
    weights = torch.load(path, map_location=device, weights_only=True)
    model = {_network(evidence, code)}
    model.load_state_dict({names})
    return model.to(device).eval()
'''
    imports = sorted({*code.imports, *_IMPORTS}, key=lambda line: (line.startswith("from"), line))
    return "\n".join([start, *imports, "\n", code.text, "\n", end]).encode()


def _public(module: str) -> str:
    """A module's name; of a plugin's without the folder's checksum."""
    return module.rpartition(".")[2] if module.startswith("raat_plugin_") else module
