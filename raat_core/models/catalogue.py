"""Which architectures there are; known without torch, built by the named function."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ArchitectureInfo:
    """An architecture's printed name and who builds it."""

    title: str
    builder: str
    """`module:function` of `build(channels, classes) -> torch.nn.Module`."""


ARCHITECTURES: dict[str, ArchitectureInfo] = {
    "resnet-mini": ArchitectureInfo("ResNet-mini", "raat_core.models.resnet:resnet_mini"),
    "resnet-18": ArchitectureInfo("ResNet-18", "raat_core.models.resnet:resnet_18"),
}
