"""Adversarial training under one protocol: methods, attacks, training that resumes, evaluation.

`raat_core.api` is the way in from a notebook, `python -m raat_core` from a shell. Specs of cells
(`raat_core.cells`), methods' settings and records (`raat_core.evaluation.records`) are read without
importing torch.
"""

import importlib
import importlib.util
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

__version__ = "0.1.0"

OLD_NAMES = {
    "raat_core.catalogue": "raat_core.cells.catalogue",
    "raat_core.losses": "raat_core.interface.losses",
    "raat_core.methods.base": "raat_core.methods",
    "raat_core.operations": "raat_core.interface.operations",
}
"""Modules under the names that docs/extending.md once gave to authors of methods: files of their
own still import them."""


class _OldNames(MetaPathFinder, Loader):
    """Finds the modules of `OLD_NAMES`; each is the very module that has another name now."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return importlib.util.spec_from_loader(name, self) if name in OLD_NAMES else None

    def exec_module(self, module: ModuleType) -> None:
        sys.modules[module.__name__] = importlib.import_module(OLD_NAMES[module.__name__])


sys.meta_path.append(_OldNames())
