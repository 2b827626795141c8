"""Networks that cells describe: a user's own function, or a network behind a normalisation."""

from __future__ import annotations

import inspect
from typing import Any

from torch import Tensor, nn

from raat_core.cells.catalogue import ARCHITECTURES
from raat_core.cells.network import Network
from raat_core.errors import UserError
from raat_core.interface.plugins import import_function
from raat_core.models.layers import Normalisation
from raat_core.validation import one_line

INNER = "network."
"""What the names of a normalised network's weights begin with."""


class Normalised(nn.Module):
    """A network that sees normalised images; this one takes them in [0, 1]."""

    def __init__(self, normalisation: Normalisation, network: nn.Module) -> None:
        super().__init__()
        self.normalisation = normalisation
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, C, H, W) in [0, 1] to logits (N, K)."""
        logits: Tensor = self.network(self.normalisation(images))
        return logits


def build(network: Network, channels: int, classes: int, image_size: int) -> nn.Module:
    """What a description says, freshly initialised, in fp32.

    Raises:
        UserError: its function cannot be imported or called, or makes no module.
    """
    sizes = {"channels": channels, "classes": classes, "image_size": image_size}
    if network.is_function:
        module = _call(network, sizes)
    else:
        module = ARCHITECTURES[network.of].build(channels, classes, image_size)
    if not isinstance(module, nn.Module):
        raise UserError(f"'{network.of}' returned {type(module).__name__}, not a torch.nn.Module")
    module = module.float()
    if network.normalise is None:
        return module
    if len(network.normalise.mean) != channels:
        raise UserError(
            f"normalise.mean = {list(network.normalise.mean)}: must have {channels} numbers, as "
            f"the images have channels"
        )
    return Normalised(Normalisation(network.normalise.mean, network.normalise.std), module)


def _call(network: Network, sizes: dict[str, int]) -> object:
    function = import_function(network.of)
    try:
        taken = set(inspect.signature(function).parameters)
    except (TypeError, ValueError):  # Of a class that is not written in Python.
        taken = set()
    arguments: dict[str, Any] = {key: size for key, size in sizes.items() if key in taken}
    arguments |= network.arguments
    try:
        return function(**arguments)
    except Exception as error:  # The user's own code.
        called = ", ".join(f"{key}={value!r}" for key, value in arguments.items())
        raise UserError(
            one_line(f"'{network.of}' called with ({called}): {type(error).__name__}: {error}")
        ) from error
