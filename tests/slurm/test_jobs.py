"""Toy jobs on a real SLURM: submitted once, watched, cancelled, found again, and what fails."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import pytest
from toy import Toy, submitted_ids, wait_until

from slurm.cluster import Cluster

pytestmark = pytest.mark.slurm
NAMES = ["a", "b"]


def jobs_of_slurm(slurm: Cluster) -> list[str]:
    """Ids of all jobs that SLURM has now, waiting or running."""
    answer = slurm.run("squeue", "--noheader", "--array", "--format=%i", "--states=PD,R,CG,CF")
    return answer.split()


def events(toy: Toy) -> list[dict[str, object]]:
    """The journal's lines."""
    lines = (toy.folder / ".snakemake/submitit/jobs.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_jobs_run(toy: Toy) -> None:
    said = toy.run(resources="{gpu: 1}")
    assert toy.made == toy.starts == NAMES
    assert {line.split()[1] for line in (toy.folder / "starts").open()} <= {"0", "1"}
    assert [job_id.split("_")[1] for job_id in submitted_ids(said)] == ["0", "1"]


def test_ready_jobs_go_out_as_one_array_at_once(toy: Toy, slurm: Cluster) -> None:
    names = " ".join(f"n{number}" for number in range(200))
    began = time.time()
    head = toy.start(names=names)
    wait_until(lambda: len(toy.ids) == 200, 30)
    sent = [event for event in events(toy) if event["event"] == "sent"]
    assert len(sent) == 1
    # 1.5 s on an idle machine (benchmarks/submission.py); other tests may run beside this one.
    assert float(str(sent[0]["at"])) - began < 6.0
    head.send(signal.SIGINT)
    assert head.wait(30) != 0
    wait_until(lambda: jobs_of_slurm(slurm) == [], 30)


def test_unequal_jobs_go_out_apart_and_ask_for_what_they_need(toy: Toy, slurm: Cluster) -> None:
    (toy.folder / "Snakefile").write_text(
        toy.snakefile.replace(
            "mem_mb=500", "mem_mb=lambda wildcards: 500 if wildcards.name == 'a' else 600"
        )
    )
    head = toy.start(command="sleep 30", resources="{gpu: 1, slurm_partition: urgent}", threads=2)
    toy.wait_for_starts(2)
    assert len({job_id.split("_")[0] for job_id in toy.ids}) == 2
    answer = slurm.run("squeue", "--noheader", "--format=%P %m %c %b %l")
    assert sorted(set(answer.split("\n")[:-1])) == [
        "urgent 500M 2 gres:gpu:1 5:00",
        "urgent 600M 2 gres:gpu:1 5:00",
    ]
    head.send(signal.SIGINT)
    head.wait(30)


def test_ctrl_c_cancels_within_seconds(toy: Toy, slurm: Cluster) -> None:
    head = toy.start(names="a b c d e", command="sleep 100", threads=2)
    toy.wait_for_starts(4)  # one waits
    code, seconds = head.interrupt()
    assert code != 0
    assert seconds < 5
    wait_until(lambda: jobs_of_slurm(slurm) == [], 15)
    assert toy.run(names="a b").count("Submitted") == 2


def test_a_second_ctrl_c_exits_at_once(toy: Toy, slurm: Cluster) -> None:
    head = toy.start(command="sleep 100")
    toy.wait_for_starts(2)
    slurm.stop_controller()  # scancel hangs now
    try:
        head.send(signal.SIGINT)
        wait_until(lambda: "Cancelling 2 jobs" in head.text(), 20)
        code, seconds = head.interrupt()
        assert code == 130
        assert seconds < 1.5
    finally:
        slurm.start_controller()


def test_detaching_leaves_the_jobs(toy: Toy) -> None:
    head = toy.start(command="sleep 8")
    toy.wait_for_starts(2)
    head.send(signal.SIGQUIT)
    assert head.wait(10) == 131
    assert "Submitted" not in toy.run(command="sleep 8")
    assert toy.starts == toy.made == NAMES


def test_a_killed_head_with_jobs_pending_running_and_done(toy: Toy) -> None:
    names = [f"n{number:02}" for number in range(18)]
    options = {"names": " ".join(names), "command": "sleep 3"}
    head = toy.start(**options)
    wait_until(lambda: len(toy.made) >= 4)
    head.kill()
    assert 0 < len(toy.starts) < len(names)
    wait_until(lambda: len(toy.made) >= 9)  # Some end while nobody looks.
    said = toy.run(**options)
    assert "Submitted" not in said
    assert toy.starts == toy.made == names


def test_a_head_killed_while_it_submits(toy: Toy) -> None:
    # Killed at moments around sbatch: before, within, after it, before the answer is written down.
    for moment in (1.0, 1.2, 1.35, 1.5, 1.7):
        head = toy.start(command="sleep 4")
        time.sleep(moment)
        head.kill()
    toy.run(command="sleep 4")
    assert toy.starts == toy.made == NAMES


def test_an_array_whose_answer_was_lost_is_found_again(toy: Toy) -> None:
    head = toy.start(command="sleep 6")
    toy.wait_for_starts(1)
    head.kill()
    # As if killed between SLURM's yes and writing it down, half of the pickles still to be named.
    journal = toy.folder / ".snakemake/submitit/jobs.jsonl"
    lines = journal.read_text().splitlines(keepends=True)
    assert [json.loads(line)["event"] for line in lines] == ["sending", "sent"]
    journal.write_text(lines[0] + lines[1][:20])
    said = toy.run(command="sleep 6")
    assert "Submitted" not in said
    assert toy.starts == toy.made == NAMES


def test_a_controller_away_while_submitting_delays_and_doubles_nothing(
    toy: Toy, slurm: Cluster
) -> None:
    slurm.stop_controller()
    try:
        head = toy.start()
        wait_until(lambda: "Not accepted now" in head.text(), 60)
    finally:
        slurm.start_controller()
    assert head.wait(120) == 0
    assert toy.starts == toy.made == NAMES
    assert len(submitted_ids(head.text())) == 2


def test_a_controller_away_while_running(toy: Toy, slurm: Cluster) -> None:
    head = toy.start(command="sleep 10")
    toy.wait_for_starts(2)
    slurm.stop_controller()
    try:
        time.sleep(25)
    finally:
        slurm.start_controller()
    assert head.wait(60) == 0
    assert toy.starts == toy.made == NAMES


def test_accounting_that_goes_away_and_a_limit_of_jobs(
    slurm_with_accounting: Cluster, tmp_path: Path
) -> None:
    slurm = slurm_with_accounting
    toy = Toy(tmp_path / "toy", "slurm", slurm.environment)
    names = " ".join(f"n{number}" for number in range(44))  # more than the 40 that are allowed
    head = toy.start(names=names, command="sleep 1")
    toy.wait_for_starts(8)
    assert "AssocMaxSubmitJobLimit" in head.text()
    slurm.stop_accounting()
    assert head.wait(200) == 0
    assert len(toy.made) == len(toy.starts) == 44


def test_success_is_not_what_slurm_says(toy: Toy) -> None:
    # A job that ends well for SLURM without having run to its end: its result is missing.
    head = toy.start(names="a", command="kill -9 $(ps -o ppid= -p $(ps -o ppid= -p $PPID))")
    assert head.wait() != 0
    assert toy.made == []


@pytest.mark.parametrize(
    ("resources", "words"),
    [
        ("{slurm_partition: nope}", "invalid partition specified: nope"),
        ("{constraint: a100}", "Invalid feature specification"),
        ("{gpu: 9}", "Requested node configuration is not available"),
        ("{gpu: lots}", "gpu = 'lots': must be a whole number"),
        ("{slurm_extra: exclusive}", "must be written --option=value or --option"),
    ],
)
def test_what_sbatch_refuses_is_said_at_once(toy: Toy, resources: str, words: str) -> None:
    began = time.monotonic()
    head = toy.start(resources=resources)
    assert head.wait() != 0
    assert time.monotonic() - began < 15
    assert words in head.text()
    assert toy.ids == toy.starts == []


@pytest.mark.parametrize(
    ("resources", "reason"),
    [("{cpus_per_task: 9}", "PartitionConfig"), ("{slurm_partition: short}", "PartitionTimeLimit")],
)
def test_a_job_that_can_never_start_is_given_up(
    toy: Toy, slurm: Cluster, resources: str, reason: str
) -> None:
    head = toy.start("--submitit-pending-patience", "3", names="a", resources=resources)
    assert head.wait(60) != 0
    assert f"it can never start: SLURM says {reason}" in head.text()
    assert jobs_of_slurm(slurm) == []


@pytest.mark.parametrize(
    ("command", "cause"),
    [
        ("exit 3", "its command exited with 1"),
        ("no-such-command", "its command exited with 1"),
        (
            "python3 -c 'x = bytes([1]) * 900_000_000; import time; time.sleep(30)'",
            "out of memory",
        ),
    ],
)
def test_a_failure_names_job_node_log_and_cause(toy: Toy, command: str, cause: str) -> None:
    broken = f"test {{wildcards.name}} != b || {{{{ {command}; }}}}"
    head = toy.start(command=broken)
    assert head.wait(90) != 0
    said = head.text()
    assert toy.made == ["a"]
    (job,) = [a for some in toy.journal.submissions.values() for a in some if a.outcome == "failed"]
    assert f"one b failed: job {job.id} on n" in said
    assert cause in said
    assert f"job log: {job.job.log}" in said
    assert cause in (toy.folder / "logs/b.log").read_text().splitlines()[-1]


def test_scancel_by_hand_is_a_failure_of_that_job(toy: Toy, slurm: Cluster) -> None:
    head = toy.start(command="sleep 8")
    toy.wait_for_starts(2)
    slurm.run("scancel", toy.ids[1])
    assert head.wait() != 0
    assert len(toy.made) == 1
    assert "it was cancelled" in head.text()


def test_a_program_that_ignores_the_signal_may_end_in_time(toy: Toy, slurm: Cluster) -> None:
    head = toy.start("--submitit-grace", "5", names="a", command="sleep 10")
    toy.wait_for_starts(1)
    slurm.run("scancel", "--signal=USR2", toy.ids[0])  # what SLURM sends near a time limit
    assert head.wait(90) == 0
    assert toy.starts == ["a"]


def test_a_program_that_ignores_time_limits_is_stopped(toy: Toy) -> None:
    (toy.folder / "Snakefile").write_text(toy.snakefile.replace("runtime=5", "runtime=1"))
    options = ("--submitit-grace", "20", "--submitit-restarts", "0")
    head = toy.start(*options, names="a", command="sleep 200")
    assert head.wait(150) != 0
    assert "ran into its time limit 1 times" in head.text()
    (attempt,) = next(iter(toy.journal.submissions.values()))
    assert "not saved in time; stopped" in Path(attempt.job.log).read_text()


def test_restarts_are_bounded(toy: Toy, slurm: Cluster) -> None:
    (toy.folder / "Snakefile").write_text(toy.snakefile.replace("runtime=5", "runtime=1"))
    (toy.folder / "train.py").write_text(
        "import signal, sys, time\n"
        "signal.signal(signal.SIGUSR2, lambda *_: sys.exit(9))\n"
        "time.sleep(100)\n"
    )
    head = toy.start("--submitit-restarts", "1", names="a", command="python3 train.py")
    for start in (1, 2):
        toy.wait_for_starts(start)
        time.sleep(1)
        slurm.run("scancel", "--signal=USR2", toy.ids[0])
    assert head.wait(60) != 0
    assert "ran into its time limit 2 times" in head.text()
    assert toy.starts == ["a", "a"]


def test_a_held_job_is_waited_for(toy: Toy, slurm: Cluster) -> None:
    head = toy.start("--submitit-pending-patience", "1", names="a b c d e", threads=2)
    wait_until(lambda: toy.ids, 30)
    slurm.run("scontrol", "hold", toy.ids[4])
    wait_until(lambda: "scontrol release" in head.text(), 30)
    slurm.run("scontrol", "release", toy.ids[4])
    assert head.wait(60) == 0
    assert len(toy.made) == 5
