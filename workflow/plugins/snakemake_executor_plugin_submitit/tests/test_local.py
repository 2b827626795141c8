"""Real Snakemake runs with jobs on this machine: `local` and `debug`."""

from __future__ import annotations

import os
import signal
from itertools import combinations, pairwise
from pathlib import Path

import pytest
from toy import Toy, processes_of, submitted_ids, wait_until

from snakemake_executor_plugin_submitit.state import TaskState

pytestmark = pytest.mark.slow

NAMES = ["a", "b"]


@pytest.fixture
def toy(tmp_path: Path) -> Toy:
    return Toy(tmp_path / "toy", "local", options=("--submitit-cores", "4"))


def test_jobs_run_and_leave_nothing_but_logs(toy: Toy) -> None:
    said = toy.run()
    assert toy.made == toy.starts == NAMES
    assert len(submitted_ids(said)) == 2
    plugin = toy.folder / ".snakemake/submitit"
    assert {path.name for path in plugin.iterdir()} == {"jobs.jsonl", "lock", "logs"}
    for name in NAMES:
        assert "start 1" in (plugin / f"logs/one/{name}.log").read_text()
    assert "Nothing to be done" in toy.run()


def spans(toy: Toy, names: str) -> dict[str, tuple[float, float]]:
    """When each command began and ended."""
    times = {}
    for name in names.split():
        began, ended = (toy.folder / f"spans_{name}").read_text().split()
        times[name] = float(began), float(ended)
    return times


def test_every_job_has_a_gpu_of_its_own(toy: Toy) -> None:
    names = "a b c d"
    toy.run("--submitit-gpus", "3,5", names=names, resources="{gpu: 1}", command="sleep 1")
    lines = (toy.folder / "starts").read_text().splitlines()
    gpu = dict(line.split() for line in lines)
    assert set(gpu.values()) == {"3", "5"}
    times = spans(toy, names)
    for one, other in combinations(names.split(), 2):
        if gpu[one] == gpu[other]:
            apart = times[one][1] <= times[other][0] or times[other][1] <= times[one][0]
            assert apart, (one, other, times)


def test_without_gpus_jobs_that_ask_for_one_run_on_the_cpu(toy: Toy) -> None:
    toy.environment = {"CUDA_VISIBLE_DEVICES": ""}
    toy.run(resources="{gpu: 1}")
    assert toy.made == NAMES
    assert "none" in (toy.folder / "starts").read_text()


def test_more_gpus_than_there_are_is_an_error(toy: Toy) -> None:
    head = toy.start("--submitit-gpus", "0,1", resources="{gpu: 3}")
    assert head.wait() != 0
    assert "refused: gpu = 3: this machine has 2" in head.text()
    assert toy.starts == []


def test_no_more_jobs_than_cores(toy: Toy) -> None:
    toy.run("--submitit-cores", "2", threads=2, names="a b c", command="sleep 0.5")
    times = sorted(spans(toy, "a b c").values())
    assert all(before[1] <= after[0] for before, after in pairwise(times))


def test_a_killed_head_is_no_loss(toy: Toy) -> None:
    head = toy.start(command="sleep 8")
    toy.wait_for_starts(2)
    head.kill()
    said = toy.run(command="sleep 8")
    assert "Attached to job" in said
    assert "Submitted" not in said
    assert toy.starts == toy.made == NAMES


def test_a_head_killed_between_two_waves_loses_and_doubles_nothing(toy: Toy) -> None:
    options = {"names": "a b c d", "command": "sleep 3"}
    head = toy.start("--submitit-cores", "2", **options)
    toy.wait_for_starts(2)
    head.kill()
    wait_until(lambda: len(toy.made) == 2)
    toy.run("--submitit-cores", "2", **options)
    assert toy.starts == toy.made == ["a", "b", "c", "d"]


