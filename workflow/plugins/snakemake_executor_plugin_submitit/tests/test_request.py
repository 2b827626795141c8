"""What jobs ask of the cluster."""

from __future__ import annotations

import pytest

from snakemake_executor_plugin_submitit.jobs.request import BadRequest, request_of


def test_resources_are_the_official_executors() -> None:
    resources = {
        **{"mem_mb": 4000, "runtime": 90, "gpu": 2, "gpu_model": "a100", "qos": "high"},
        **{"slurm_partition": "gpu", "slurm_account": "me", "constraint": "big", "tmpdir": "/tmp"},
        "slurm_extra": "--mail-type=END '--comment=two words' --exclusive",
    }
    assert request_of(resources, 3, 60).slurm_parameters() == {
        "time": 90,
        "mem": "4000M",
        "nodes": 1,
        "ntasks_per_node": 1,
        "cpus_per_task": 3,
        "gpus_per_node": "a100:2",
        "partition": "gpu",
        "account": "me",
        "qos": "high",
        "constraint": "big",
        "additional_parameters": {
            "requeue": True,
            "mail-type": "END",
            "comment": "two words",
            "exclusive": True,
        },
    }


def test_memory_per_cpu_stands_for_memory_and_silence_for_defaults() -> None:
    parameters = request_of({"mem_mb": 1000, "mem_mb_per_cpu": 500}, 1, 60).slurm_parameters()
    assert parameters["mem_per_cpu"] == "500M"
    assert "mem" not in parameters
    assert request_of({}, 1, 45).runtime == 45
    assert request_of({}, 1, 45) == request_of({"gpu": 0, "mem_mb": None}, 1, 45)


@pytest.mark.parametrize(
    "resources",
    [{"gpu": "two"}, {"runtime": -1}, {"slurm_extra": "-x"}, {"slurm_extra": "a=b"}, {"tasks": 2}],
)
def test_bad_resources_are_named(resources: dict[str, object]) -> None:
    (name,) = resources
    with pytest.raises(BadRequest, match=name):
        request_of(resources, 1, 60)


@pytest.mark.parametrize(
    ("resources", "words"),
    [
        ({"slurm_partition": "gpu\n#SBATCH --wrap=x"}, "slurm_partition = .*no line breaks"),
        ({"slurm_extra": "--comment='a"}, "slurm_extra = .*No closing quotation"),
    ],
)
def test_resources_that_would_be_more_than_one(resources: dict[str, str], words: str) -> None:
    with pytest.raises(BadRequest, match=words):
        request_of(resources, 1, 60)
