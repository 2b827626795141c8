"""`python -m raat_core check`: good extensions pass; each fault is found, named, and alone."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import faulty
import numpy as np
import pytest
import torch
from faulty import Faulty

from conftest import ATTACK_PLUGIN, TOY_DISTILLATION, TOY_METHOD
from plugin_files import write_extensions
from raat_core.checking.check import checked
from raat_core.checking.findings import Report, exit_code
from raat_core.checking.registered import Extension, extension, extensions_of_plugin
from raat_core.commands.cli import main
from raat_core.interface.registry import BUILT_IN_METHODS


def report_of(extension: Extension, **given: Any) -> Report:
    (report,) = checked([extension], given)
    return report


def report_of_file(path: Path, **given: Any) -> Report:
    (found,) = extensions_of_plugin(str(path))
    return report_of(found, **given)


def told(report: Report, level: str = "wrong") -> dict[str, str]:
    return {each.fault: each.text for each in report.findings if each.level == level}


GOOD = {
    "good-method": faulty.GOOD_METHOD,
    "good-calls": faulty.GOOD_CALLS,
    "good-memory": faulty.GOOD_MEMORY,
    "good-attack": faulty.GOOD_ATTACK,
    "good-network": faulty.GOOD_NETWORK,
    "good-dropout": faulty.GOOD_DROPOUT,
    "good-data": faulty.GOOD_DATA,
}


@pytest.mark.parametrize("name", GOOD)
def test_a_good_one_of_each_kind_passes(name: str, tmp_path: Path) -> None:
    report = report_of_file(Faulty("", (), GOOD[name]).write(tmp_path, name))
    assert report.findings == [], report.lines
    assert exit_code([report]) == 0
    assert any(line.startswith("  ok: ") for line in report.lines)


def check_fault(name: str, fault: Faulty, folder: Path) -> None:
    report = report_of_file(fault.write(folder, name))
    assert {finding.fault for finding in report.findings} == {fault.fault}, report.lines
    assert exit_code([report]) == 1
    for part in fault.said:
        assert part in "\n".join(report.lines), report.lines
    assert all("\n" not in line for line in report.lines)


QUICK = ("unsaved-state", "item", "draws-of-numpy", "remembers-in-loss")


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n in QUICK else pytest.mark.slow) for n in faulty.METHODS]
)
def test_a_fault_of_a_method_is_found_and_that_alone(name: str, tmp_path: Path) -> None:
    check_fault(name, faulty.METHODS[name], tmp_path)


@pytest.mark.parametrize("name", faulty.ATTACKS)
def test_a_fault_of_an_attack_is_found_and_that_alone(name: str, tmp_path: Path) -> None:
    check_fault(name, faulty.ATTACKS[name], tmp_path)


@pytest.mark.parametrize("name", faulty.NETWORKS)
def test_a_fault_of_an_architecture_is_found_and_that_alone(name: str, tmp_path: Path) -> None:
    check_fault(name, faulty.NETWORKS[name], tmp_path)


@pytest.mark.parametrize("name", faulty.DATA)
def test_a_fault_of_a_data_set_is_found_and_that_alone(name: str, tmp_path: Path) -> None:
    check_fault(name, faulty.DATA[name], tmp_path)


@pytest.mark.parametrize("name", BUILT_IN_METHODS)
def test_built_in_methods_pass(name: str) -> None:
    report = report_of(extension("method", name))
    assert report.findings == [], report.lines
    assert len(report.passed) == 3


@pytest.mark.parametrize(
    ("kind", "name", "given"),
    [
        ("attack", "pgd", {"steps": 3, "restarts": 2}),
        ("attack", "pgd", {"steps": 2, "objective": "margin"}),
        ("architecture", "resnet-mini", {}),
        ("architecture", "preact-resnet-18-normalised", {}),
        ("data set", "digits", {}),
    ],
)
def test_other_built_in_things_pass(kind: Any, name: str, given: dict[str, Any]) -> None:
    report = report_of(extension(kind, name), **given)
    assert report.findings == [], report.lines


def test_a_mask_that_is_meant_is_found_where_it_is_chosen() -> None:
    """The released RAAT forwards the kept samples alone."""
    report = report_of(extension("method", "raat"), variant="released")
    assert {each.fault for each in report.findings} == {"waits"}, report.lines
    assert "mixed = mixed[kept]" in "\n".join(report.lines)


def test_a_needed_cell_is_made(tmp_path: Path) -> None:
    report = report_of_file(TOY_DISTILLATION)
    assert told(report) == {}
    assert "for the check: teacher = {'method': 'pgd-at'}" in report.facts
    assert "Passes(forwards=1, gradients=steps, updates=1)" in told(report, "hint")["passes"]
    wa = {"method": {"name": "wa", "average_from": 105}, "recipe": {"epochs": 110}}
    assert told(report_of_file(TOY_DISTILLATION, teacher=wa, begin={"method": "trades"})) == {}


def test_what_is_watched_is_left_as_it_was() -> None:
    torch.manual_seed(5)
    np.random.seed(5)
    random.seed(5)
    before = torch.get_rng_state(), repr(np.random.get_state()), random.getstate()
    report_of_file(TOY_METHOD)
    after = torch.get_rng_state(), repr(np.random.get_state()), random.getstate()
    assert torch.equal(before[0], after[0])
    assert before[1:] == after[1:]


# The command line


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = main(["check", *map(str, arguments)])
    out, errors = capsys.readouterr()
    return code, out, errors


def test_a_plugin_of_two_attacks(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, ATTACK_PLUGIN, "--set", "queries=20")
    assert code == 0
    for line in (
        "attack 'my-square', version 1",
        "  queries = 5000: Forwards an image.",
        "attack 'fgsm', version 1",
        "  norm = 'linf'",
        "  refuses l2: norm = 'l2': Input should be 'linf'",
    ):
        assert line in out.splitlines(), out
    assert out.count("  ok: ") == 2


def test_a_setting_without_a_description_is_a_hint(tmp_path: Path) -> None:
    code = faulty.GOOD_METHOD.replace('Field(1.0, description="Of the loss.")', "1.0")
    report = report_of_file(Faulty("", (), code).write(tmp_path, "not-described"))
    assert exit_code([report]) == 0
    assert told(report, "hint")["settings"].startswith("setting 'weight' has no description")


def test_a_folder_of_a_network_and_a_data_set(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_extensions(tmp_path / "mine", network="checked-net", data="checked-digits")
    code, out, _ = run(capsys, folder)
    assert code == 0, out
    assert "architecture 'checked-net', version 1" in out
    assert "no BatchNorm, nothing to fold" in out
    assert "data set 'checked-digits', version 1" in out


def test_exit_codes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, faulty.METHODS["raises"].write(tmp_path, "raises-again"))
    assert code == 1
    assert "  wrong: linf: ZeroDivisionError: division by zero at " in out
    code, out, _ = run(capsys, needing(tmp_path))
    assert code == 2
    assert "  path = needed: A file." in out
    assert "  needs: setting 'path' has no default: --set path=..." in out
    code, out, _ = run(capsys, needing(tmp_path), "--set", "path=here", "--set", "norm=l1")
    assert code == 2
    assert "  needs: its settings refuse a cell of two epochs on digits: method.norm = 'l1'" in out
    code, out, _ = run(capsys, needing(tmp_path), "--set", "path=here")
    assert code == 0
    assert "  refuses l2: only linf" in out
    assert "  for the check: warm_up = 1" in out


def needing(folder: Path) -> Path:
    """A method with a setting that must be given, and one that two epochs are too short for."""
    code = faulty.GOOD_METHOD.replace(
        'description="Of the loss.")\n',
        """description="Of the loss.")
    path: str = Field(description="A file.")
    norm: Literal["linf"] = Field("linf", description="What it is for.")
    warm_up: int = Field(5, ge=0, description="Epochs before it begins.")

    def check(self, cell):
        if self.warm_up >= cell.recipe.epochs:
            raise ValueError("warm_up: too long")
        if cell.threat_model.norm != self.norm:
            raise ValueError(f"only {self.norm}")
""",
        1,
    )
    return Faulty("", (), code).write(folder, "needing")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere.py"], "'nowhere.py' cannot be imported: FileNotFoundError"),
        (["json"], "'json' registers no method, attack, architecture or data set"),
        ([str(TOY_METHOD), "--set", "smoothin=1"], "did you mean 'smoothing'?"),
        ([str(TOY_METHOD), "--set", "smoothing"], "'smoothing': must be key=value"),
        ([str(TOY_METHOD), "--set", "smoothing=[1"], "is not valid JSON or YAML"),
    ],
)
def test_bad_input(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, errors = run(capsys, *arguments)
    assert (code, out) == (2, "")
    assert errors.startswith("error: ")
    assert said in errors
    assert errors.count("\n") == 1
