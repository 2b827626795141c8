"""The average of weights: against a plain loop, as what is reported, and interrupted anywhere."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from test_objectives import ETA, batchnorm_model, batchnorm_step
from torch import Tensor, nn

from conftest import SMALL_CELL, short_method, small_cell
from outcomes import (
    assert_equal_outcome,
    history_of,
    interrupted,
    run_with_stops,
    train,
    weights_of,
)
from raat_core import api
from raat_core.cells.cell import Cell
from raat_core.cells.folder import CellFolder
from raat_core.cells.manifest import read_manifest
from raat_core.cells.weights import read_weights
from raat_core.data.dataset import DataSet
from raat_core.evaluation.accuracy import percent_correct, predict
from raat_core.interface.registry import build_method, resolve_settings
from raat_core.methods.averaging import Averaging
from raat_core.training.loop import Training
from raat_core.training.optimisers import Sgd

AVERAGING = ("wa", "rebat", "raat#")
DECAY = 0.8
STARTS = 2


def method_of(name: str) -> Averaging:
    config = {"name": name, "decay": DECAY, "average_from": STARTS}
    if name == "raat#":
        config["eta"] = ETA  # At which the steps have images.
    method = build_method(resolve_settings(config), small_cell().facts())
    assert isinstance(method, Averaging)
    return method


def plain_average(average: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """DECAY average + (1 - DECAY) model, number by number; counters are the model's."""
    values = {}
    for name, tensor in model.state_dict().items():
        values[name] = tensor.clone()
        if tensor.is_floating_point():
            pairs = zip(average[name].flatten().tolist(), tensor.flatten().tolist(), strict=True)
            flat = [DECAY * old + (1 - DECAY) * new for old, new in pairs]
            values[name] = torch.tensor(flat, dtype=tensor.dtype).view(tensor.shape)
    return values


@pytest.mark.parametrize("name", AVERAGING)
def test_the_average_is_that_of_a_plain_loop(name: str) -> None:
    """Parameters and BatchNorm's statistics; before it starts, it is the model and no copy."""
    method, model = method_of(name), batchnorm_model(0)
    optimizer = Sgd(model, 0.9, 5e-4)
    for epoch in range(STARTS + 2):
        for number in range(2):
            step = batchnorm_step(10 * epoch + number)
            step = step.take(torch.arange(len(step.labels)), views=method.views)
            step.model, step.epoch = model, epoch
            if epoch == STARTS and number == 0:
                expected = copy.deepcopy(model.state_dict())
            terms = method.loss(step)
            optimizer.zero_grad()
            torch.autograd.backward(torch.stack(list(terms.values())).sum())
            optimizer.step(0.1)
            method.after_step(step)
            if epoch < STARTS:
                assert method.average_of(model) is model
                assert method.state() == {}
                continue
            expected = plain_average(expected, model)
            found = method.average_of(model).state_dict()
            assert found.keys() == method.state().keys() == expected.keys()
            for key, value in expected.items():
                torch.testing.assert_close(found[key], value, rtol=0, atol=1e-12)
                assert torch.equal(found[key], method.state()[key])
    assert not torch.equal(found["0.weight"], model.state_dict()["0.weight"])
    assert not any(p.requires_grad for p in method.average_of(model).parameters())


def test_averaging_may_start_with_the_first_step() -> None:
    """From the initial weights."""
    settings = resolve_settings({"name": "wa", "decay": 0.0, "average_from": 0})
    method = build_method(settings, small_cell().facts())
    step = batchnorm_step(0)
    step = step.take(torch.arange(len(step.labels)), views=1)
    method.loss(step)
    (average,) = method.evaluated(step.model).values()
    assert average is not step.model
    method.after_step(step)
    for one, other in zip(
        average.state_dict().values(), step.model.state_dict().values(), strict=True
    ):
        assert torch.equal(one, other)


def averaging_cell(name: str = "wa", epochs: int = 3, **settings: Any) -> Cell:
    """Two steps an epoch; a decay under which the average is far from the model, and worse."""
    recipe = {**SMALL_CELL["recipe"], "epochs": epochs, "batch_size": 68, "decay_epochs": [2]}
    threat = {**SMALL_CELL["threat_model"], "steps": 1}
    method = short_method(name, decay=0.9, **settings)
    return small_cell(method=method, recipe=recipe, threat_model=threat)


def learning_cell(name: str = "wa", epochs: int = 4, **settings: Any) -> Cell:
    """Long enough that the model classifies better than by chance."""
    recipe = {**SMALL_CELL["recipe"], "epochs": epochs, "batch_size": 16, "decay_epochs": []}
    threat = {"norm": "linf", "epsilon": 0.05, "step_size": 0.03, "steps": 1}
    method = short_method(name, decay=0.9, **settings)
    return small_cell(method=method, recipe=recipe, threat_model=threat)


