"""What SLURM's commands answer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snakemake_executor_plugin_submitit.clusters import slurm_answers
from snakemake_executor_plugin_submitit.clusters.cluster import State


def test_states_of_squeue_and_sacct() -> None:
    text = "12_3|RUNNING|n1|None\n12_[4-5,7%2]|PENDING||Resources\n13|CANCELLED by 0|n2\n"
    states = slurm_answers.read_states(text)
    assert states["12_3"] == State("active", "RUNNING", "n1", "None")
    assert {f"12_{i}" for i in (4, 5, 7)} <= states.keys()
    assert states["12_7"].reason == "Resources"
    assert states["13"] == State("over", "CANCELLED", "n2", "")


@given(st.sets(st.integers(0, 50), min_size=1))
def test_ranges_of_arrays(indices: set[int]) -> None:
    parts: list[str] = []
    for index in sorted(indices):
        if parts and int(parts[-1].split("-")[-1]) == index - 1:
            parts[-1] = f"{parts[-1].split('-')[0]}-{index}"
        else:
            parts.append(str(index))
    assert slurm_answers.expand(f"9_[{','.join(parts)}]") == [
        f"9_{index}" for index in sorted(indices)
    ]


@pytest.mark.parametrize(
    ("words", "passing", "too_many"),
    [
        ("Unable to contact slurm controller (connect failure)", True, False),
        ("Batch job submission failed: Socket timed out on send/recv operation", True, False),
        ("Slurm temporarily unable to accept job, sleeping and retrying", True, False),
        ("sbatch: error: AssocMaxSubmitJobLimit\nsbatch: error: ...", False, True),
        ("sbatch: error: QOSMaxSubmitJobPerUserLimit", False, True),
        (
            "Batch job submission failed: Requested node configuration is not available",
            False,
            False,
        ),
        ("invalid partition specified: nope", False, False),
        ("Invalid account or account/partition combination specified", False, False),
        ("Requested time limit is invalid (missing or exceeds some limit)", False, False),
    ],
)
def test_reasons_that_pass(words: str, passing: bool, too_many: bool) -> None:
    assert bool(slurm_answers.PASSING.search(words)) == passing
    assert bool(slurm_answers.TOO_MANY.search(words)) == too_many
