"""AutoAttack in plans: on few classes, and on images that its Square cannot take."""

from __future__ import annotations

from typing import Any

import pytest

from conftest import FEW_CLASSES, GRID
from raat_core.cells.evaluations import evaluation_name
from raat_core.errors import UserError
from raat_sweep.config.reading import read_config
from raat_sweep.plan.plan import Plan
from raat_sweep.plan.protocol import protocol_of


def plan(*datasets: str, threat: str = "linf", **attack: Any) -> Plan:
    grid = {**GRID, "datasets": list(datasets), "threat_model": threat}
    table = {"kind": "table", "title": "T", "metrics": ["aa"], "ours": [], "grids": [grid]}
    aa = {"kind": "autoattack", "title": "AA", **attack}
    entries = {"attacks": {"aa": aa}, "items": {"t": table}}
    return Plan(read_config({**entries, "plugins": [str(FEW_CLASSES)]}, "few.yaml"))


def test_captions_name_the_list_and_records_have_its_name() -> None:
    made = plan("digits", "digits-2")
    (attacks,) = (line for line in protocol_of(made, "t") if line.startswith("Attacks"))
    assert attacks == (
        "Attacks: AA: AutoAttack standard, all test images; "
        "AA: AutoAttack custom (apgd-ce, fab-t, square), all test images."
    )
    settings = {each.settings.label: each.settings for each in made.items["t"].attacks}
    assert {row["cell"].split("_")[0]: row["record"] for row in made.items["t"].rows} == {
        "digits": evaluation_name(settings["autoattack"], "best"),
        "digits-2": evaluation_name(settings["autoattack-custom"], "best"),
    }


@pytest.mark.parametrize(
    ("attack", "message"),
    [
        ({"version": "plus"}, "apgd-t needs a data set of at least 4 classes, this one has 3"),
        ({"attacks": ["apgd-t"]}, "apgd-t needs a data set of at least 4 classes"),
        ({"attacks": ["apgd"]}, "attacks.aa.attacks.0 = 'apgd'"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused(attack: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        plan("digits-3", **attack)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_list_of_ones_own() -> None:
    made = plan("digits-2", attacks=["apgd-ce", "fab", "square"])
    ((_, _, settings, _),) = (
        (each.name, each.changes, each.settings, each.threat) for each in made.items["t"].attacks
    )
    assert settings.describe() == "AutoAttack custom (apgd-ce, fab, square)"
    assert settings.to_json()["version"] == "custom"
