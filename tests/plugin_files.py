"""A folder of extensions from outside the package: a network and a data set, with neighbours."""

from __future__ import annotations

from pathlib import Path

NETWORK = '''
from torch import nn

class TinyNet(nn.Module):
    """Patches of 4x4, LayerNorm, two linear layers: no BatchNorm, and no count of operations."""

    def __init__(self, channels, classes, image_size):
        super().__init__()
        self.patches = nn.Conv2d(channels, 16, 4, stride=4)
        self.norm = nn.LayerNorm(16)
        self.hidden = nn.Linear(16, 32)
        self.out = nn.Linear(32, classes)

    def forward(self, images):
        tokens = self.norm(self.patches(images).flatten(2).mean(2))
        return self.out(self.hidden(tokens).relu())
'''
ARCHITECTURE = """
from raat_core.interface import Architecture, register

@register(Architecture({name!r}, title="Tiny net", version={version}))
def build(channels, classes, image_size):
    from ._network import TinyNet
    return TinyNet(channels, classes, image_size)
"""
DATA_SET = """
from raat_core.interface import DataSetSpec, register
import _sizes

@register(DataSetSpec({name!r}, title="Few digits", image_shape=(1, 8, 8), classes=10,
                      train_size=_sizes.TRAIN, test_size=_sizes.TEST, version={version},
                      prepared=True))
def load(root, check_stop):
    import torch
    from _sizes import TEST, TRAIN
    from raat_core.data.dataset import DataSet, load_data_set
    digits = load_data_set("digits")
    train, test = digits.train.take(torch.arange(TRAIN)), digits.test.take(torch.arange(TEST))
    return DataSet(train, test, classes=10)
"""


def write_extensions(
    folder: Path, network: str = "tiny-net", data: str = "few-digits", version: int = 1
) -> Path:
    """Write `network.py` and `data.py`, which import `_network.py` and `_sizes.py`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "_network.py").write_text(NETWORK)
    (folder / "_sizes.py").write_text("TRAIN, TEST = 136, 60\n")
    (folder / "network.py").write_text(ARCHITECTURE.format(name=network, version=version))
    (folder / "data.py").write_text(DATA_SET.format(name=data, version=version))
    return folder
