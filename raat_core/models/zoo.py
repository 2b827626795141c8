"""Networks of RobustBench's zoo, as its package makes them; nothing is downloaded."""

from __future__ import annotations

import importlib
import importlib.util
import sys

from torch import nn

from raat_core.errors import UserError
from raat_core.validation import suggest


def build(name: str, dataset: str, threat_model: str) -> nn.Module:
    """A network of the zoo without its weights.

    Args:
        name: as the leaderboard calls the model.
        dataset: of the leaderboard.
        threat_model: of the leaderboard.

    Raises:
        UserError: the package is missing, or knows no such model, or it is made of several files.
    """
    try:
        _name_autoattack()
        from robustbench.model_zoo import model_dicts
        from robustbench.model_zoo.enums import BenchmarkDataset, ThreatModel
    except ImportError as error:
        raise UserError(
            f"robustbench = '{name}': its package cannot be imported ({error}): "
            f"pip install robustbench"
        ) from error
    models = model_dicts[BenchmarkDataset(dataset)][ThreatModel(threat_model)]
    if name not in models:
        raise UserError(
            f"robustbench = '{name}': unknown model of {dataset}, {threat_model}"
            f"{suggest(name, models)}"
        )
    if not isinstance(models[name]["gdrive_id"], str):
        raise UserError(
            f"robustbench = '{name}': is made of several files, or of none; load it in a function "
            f"of your own, and name that as architecture"
        )
    network: nn.Module = models[name]["model"]()
    return network


def _name_autoattack() -> None:
    """Let the zoo find AutoAttack: 1.1.1 requires pyautoattack and imports it as `autoattack`."""
    if importlib.util.find_spec("autoattack") is None:
        sys.modules["autoattack"] = importlib.import_module("pyautoattack")
        sys.modules["autoattack.state"] = importlib.import_module("pyautoattack.state")
