"""What a training method is, what it may ask of a training step, and how it is found by name.

Snakemake reads the settings of all methods while it builds its graph, and must not wait for torch:
the files of methods therefore import torch for type checking only. `raat_core.losses` and the
methods of tensors are enough for most objectives; one that needs more imports torch inside `loss`.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, TypeAlias, TypeVar

from pydantic import Field
from pydantic.fields import FieldInfo

from raat_core.errors import UserError
from raat_core.operations import Passes
from raat_core.validation import Frozen, suggest

if TYPE_CHECKING:
    from torch import Tensor, nn

Variant: TypeAlias = Literal["paper", "released"]
Start: TypeAlias = Literal["uniform", "gaussian"]
AttackObjective: TypeAlias = Literal["cross-entropy", "kl", "margin"]
BatchNormMode: TypeAlias = Literal["eval", "train"]
LogitsMode: TypeAlias = BatchNormMode | Literal["batch"]
"""batch: by the batch's own statistics, as in train mode, but the running ones stay as they are."""

BUILT_IN_METHODS = {
    "pgd-at": "raat_core.methods.pgd_at",
    "trades": "raat_core.methods.trades",
    "mart": "raat_core.methods.mart",
    "cons-at": "raat_core.methods.cons_at",
    "raat": "raat_core.methods.raat",
    "raat++": "raat_core.methods.raat_plus_plus",
    "boundary-study": "raat_core.methods.boundary_study",
    "wa": "raat_core.methods.weight_averaging",
    "rebat": "raat_core.methods.rebat",
    "raat#": "raat_core.methods.raat_sharp",
}


class Step(Protocol):
    """One batch and what may be done with it: all that a method's objective gets to see.

    Images are float tensors (B, C, H, W) in [0, 1]; random draws depend on the cell's seed, the
    epoch, the step and a name alone, so that a resumed run repeats them.
    """

    @property
    def model(self) -> nn.Module:
        """The model, for methods that average, perturb or copy weights.

        Its parameters and buffers may be changed at any time, its modules not be exchanged.
        """
        ...

    @property
    def epoch(self) -> int:
        """The epoch, counted from 0."""
        ...

    @property
    def number(self) -> int:
        """The step within the epoch, counted from 0."""
        ...

    @property
    def views(self) -> tuple[Tensor, ...]:
        """`Method.views` independent augmentations of the batch, each (B, C, H, W)."""
        ...

    @property
    def natural(self) -> Tensor:
        """The same images without augmentation, (B, C, H, W)."""
        ...

    @property
    def labels(self) -> Tensor:
        """(B,) int64."""
        ...

    @property
    def indices(self) -> Tensor:
        """(B,) int64 positions in the training set, for methods that remember samples."""
        ...

    @property
    def attack_batchnorm(self) -> BatchNormMode:
        """BatchNorm's mode while `attack` runs; in train mode its statistics see every step."""
        ...

    def stacked_views(self) -> tuple[Tensor, Tensor]:
        """All views below one another and their labels: (V*B, C, H, W) and (V*B,)."""
        ...

    def forward(self, images: Tensor, batchnorm: BatchNormMode = "train") -> Tensor:
        """Logits (N, K) with gradients; in train mode BatchNorm's statistics see `images`."""
        ...

    def forward_repeatably(self, images: Tensor) -> tuple[Tensor, Callable[[], Tensor]]:
        """`forward(images)`, and a function that returns what it would give once more.

        For objectives whose released code forwards a batch twice in a step: with the same weights
        the logits are the same, and only BatchNorm's statistics move again, as of the moment of
        that second call. In between weights must not be changed, nor tensors be exchanged.
        """
        ...

    def logits(
        self, images: Tensor, batchnorm: LogitsMode = "eval", model: nn.Module | None = None
    ) -> Tensor:
        """Logits (N, K) without gradients, of the trained model or of another one.

        In train mode BatchNorm's statistics see `images`; else nothing of the model changes.
        """
        ...

    def attack(
        self,
        images: Tensor,
        labels: Tensor,
        *,
        objective: AttackObjective = "cross-entropy",
        start: Start = "uniform",
        radius: float = 1.0,
        name: str = "attack",
    ) -> Tensor:
        """Adversarial images (N, C, H, W) in the cell's ball, detached.

        `radius` scales the ball and the step size. Two attacks in one step need two names, or
        they start from the same noise.
        """
        ...

    def beta(self, concentration: float, size: int, *, name: str = "beta") -> Tensor:
        """`size` draws of Beta(concentration, concentration), shape (size,)."""
        ...