def test_gpus_of_an_earlier_heads_jobs_are_busy(toy: Toy) -> None:
    options = ("--submitit-gpus", "0,1")
    head = toy.start(*options, names="a b", resources="{gpu: 1}", command="sleep 8")
    toy.wait_for_starts(2)
    head.kill()
    # Another target: the jobs of before are not wanted now, but they hold their GPUs.
    toy.run(*options, names="c d", resources="{gpu: 1}", command="sleep 1")
    times = spans(toy, "a b c d")
    assert min(times["c"][0], times["d"][0]) >= min(times["a"][1], times["b"][1]) - 0.1


def test_what_ended_while_no_head_looked_is_collected(toy: Toy) -> None:
    head = toy.start(command="sleep 2")
    toy.wait_for_starts(2)
    head.kill()
    wait_until(lambda: toy.made == NAMES)
    wait_until(lambda: not processes_of(toy.folder))
    toy.run("--force", "out/a.txt", names="a", command="sleep 2")
    assert toy.starts == ["a", "a", "b"]
    assert not toy.journal.live


def test_what_failed_while_no_head_looked_runs_again(toy: Toy) -> None:
    once = "sleep 2; test -e again || {{ touch again; exit 3; }}"
    head = toy.start(names="a", command=once)
    toy.wait_for_starts(1)
    head.kill()
    wait_until(lambda: (toy.folder / "again").exists())
    wait_until(lambda: not processes_of(toy.folder))
    said = toy.run(names="a", command=once)
    assert "failed: its command exited with" in said
    assert "is submitted anew" in said
    assert toy.starts == ["a", "a"]


def test_other_params_are_other_work(toy: Toy) -> None:
    head = toy.start(names="a", command="sleep 60", note="old")
    toy.wait_for_starts(1)
    head.kill()
    said = toy.run(names="a", command="sleep 0.1", note="new")
    assert "from other inputs or params: cancelled" in said
    assert toy.starts == ["a", "a"]


def test_a_renamed_rule_does_not_run_beside_itself(toy: Toy) -> None:
    head = toy.start(command="sleep 8")
    toy.wait_for_starts(2)
    head.kill()
    (toy.folder / "Snakefile").write_text(toy.snakefile.replace("rule one", "rule another"))
    said = toy.run(command="sleep 8")
    assert "Attached" in said
    assert toy.starts == toy.made == NAMES


def test_an_error_of_snakemake_itself_leaves_the_jobs(toy: Toy) -> None:
    checkpoint = "checkpoint no:\n    output: 'no'\n    shell: 'touch no'\n\n"
    wanted = "lambda wildcards: [] if wildcards.name == 'a' else checkpoints.no.get().rule.nonsense"
    broken = toy.snakefile.replace("    log:", f"    input: {wanted}\n    log:")
    broken = broken.replace("rule one", f"{checkpoint}rule one")
    (toy.folder / "Snakefile").write_text(broken)
    head = toy.start(command="sleep 8")
    assert head.wait(60) != 0
    wait_until(lambda: toy.made == ["a"], 30)


def test_an_old_success_is_not_taken_for_a_new_one(toy: Toy) -> None:
    head = toy.start(names="a", command="sleep 2")
    toy.wait_for_starts(1)
    head.kill()
    wait_until(lambda: toy.made == ["a"])
    wait_until(lambda: not processes_of(toy.folder))
    toy.run("--forceall", names="a", command="sleep 2")
    assert toy.starts == ["a", "a"]


def test_ctrl_c_cancels_and_the_next_run_begins_again(toy: Toy) -> None:
    head = toy.start(command="sleep 100")
    toy.wait_for_starts(2)
    code, seconds = head.interrupt()
    assert code != 0
    assert seconds < 15
    assert processes_of(toy.folder) == []
    assert toy.run().count("Submitted") == 2
    assert toy.made == NAMES


def test_a_second_ctrl_c_exits_at_once(toy: Toy) -> None:
    head = toy.start(command="trap '' TERM; sleep 100")
    toy.wait_for_starts(2)
    head.send(signal.SIGINT)
    wait_until(lambda: "Cancelling 2 jobs" in head.text(), 10)
    code, seconds = head.interrupt()
    assert code == 130
    assert seconds < 1.5
    wait_until(lambda: "attaches to them again" in head.text(), 5)
    toy.run()
    assert toy.made == NAMES


