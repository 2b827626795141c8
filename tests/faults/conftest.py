"""What the tests of faults share: tallies, random moments, and undisturbed runs to compare with."""

from __future__ import annotations

import random
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

from checkout import Checkout
from faults.tally import KILLS, PROPERTY, THOROUGH, Tally, moments
from slurm.conftest import slurm as slurm

FOLDER = Path(__file__).parent


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark the tests of this folder; more kills get more time, few leave out the long tests."""
    for item in items:
        if FOLDER in item.path.parents:
            item.add_marker(pytest.mark.faults)
            item.add_marker(pytest.mark.slow)
            item.add_marker(pytest.mark.timeout(900 + 30 * KILLS))
    if KILLS < THOROUGH:
        left_out = [item for item in items if item.get_closest_marker("thorough")]
        items[:] = [item for item in items if item not in left_out]
        config.hook.pytest_deselected(items=left_out)


@pytest.fixture
def chance(request: pytest.FixtureRequest) -> random.Random:
    """This test's random numbers."""
    return moments(request.node.name)


@pytest.fixture
def tally(request: pytest.FixtureRequest) -> Callable[[str], Tally]:
    """Makes a tally that ends up in the summary, whether the test passes or not."""

    def start(kind: str) -> Tally:
        made = Tally(kind)
        request.node.stash.setdefault(TALLIES, []).append(made)
        return made

    return start


TALLIES = pytest.StashKey[list[Tally]]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Send the tallies along with a test's report."""
    if call.when == "call":
        for made in item.stash.get(TALLIES, []):
            item.user_properties.append((PROPERTY, made.plain()))
    return (yield)


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A sweep that nothing disturbed: trainings, attacks in one job and in shards, a table."""
    checkout = sweep(tmp_path_factory.mktemp("undisturbed") / "checkout")
    checkout.run()
    return checkout


def sweep(path: Path) -> Checkout:
    """A checkout with a sweep of two cells, nothing of it done."""
    checkout = Checkout(path)
    config = checkout.config
    config["recipes"]["default"] = {
        **{"epochs": 4, "batch_size": 128, "decay_epochs": [3]},
        "augmentation": {"crop_padding": 1, "flip": False},
    }
    ball = {"norm": "linf", "epsilon": 0.15, "step_size": 0.05, "steps": 1}
    config["threat_models"] = {"linf": ball}
    config["selection"] = {"steps": 2}
    config["attacks"]["shared"] = {
        **{"kind": "pgd", "title": "PGD-3", "steps": 3, "job": "shared"},
        **{"samples": 60, "batch_size": 10, "shards": 2},
    }
    config["items"]["tiny"]["metrics"].append("shared")
    checkout.grid["seeds"] = [0, 1]
    return checkout