def forward_twice(step: Step, images: Tensor, repeat: bool) -> tuple[Tensor, Callable[[], Tensor]]:
    """Logits (N, K) of a training forward, and a function for where they are asked for again.

    That function forwards once more if `repeat`, as released code does, or gives the same logits.
    """
    if repeat:
        return step.forward_repeatably(images)
    logits = step.forward(images)
    return logits, lambda: logits


def departure(paper: object, released: object, description: str, **bounds: Any) -> Any:
    """A setting in which the released code departs from the paper; the default is the paper's."""
    values: Any = {"paper": paper, "released": released}
    return Field(default=paper, description=description, json_schema_extra=values, **bounds)


def _departures(settings: type[MethodSettings]) -> dict[str, FieldInfo]:
    return {
        name: field
        for name, field in settings.model_fields.items()
        if isinstance(field.json_schema_extra, dict) and "released" in field.json_schema_extra
    }


class MethodSettings(Frozen):
    """Base of all methods' settings; a subclass narrows `name` to a Literal."""

    name: str = Field(description="The method, by its registered name.")

    @classmethod
    def preset(cls, variant: Variant) -> dict[str, object]:
        """The departures' values as the paper says or as the released code has them."""
        return {
            name: field.json_schema_extra[variant]  # type: ignore[index]
            for name, field in _departures(cls).items()
        }

    @property
    def variant(self) -> str:
        """`paper`, `released`, or `mixed` where single departures are switched.

        Derived from the settings, so that a method without departures has one variant, `paper`,
        and two configs that mean the same cell share it.
        """
        departures = {name: getattr(self, name) for name in self.preset("paper")}
        if departures == self.preset("paper"):
            return "paper"
        return "released" if departures == self.preset("released") else "mixed"

    def check_recipe(self, epochs: int) -> None:
        """Refuse a number of epochs that these settings make no sense with.

        Raises:
            ValueError: names the setting and `recipe.epochs`, with their values.
        """

    def replace(self, changes: Mapping[str, object]) -> MethodSettings:
        """These settings with other values under some config keys (pydantic's error for bad)."""
        return type(self).model_validate({**self.model_dump(by_alias=True), **changes})

    def distinctive(self) -> dict[str, object]:
        """The settings that differ from their variant's preset, under their config keys."""
        base = type(self).model_validate(
            {
                "name": self.name,
                **self.preset("released" if self.variant == "released" else "paper"),
            }
        )
        mine, theirs = self.model_dump(by_alias=True), base.model_dump(by_alias=True)
        return {key: value for key, value in mine.items() if value != theirs[key]}


class Method(ABC):
    """An objective and what it needs around it.

    A subclass sets the class attributes and `loss`; the hooks and the state are for methods that
    keep something between steps. `version` is part of every cell's identity: raise it when a
    change alters what the method computes.
    """

    Settings: ClassVar[type[MethodSettings]]
    version: ClassVar[int] = 1
    views: ClassVar[int] = 1

    def __init__(self, settings: MethodSettings) -> None:
        self.settings = settings

    @abstractmethod
    def loss(self, step: Step) -> dict[str, Tensor]:
        """The objective's terms on one batch, scalars by name; their sum is minimised."""

    def passes(self, steps: int, correct: float) -> Passes:
        """What `loss` costs for each sample of the batch, so that a plan can tell hours ahead.

        Estimates follow it and no result does. Without an override: an attack on every view, and
        the clean and the attacked views forwarded once each with gradients.

        Args:
            steps: of the threat model's attack.
            correct: the share of samples that are classified correctly without attack, in [0, 1],
                for objectives that forward these alone.
        """
        return Passes(gradients=steps * self.views, updates=2 * self.views)

    def after_step(self, step: Step) -> None:
        """Called after the optimiser's step; gradients are there until it returns."""

    def after_epoch(self, epoch: int) -> None:
        """Called after the last step of an epoch, before the model is evaluated."""

    def evaluated(self, model: nn.Module) -> dict[str, nn.Module]:
        """The models to evaluate after an epoch, by name; `model` is the trained one.

        The first is the method's result: the best checkpoint is chosen by its accuracy, and its
        weights are kept and reported. Others get columns `<name>_clean_accuracy` and
        `<name>_robust_accuracy` in the history. The names are the same in all epochs.
        """
        return {"trained": model}

    def state(self) -> dict[str, Tensor]:
        """Tensors to save with the checkpoint."""
        return {}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take back what `state` returned, on the model's device."""


