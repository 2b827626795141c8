"""The code of a network as one file: all that it needs; refused where that is more than torch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from raat_core.cells.catalogue import ARCHITECTURES
from raat_core.exporting.bundle import Bundle, bundle
from raat_core.exporting.statements import CannotFollowError
from raat_core.interface.plugins import load_plugin
from raat_core.interface.registry import BUILT_IN_ARCHITECTURES
from raat_core.models.build import build_model

START = """
from __future__ import annotations
from raat_core.interface import Architecture, register
"""
BUILD = """
@register(Architecture({name!r}, title="Net"))
def build(channels: int, classes: int, image_size: int) -> nn.Module:
    {body}
"""
PLAIN = "return nn.Sequential(nn.Flatten(), nn.Linear(channels * image_size**2, classes))"


def run(found: Bundle) -> Callable[[int, int, int], nn.Module]:
    """The builder, of code that finds nothing but what it imports."""
    code = "\n".join(["from __future__ import annotations", *sorted(found.imports), found.text])
    assert "raat_core" not in code
    space: dict[str, Any] = {}
    exec(compile(code, "model.py", "exec"), space)
    build: Callable[[int, int, int], nn.Module] = space[found.builder]
    return build


@pytest.mark.parametrize("architecture", BUILT_IN_ARCHITECTURES)
@pytest.mark.parametrize("size", [8, 64])
def test_built_in_networks_have_the_same_logits_bit_for_bit(architecture: str, size: int) -> None:
    if architecture == "wrn-28-10" and size == 64:
        pytest.skip("as preact-resnet-18, of the same code, and slow")
    expected = build_model(architecture, 3, 10, seed=0, image_size=size).eval()
    found = run(bundle(ARCHITECTURES[architecture].build, {}))(3, 10, size)
    found.load_state_dict(expected.state_dict())
    images = torch.rand(2, 3, size, size)
    plain = expected.to(memory_format=torch.contiguous_format)
    assert torch.equal(found.eval()(images), plain(images))


def of_plugin(folder: Path, name: str, **files: str) -> Callable[[int, int, int], nn.Module]:
    """The builder in `net.py` of a plugin of these files."""
    folder = folder / "plugin"
    folder.mkdir()
    for file, code in files.items():
        (folder / f"{file}.py").write_text(code)
    load_plugin(str(folder / "net.py"))
    return ARCHITECTURES[name].build


def test_constants_helpers_and_neighbours_come_along(tmp_path: Path) -> None:
    net = f"""{START}
from typing import TYPE_CHECKING
from torch import nn
from ._parts import Head
from raat_core.models.layers import Normalisation as Normalisation
if TYPE_CHECKING:
    from numpy import ndarray
WIDTHS = {{"first": 4}}
WIDTHS["second"] = 7
WIDTHS.update(second=8)
unused = print

def twice(width: int, like: ndarray | None = None) -> int:
    return 2 * width
"""
    body = """from torch.nn import Flatten
    from _parts import CLASSES_MORE
    layers = [Normalisation([0.5], [0.5]), Flatten()]
    layers.append(nn.Linear(channels * image_size**2, twice(WIDTHS["second"])))
    return nn.Sequential(*layers, Head(16, classes + CLASSES_MORE))"""
    parts = "from torch import nn\nCLASSES_MORE = 0\nclass Head(nn.Linear):\n    '''Of logits.'''\n"
    net += BUILD.format(name="source-parts", body=body)
    build = of_plugin(tmp_path, "source-parts", net=net, _parts=parts)
    (tmp_path / "plugin/_parts.py").write_text("edited since\n")
    found = bundle(build, {})
    assert "unused" not in found.text
    made, expected = run(found)(1, 3, 8), build(1, 3, 8)
    made.load_state_dict(expected.state_dict())
    images = torch.rand(2, 1, 8, 8)
    assert torch.equal(made(images), expected(images))


@pytest.mark.parametrize(
    ("net", "reason"),
    [
        ("import numpy as np\nSIZE = np.int64(3)", "it needs numpy"),
        ("import _parts", r"`import _parts`: what is imported of one's own must be names"),
        ("from _parts import size as SIZE", "gives it another name"),
        ("from raat_core.randomness import numpy_generator", "it needs numpy"),
        (
            "try:\n    from _parts import size\nexcept ImportError:\n    pass",
            "size of .* cannot be followed",
        ),
    ],
    ids=["package", "module", "alias", "ours", "try"],
)
def test_what_needs_more_than_torch_or_cannot_be_followed_is_refused(
    net: str, reason: str, tmp_path: Path
) -> None:
    name = f"source-{abs(hash(net))}"
    use = {"import numpy": "SIZE", "import _parts": "_parts", "from _parts": "SIZE"}
    used = next((value for key, value in use.items() if net.startswith(key)), "numpy_generator")
    if net.startswith("try"):
        used = "size"
    code = f"{START}\nfrom torch import nn\n{net}\n"
    code += BUILD.format(name=name, body=f"assert {used} is not None\n    {PLAIN}")
    build = of_plugin(tmp_path, name, net=code, _parts="size = 3\n")
    build(1, 2, 3)
    with pytest.raises(CannotFollowError, match=reason):
        bundle(build, {})


def test_a_name_that_is_two_things_is_refused(tmp_path: Path) -> None:
    net = f"{START}\nfrom torch import nn\nfrom _parts import make\nWIDTH = [1]\n"
    net += BUILD.format(name="source-twice", body=f"make(WIDTH)\n    {PLAIN}")
    parts = "WIDTH = [2]\ndef make(width):\n    return WIDTH\n"
    build = of_plugin(tmp_path, "source-twice", net=net, _parts=parts)
    with pytest.raises(CannotFollowError, match="WIDTH is two things"):
        bundle(build, {})
    with pytest.raises(CannotFollowError, match="make is two things"):
        bundle(build, {"make": None})


def test_what_is_no_function_at_the_top_of_a_file_is_refused() -> None:
    def inner(channels: int, classes: int, image_size: int) -> nn.Module:
        return nn.Linear(channels, classes)

    with pytest.raises(CannotFollowError, match="no function at the top of a file"):
        bundle(inner, {})
