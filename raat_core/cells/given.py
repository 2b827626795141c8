"""Models that were trained elsewhere, as configs and the command line name them."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BeforeValidator, Field, model_validator

from raat_core.cells.catalogue import ARCHITECTURES
from raat_core.cells.network import ZOO, ZOO_BUILDER, Argument, Network, Normalise
from raat_core.interface.plugins import find_function
from raat_core.validation import Frozen, OneLine, suggest

ZOO_OPTIONAL = ("mu", "sigma", "mean", "std", "normalize.mean", "normalize.std")
"""Constants of its architectures that some of its files lack, as its own loader allows."""
ZOO_IGNORES = ("model_preact_hl1.*", "*.scores")
"""Tensors of its files that no architecture uses, as its own loader allows."""
OF_LAST = ("Andriushchenko2020Understanding", "Kireev2021Effectiveness")
"""What the names of models begin with whose files hold two, of which the last is the zoo's."""


def _one_or_more(value: object) -> object:
    return (value,) if isinstance(value, str) else value


def _named(value: object) -> object:
    return {"name": value} if isinstance(value, str) else value


Files: TypeAlias = Annotated[
    tuple[OneLine, ...],
    BeforeValidator(
        _one_or_more, json_schema_input_type=str | Annotated[list[str], Field(min_length=1)]
    ),
    Field(min_length=1),
]


class ZooModel(Frozen):
    """A model of RobustBench's zoo, whose file was downloaded before."""

    name: OneLine = Field(min_length=1, description="As its leaderboard calls it.")
    threat_model: Literal["Linf", "L2"] = Field("Linf", description="Of the leaderboard.")
    dataset: Literal["cifar10", "cifar100"] = Field("cifar10", description="Of the leaderboard.")
    folder: OneLine = Field(
        "models", description="Where its files lie: <folder>/<dataset>/<threat_model>/<name>.pt."
    )

    @property
    def file(self) -> Path:
        """Where the zoo's own loader puts it."""
        return Path(self.folder) / self.dataset / self.threat_model / f"{self.name}.pt"


class GivenModel(Frozen):
    """A file of weights and the network that they are of; nothing is trained."""

    weights: Files | None = Field(
        None,
        description="A file that torch.save or safetensors wrote; a list of them, as of several "
        "seeds, is one row. Relative paths start where you run.",
    )
    architecture: OneLine | None = Field(
        None,
        description="An architecture by name, or `module:function` or `folder/file.py:function`.",
    )
    arguments: dict[str, Argument] = Field(
        default_factory=dict,
        description="Of the function; `channels`, `classes` and `image_size` are given to it if it "
        "has parameters of these names.",
    )
    version: int = Field(1, ge=1, description="Raise it when the function makes another network.")
    normalise: Normalise | None = Field(
        None,
        description="{mean, std} of channels in [0, 1], if images were normalised outside of the "
        "network.",
    )
    key: OneLine | None = Field(
        None, description="Where in the file the weights are, as `model.ema`; null: where they fit."
    )
    rename: dict[str, str] = Field(
        default_factory=dict,
        description="Names of weights that begin with the left begin with the right instead.",
    )
    ignore: tuple[str, ...] = Field((), description="Names of the file to leave out, with * and ?.")
    optional: tuple[str, ...] = Field(
        (),
        description="Names that the file need not have, with * and ?: they stay as the "
        "architecture makes them.",
    )
    robustbench: Annotated[
        ZooModel | None, BeforeValidator(_named, json_schema_input_type=str | ZooModel | None)
    ] = Field(
        None, description="In place of weights and architecture: a model of RobustBench's zoo."
    )

    @model_validator(mode="after")
    def _check(self) -> GivenModel:
        own = [
            key
            for key in ("weights", "architecture", "arguments", "normalise", "key")
            if getattr(self, key)
        ]
        if self.robustbench is not None:
            if own:
                raise ValueError(f"{own[0]}: is what robustbench says already")
            return self
        for key in ("weights", "architecture"):
            if getattr(self, key) is None:
                raise ValueError(f"{key}: is missing")
        if self.arguments and ":" not in str(self.architecture):
            raise ValueError(
                f"arguments: are of a function; architecture = '{self.architecture}' is a name"
            )
        return self

    @property
    def files(self) -> tuple[Path, ...]:
        """The files of weights."""
        if self.robustbench is not None:
            return (self.robustbench.file,)
        return tuple(map(Path, self.weights or ()))

    def methods(self, checksum: Callable[[Path], str]) -> list[dict[str, Any]]:
        """What the specs of its cells say under `method`, in the order of `files`.

        Args:
            checksum: the SHA-256 of a file.

        Raises:
            ValueError: two of the files are the same.
        """
        zoo = self.robustbench
        shared: dict[str, Any] = {
            "name": "given",
            "key": "last" if zoo and zoo.name.startswith(OF_LAST) else self.key,
            "rename": self.rename,
            "ignore": [*self.ignore, *(ZOO_IGNORES if zoo else ())],
            "optional": [*self.optional, *(ZOO_OPTIONAL if zoo else ())],
        }
        found: dict[str, Path] = {}
        for path in self.files:
            sha256 = checksum(path)
            if sha256 in found:
                raise ValueError(
                    f"weights: '{found[sha256]}' and '{path}' are the same: n would count it twice"
                )
            found[sha256] = path
        return [{**shared, "sha256": sha256} for sha256 in found]

    def network(self, aliases: Mapping[str, str]) -> dict[str, Any]:
        """What their specs say under `architecture`, and under `network` if there is more to say.

        Args:
            aliases: other names for architectures.

        Raises:
            ValueError: there is no such architecture, file or module.
        """
        if self.robustbench is not None:
            return _described(_of_zoo(self.robustbench))
        name = str(self.architecture)
        name = aliases.get(name, name)
        if ":" in name:
            try:
                find_function(name)
            except ValueError as error:
                raise ValueError(f"architecture = '{name}': {error}") from None
        elif name not in ARCHITECTURES:
            hint = "; or module:function, or folder/file.py:function"
            raise ValueError(
                f"architecture = '{name}': unknown architecture{suggest(name, ARCHITECTURES)}{hint}"
            )
        elif self.normalise is None:
            return {"architecture": name}
        return _described(
            Network(
                of=name,
                arguments=self.arguments,
                normalise=self.normalise,
                version=self.version,
            )
        )


def _described(network: Network) -> dict[str, Any]:
    return {"architecture": network.register(), "network": network.model_dump(mode="json")}


def _of_zoo(zoo: ZooModel) -> Network:
    """The network of a model of the zoo, which its package makes.

    Raises:
        ValueError: the package is not installed.
    """
    if importlib.util.find_spec(ZOO) is None:
        raise ValueError(
            f"robustbench = '{zoo.name}': needs the package {ZOO}, which is not installed here: "
            f"pip install {ZOO}"
        )
    names = {"name": zoo.name, "dataset": zoo.dataset, "threat_model": zoo.threat_model}
    return Network(of=ZOO_BUILDER, arguments=dict(names))