def ran(cell: Cell, folder: Path, data: DataSet) -> Training:
    training = Training(cell, CellFolder(folder), data, torch.device("cpu"))
    training.run()
    return training


@pytest.mark.parametrize("name", AVERAGING)
def test_the_averaged_model_is_what_is_kept_and_reported(
    name: str, tmp_path: Path, small_data: DataSet
) -> None:
    cell = learning_cell(name, evaluate_online=True)
    training = ran(cell, tmp_path, small_data)
    model, method = training.trainee.model, training.trainee.method
    assert isinstance(method, Averaging)
    last = api.load(tmp_path, "last", "cpu").state_dict()
    for key, tensor in method.average_of(model).state_dict().items():
        assert torch.equal(last[key], tensor)
    assert not any(torch.equal(last[key], p) for key, p in model.named_parameters())
    final = history_of(CellFolder(tmp_path))[-1]
    for loaded, prefix in ((api.load(tmp_path, "last", "cpu"), ""), (model.eval(), "online_")):
        predictions = predict(loaded, small_data.test, 256)
        accuracy = percent_correct(predictions, small_data.test.labels)
        assert accuracy == float(final[f"{prefix}clean_accuracy"])
    assert final["clean_accuracy"] != final["online_clean_accuracy"]


def test_the_best_epoch_is_chosen_by_the_averaged_model(
    tmp_path: Path, small_data: DataSet
) -> None:
    folder = train(learning_cell(epochs=6, evaluate_online=True), tmp_path, small_data)
    rows = history_of(folder)
    best = max(rows, key=lambda row: float(row["robust_accuracy"]))
    manifest = read_manifest(folder)
    assert manifest["best"]["epoch"] == read_weights(folder, "best").epoch == int(best["epoch"])
    assert manifest["best"]["accuracy"] == float(best["robust_accuracy"])
    online = max(rows, key=lambda row: float(row["online_robust_accuracy"]))
    assert online["epoch"] != best["epoch"], "or the two could not be told apart"


def test_evaluating_the_trained_model_too_changes_nothing_else(
    tmp_path: Path, small_data: DataSet
) -> None:
    one = train(learning_cell(), tmp_path / "one", small_data)
    both = train(learning_cell(evaluate_online=True), tmp_path / "both", small_data)
    weights, others = weights_of(one), weights_of(both)
    assert all((array == others[name]).all() for name, array in weights.items())
    columns = ("online_clean_accuracy", "online_robust_accuracy")
    rows = history_of(both)
    assert [{k: v for k, v in row.items() if k not in columns} for row in rows] == history_of(one)
    assert set(rows[0]) - set(history_of(one)[0]) == set(columns)
    assert rows[0]["online_robust_accuracy"] == rows[0]["robust_accuracy"]
    assert rows[-1]["online_robust_accuracy"] != rows[-1]["robust_accuracy"]


def test_columns_of_epochs_that_are_not_evaluated_are_empty(
    tmp_path: Path, small_data: DataSet
) -> None:
    cell = averaging_cell(evaluate_online=True)
    cell = small_cell(**{**cell.to_json(), "selection": {"steps": 1, "every": 2}})
    rows = history_of(train(cell, tmp_path, small_data))
    for column in ("robust_accuracy", "online_robust_accuracy"):
        assert [row[column] != "" for row in rows] == [False, True, True]


@pytest.mark.parametrize(
    "settings", [{"name": "wa"}, {"name": "raat#", "variant": "released"}], ids=lambda s: s["name"]
)
def test_interrupted_anywhere_around_the_start_of_averaging(
    settings: dict[str, Any], tmp_path: Path, small_data: DataSet
) -> None:
    cell = averaging_cell(**settings)
    cell = small_cell(
        **{**cell.to_json(), "recipe": {**cell.recipe.model_dump(), "attack_batchnorm": "train"}}
    )
    through = train(cell, tmp_path / "through", small_data)
    # The first epoch has two steps, their ends, and one batch or more to evaluate.
    for after in range(2, 14):
        folder = interrupted(cell, tmp_path / f"at-{after}", small_data, after)
        assert_equal_outcome(through, train(cell, folder.path, small_data))
    stopped, sessions = run_with_stops(cell, tmp_path / "stopped", small_data, every=6)
    assert sessions > 2
    assert_equal_outcome(through, stopped)


def test_an_interruption_right_after_resuming_keeps_the_average(
    tmp_path: Path, small_data: DataSet
) -> None:
    """The state is saved before the average was asked for by any step."""
    cell = averaging_cell()
    through = train(cell, tmp_path / "through", small_data)
    folder = interrupted(cell, tmp_path / "cell", small_data, after=8)
    for _ in range(2):
        interrupted(cell, folder.path, small_data, after=1)
    assert_equal_outcome(through, train(cell, folder.path, small_data))
