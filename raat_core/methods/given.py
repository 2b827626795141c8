"""No method: the weights of the cell were trained elsewhere and lie in a file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from raat_core.interface import Method, MethodSettings, Step, register
from raat_core.interface.operations import Passes

if TYPE_CHECKING:
    from torch import Tensor


class GivenSettings(MethodSettings):
    """Which weights, and how the names in their file become the architecture's.

    Where the file lies is no part of it.
    """

    name: Literal["given"] = "given"
    sha256: str = Field(pattern="^[0-9a-f]{64}$", description="SHA-256 of the file of weights.")
    key: str | None = Field(
        None, description="Under what key of the file the weights are; null: where they fit."
    )
    rename: dict[str, str] = Field(
        default_factory=dict,
        description="Names that begin with the left begin with the right instead.",
    )
    ignore: tuple[str, ...] = Field((), description="Names of the file to leave out, with * and ?.")
    optional: tuple[str, ...] = Field(
        (),
        description="Names that the file need not have, with * and ?: as the architecture makes "
        "them.",
    )

    @property
    def variant(self) -> str:
        """None: they are neither the paper's nor the released code's."""
        return ""

    def distinctive(self) -> dict[str, object]:
        """What tells such cells apart in names: the checksum, cut short, and the key."""
        key = {} if self.key is None else {"key": self.key}
        return {"sha256": self.sha256[:8], **key}


@register
class Given(Method):
    """Weights from a file; nothing is trained."""

    Settings = GivenSettings
    settings: GivenSettings
    trains = False

    def loss(self, step: Step) -> dict[str, Tensor]:
        raise NotImplementedError("a cell of given weights is not trained")

    def passes(self, steps: int, correct: float) -> Passes:
        return Passes()