def test_detaching_leaves_the_jobs(toy: Toy) -> None:
    head = toy.start(command="sleep 6")
    toy.wait_for_starts(2)
    head.send(signal.SIGQUIT)
    assert head.wait(10) == 131
    assert "Detached" in head.text()
    assert len(processes_of(toy.folder)) >= 2
    assert "Submitted" not in toy.run(command="sleep 6")
    assert toy.starts == NAMES


def test_two_heads_do_not_submit_from_one_folder(toy: Toy) -> None:
    head = toy.start(command="sleep 5")
    toy.wait_for_starts(2)
    other = toy.start(command="sleep 5")
    assert other.wait() != 0
    assert "another Snakemake submits jobs from this folder (process" in other.text()
    assert head.wait() == 0
    assert toy.starts == NAMES


def test_a_failed_job_says_which_why_and_where(toy: Toy) -> None:
    command = "test {wildcards.name} != b || {{ echo this is wrong; exit 7; }}"
    head = toy.start(command=command)
    assert head.wait() != 0
    assert toy.made == ["a"]
    said = head.text()
    (job,) = [a for s in toy.journal.submissions.values() for a in s if a.outcome == "failed"]
    assert f"one b failed: job {job.id} on " in said
    assert "its command exited with 1" in said
    assert f"job log: {job.job.log}, which ends:" in said
    assert "this is wrong" in (toy.folder / "logs/b.log").read_text()
    assert (toy.folder / "logs/b.log").read_text().splitlines()[-1].startswith("error: job")


def test_a_job_without_output_has_failed(toy: Toy) -> None:
    silent = toy.snakefile.replace("echo {wildcards.name} > {output}", "true")
    (toy.folder / "Snakefile").write_text(silent)
    head = toy.start("--latency-wait", "1", names="a")
    assert head.wait() != 0
    assert "one a failed: job" in head.text()


def test_a_killed_job_has_failed_and_leaves_no_process(toy: Toy) -> None:
    head = toy.start(names="a", command="sleep 60")
    toy.wait_for_starts(1)
    (attempt,) = next(iter(toy.journal.submissions.values()))
    state = TaskState.read(attempt.state_file)
    assert state is not None
    os.kill(state.pid, signal.SIGKILL)
    assert head.wait(30) != 0
    assert "one a failed: job" in head.text()
    wait_until(lambda: processes_of(toy.folder) == [], 5)


def test_a_missing_input_is_named(toy: Toy) -> None:
    # As on a node that does not have the data: there for the head, gone for the job.
    (toy.folder / "Snakefile").write_text(
        'rule one:\n  input: "data.txt"\n  output: "out.txt"\n  shell: "cp {input} {output}"\n'
    )
    (toy.folder / "data.txt").touch()
    head = toy.start("--latency-wait", "1")
    wait_until(lambda: toy.ids, 30)
    (toy.folder / "data.txt").unlink()
    assert head.wait(60) != 0
    assert "input data.txt is not there on " in head.text()


def test_debug_runs_in_process(tmp_path: Path) -> None:
    toy = Toy(tmp_path / "toy", "debug")
    toy.run()
    assert toy.made == toy.starts == NAMES
    head = toy.start("--forceall", command="test {wildcards.name} != b")
    assert head.wait() != 0
    assert "one b failed: job DEBUG_" in head.text()
    assert toy.made == ["a"]


def test_ctrl_c_ends_debug(tmp_path: Path) -> None:
    toy = Toy(tmp_path / "toy", "debug")
    head = toy.start(command="sleep 100")
    toy.wait_for_starts(1)
    code, seconds = head.interrupt()
    assert code != 0
    assert seconds < 5
    wait_until(lambda: processes_of(toy.folder) == [], 5)