_registered: dict[str, type[Method]] = {}
MethodType = TypeVar("MethodType", bound=type[Method])


def register(method: MethodType) -> MethodType:
    """Class decorator: make a method known under the default of its settings' `name`.

    Raises:
        UserError: the name is taken by another class.
    """
    name = method.Settings.model_fields["name"].default
    if not isinstance(name, str):
        raise UserError(f"{method.__qualname__}: its settings' `name` needs a default")
    known = _registered.get(name)
    owner = BUILT_IN_METHODS.get(name) or (known.__module__ if known else method.__module__)
    if owner != method.__module__:
        raise UserError(f"method '{name}' of {method.__module__} is taken: it is one of {owner}")
    _registered[name] = method
    return method


def method_names() -> list[str]:
    """All known names: the built-in methods and those of loaded plugins."""
    return [*BUILT_IN_METHODS, *(name for name in _registered if name not in BUILT_IN_METHODS)]


def method_class(name: str) -> type[Method]:
    """The method registered as `name`.

    Raises:
        ValueError: no such method; names the nearest one and all that are known.
    """
    if name not in _registered and name in BUILT_IN_METHODS:
        importlib.import_module(BUILT_IN_METHODS[name])
    if name not in _registered:
        hint = " (one of your own needs its plugin to be loaded)"
        raise ValueError(f"unknown method{suggest(name, method_names())}{hint}")
    return _registered[name]


def load_plugin(plugin: str) -> None:
    """Import a Python file (`methods/mine.py`) or module (`mine.methods`) that registers methods.

    Raises:
        UserError: it cannot be found or imported.
    """
    try:
        if plugin.endswith(".py"):
            _load_file(Path(plugin).resolve())
        else:
            importlib.import_module(plugin)
    except UserError:
        raise
    except (Exception, SystemExit) as error:  # A script that ends by itself, too.
        what = " ".join(f"{type(error).__name__}: {error}".split())
        raise UserError(f"{plugin!r} cannot be imported: {what}") from error


def load_plugins_from_environment() -> None:
    """`load_plugin` for every entry of RAAT_PLUGINS, separated as PATH is.

    Raises:
        UserError: one cannot be found or imported.
    """
    for plugin in filter(None, os.environ.get("RAAT_PLUGINS", "").split(os.pathsep)):
        try:
            load_plugin(plugin)
        except UserError as error:
            raise UserError(f"RAAT_PLUGINS of the environment: {error}") from error


def _load_file(path: Path) -> None:
    name = f"raat_plugin_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    if name in sys.modules:
        return
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise FileNotFoundError(f"no such file: {path}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise


def resolve_settings(data: object) -> MethodSettings:
    """Settings from a config's `{name, variant, ...}`: the variant fills what is not given.

    Raises:
        ValueError: unknown method or variant (pydantic's own error for a bad setting).
    """
    if isinstance(data, MethodSettings):
        return data
    if isinstance(data, str):
        data = {"name": data}
    if not isinstance(data, Mapping) or "name" not in data:
        raise ValueError(f"must be a method's name or {{name: ...}}{suggest('', method_names())}")
    settings = method_class(str(data["name"])).Settings
    given = {key: value for key, value in data.items() if key != "variant"}
    variant = data.get("variant", "paper")
    if variant not in ("paper", "released"):
        raise ValueError(f"variant = {variant!r}{suggest(variant, ['paper', 'released'])}")
    return settings.model_validate({**settings.preset(variant), **given})
