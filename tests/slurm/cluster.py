"""A real SLURM of two nodes on this one machine, up within seconds, for the tests and by hand.

What SLURM does when a job is preempted, a node dies or a daemon goes away is the very thing to
test, and a mock would only repeat what its author believes of it. Everything is private to one
folder: an own munge key and socket, own ports, an own database; other daemons of the machine are
left alone.

    python -m tests.slurm.cluster up FOLDER [--accounting]    prints `export SLURM_CONF=...`
    python -m tests.slurm.cluster down FOLDER

Needs root and Debian's packages slurm-wlm and munge; with accounting also slurmdbd and
mariadb-server.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import random
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile

NODES = ("n1", "n2")
CPUS = 4
MEGABYTES = 8000
GPUS = 2
PARTS = ("munge", "database", "accounting", "controller", *NODES)

NAME = "test"
ACCOUNT = "test"

COMMANDS = {
    "munged": "munge",
    "sbatch": "slurm-wlm",
    "slurmctld": "slurm-wlm",
    "slurmd": "slurm-wlm",
}
ACCOUNTING_COMMANDS = {
    "mariadb-install-db": "mariadb-server",
    "mariadbd": "mariadb-server",
    "slurmdbd": "slurmdbd",
}

# The daemons are not in every user's PATH.
PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin"])


class ClusterError(Exception):
    """SLURM, or a command of it, did not do what it should."""


def unavailable(accounting: bool = False) -> str | None:
    """Why no SLURM can be brought up here, or None if one can."""
    commands = COMMANDS | (ACCOUNTING_COMMANDS if accounting else {})
    missing = {package for name, package in commands.items() if not shutil.which(name, path=PATH)}
    if missing:
        return f"packages missing: {', '.join(sorted(missing))}"
    if os.geteuid() != 0:
        return "not root"
    if not Path("/proc/self/environ").exists():
        return "no /proc"
    return None


@dataclass(frozen=True)
class Cluster:
    """The cluster that lives in `folder`, running or not.

    Each part (munge, controller, n1, ...) has a folder of its own with a link to slurm.conf, and
    runs with SLURM_CONF set to that link. slurmd hands the variable down to its jobs, so a
    process's environment tells to which part it belongs: a job that left its session is found too,
    and a process id that went to somebody else's process is never signalled.
    """

    folder: Path

    def __post_init__(self) -> None:
        object.__setattr__(self, "folder", self.folder.resolve())

    @classmethod
    def start(
        cls,
        folder: Path,
        accounting: bool = False,
        *,
        grace_time: int = 15,
        requeue_delay: int = 10,
        kill_over_memory: bool = False,
        max_submit_jobs: int | None = None,
        **settings: str,
    ) -> Cluster:
        """Bring a cluster up in `folder` and wait until both nodes are up.

        A folder that held a cluster before goes on with its jobs' ids, so that none is given twice.

        Args:
            folder: Where configuration, state and logs go.
            accounting: Also run slurmdbd and its database; without, `sacct` is disabled.
            grace_time: Seconds that a preempted job of partition gpu has after SIGTERM.
            requeue_delay: Seconds that a requeued job waits before it may start again. It is the
                lifetime of a job's credential too, so a busy machine needs a few.
            kill_over_memory: Kill a job step that uses more memory than it asked for.
            max_submit_jobs: Jobs that the user may have submitted at a time; needs `accounting`.
            settings: Further parameters of slurm.conf, or other values for those set here.
        """
        if max_submit_jobs is not None and not accounting:
            raise ValueError("max_submit_jobs needs accounting")
        if reason := unavailable(accounting):
            raise ClusterError(f"no SLURM can be brought up here: {reason}")
        cluster = cls(folder)
        if cluster.running:
            raise ClusterError(f"a cluster is already running in {cluster.folder}")
        try:
            cluster._configure(accounting, grace_time, requeue_delay, kill_over_memory, settings)
            cluster._start_munge()
            if accounting:
                cluster._start_database()
                cluster.start_accounting()
                cluster._register(max_submit_jobs)
            cluster.start_controller()
            for node in NODES:
                cluster._start_slurmd(node)
            _wait_until(lambda: all(map(cluster.node_is_up, NODES)), "both nodes to be up")
        except BaseException as error:
            error.add_note(f"the logs are in {cluster.folder}")
            cluster.stop()
            raise
        return cluster

    def stop(self) -> None:
        """Bring everything down, jobs included; nothing to do is fine."""
        if self._processes("controller"):
            with contextlib.suppress(ClusterError):  # or they would go on after the next start
                self.run("scancel", "--user=root")
        self.stop_controller()  # before the nodes, whose end it would take for a failure
        for node in NODES:
            self.kill_node(node)
        self.stop_accounting()
        self._end("database")
        self._end("munge")
        self._link.unlink(missing_ok=True)

    @property
    def environment(self) -> dict[str, str]:
        """What a command needs in its environment to speak to this cluster."""
        return {"SLURM_CONF": str(self.folder / "slurm.conf")}

    @property
    def running(self) -> bool:
        """Whether any part of the cluster runs."""
        return any(map(self._processes, PARTS))

    def run(self, *command: str) -> str:
        """What a command such as `scontrol` prints; its complaint is raised."""
        return self._run(command, self.environment)

    def node_states(self) -> dict[str, str]:
        """As sinfo says it, say idle, mixed or down*."""
        lines = self.run("sinfo", "--noheader", "--Node", "--format=%N %T").splitlines()
        return {node: state for line in lines for node, state in [line.split()]}

    def node_is_up(self, node: str) -> bool:
        """As far as the controller knows, which takes a while to miss one."""
        return self.node_states()[node] in ("idle", "mixed", "allocated")

    def stop_controller(self) -> None:
        """End slurmctld; jobs run on, and commands cannot contact the controller."""
        self._end("controller")

    def start_controller(self) -> None:
        """Start slurmctld where it left off, and wait until it answers."""
        self._run_in("controller", "slurmctld", "-f", self._configuration_of("controller"))
        _wait_until(lambda: " UP" in self.run("scontrol", "ping"), "slurmctld")

    def kill_node(self, node: str) -> None:
        """Kill slurmd and all processes of the node's jobs at once, as when its power fails."""
        self._end(node, signal.SIGKILL)

    def start_node(self, node: str) -> None:
        """Start slurmd, and wait until the controller takes the node for up.

        A job younger than about 20 s that was killed with the node is not missed if the controller
        has not yet found the node down: SLURM then takes it for one that is still starting.
        """
        self._start_slurmd(node)
        _wait_until(lambda: self.node_is_up(node), f"{node} to be up")

    def stop_accounting(self) -> None:
        """End slurmdbd; slurmctld keeps for it what happens meanwhile, and `sacct` fails."""
        self._end("accounting")

    def start_accounting(self) -> None:
        """Start slurmdbd and wait until it answers."""
        self._run_in("accounting", "slurmdbd")
        port = int(_settings_of(self.folder / "accounting/slurmdbd.conf")["DbdPort"])
        _wait_until(lambda: _connects(("127.0.0.1", port)), "slurmdbd")

    @property
    def _link(self) -> Path:
        """A short way to the folder: a unix socket's path has at most 107 bytes.

        Nor does slurm.conf take a path with a space.
        """
        return Path("/run/slurm-" + hashlib.sha256(os.fsencode(self.folder)).hexdigest()[:8])

    def _configure(
        self,
        accounting: bool,
        grace_time: int,
        requeue_delay: int,
        kill_over_memory: bool,
        settings: dict[str, str],
    ) -> None:
        for part in PARTS:
            (self.folder / part).mkdir(parents=True, exist_ok=True)
            _link_to(self.folder / part / "slurm.conf", Path("../slurm.conf"))
            _link_to(self.folder / part / "gres.conf", Path("../gres.conf"))
        _link_to(self._link, self.folder)

        controller_port, accounting_port, *node_ports = _free_ports(2 + len(NODES))
        host = socket.gethostname().split(".")[0]
        munge = f"socket={self._link}/munge/socket"
        # A GPU's file must lead to a device, any will do; a job sees its number.
        gpus = []
        for node in NODES:
            for gpu in range(GPUS):
                _link_to(self.folder / node / f"gpu{gpu}", Path(os.devnull))
            gpus.append(f"NodeName={node} Name=gpu File={self._link / node}/gpu[0-{GPUS - 1}]")
        _write(self.folder / "gres.conf", gpus)

        values = {
            "ClusterName": NAME,
            "SlurmctldHost": f"{host}(127.0.0.1)",
            "SlurmctldPort": str(controller_port),
            "SlurmUser": "root",
            "AuthType": "auth/munge",
            "AuthInfo": f"{munge},cred_expire={requeue_delay}",
            "StateSaveLocation": f"{self._link}/controller/state",
            "SlurmctldPidFile": f"{self._link}/controller/pid",
            "SlurmctldLogFile": f"{self._link}/controller/log",
            "SlurmdSpoolDir": f"{self._link}/%n/spool",
            "SlurmdPidFile": f"{self._link}/%n/pid",
            "SlurmdLogFile": f"{self._link}/%n/log",
            "SlurmdParameters": "config_overrides",  # more CPUs than there are
            "ProctrackType": "proctrack/linuxproc",
            "TaskPlugin": "task/none",
            "MpiDefault": "none",
            "SelectType": "select/cons_tres",
            "SelectTypeParameters": "CR_Core_Memory",
            "DefMemPerCPU": "500",  # else a job takes all of the node's
            "GresTypes": "gpu",
            "JobAcctGatherType": "jobacct_gather/linux",
            "JobAcctGatherFrequency": "task=1",
            "PreemptType": "preempt/partition_prio",
            "PreemptMode": "REQUEUE",
            "JobRequeue": "1",
            "KillWait": "10",
            "MinJobAge": "300",
            "MaxArraySize": "1001",
            "SlurmdTimeout": "20",
            "ReturnToService": "2",
            "SchedulerParameters": "sched_interval=1,bf_interval=1,batch_sched_delay=0,"
            "sched_min_interval=100000",
        }
        if kill_over_memory:
            values["JobAcctGatherParams"] = "OverMemoryKill"
        if accounting:
            values |= {
                "AccountingStorageType": "accounting_storage/slurmdbd",
                "AccountingStorageHost": "127.0.0.1",
                "AccountingStoragePort": str(accounting_port),
                "AccountingStoragePass": munge,
                "AccountingStorageEnforce": "associations,limits",
                "AccountingStorageTRES": "gres/gpu",
            }
        nodes = [
            f"NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={CPUS} "
            f"RealMemory={MEGABYTES} Gres=gpu:{GPUS}"
            for node, port in zip(NODES, node_ports, strict=True)
        ]
        partitions = [
            f"PartitionName=gpu Nodes=ALL Default=YES PriorityTier=1 GraceTime={grace_time}",
            "PartitionName=short Nodes=ALL PriorityTier=1 PreemptMode=OFF MaxTime=1",
            "PartitionName=urgent Nodes=ALL PriorityTier=10 PreemptMode=OFF",
        ]
        values |= settings
        lines = [f"{name}={value}" for name, value in values.items()]
        _write(self.folder / "slurm.conf", [*lines, *nodes, *partitions])

        values = {
            "DbdHost": host,
            "DbdAddr": "127.0.0.1",
            "DbdPort": str(accounting_port),
            "SlurmUser": "root",
            "AuthType": "auth/munge",
            "AuthInfo": munge,
            "PidFile": f"{self._link}/accounting/pid",
            "LogFile": f"{self._link}/accounting/log",
            "StorageType": "accounting_storage/mysql",
            "StorageHost": "localhost",
            "StorageUser": "root",
            "StorageLoc": "slurm",
        }
        lines = [f"{name}={value}" for name, value in values.items()]
        _write(self.folder / "accounting/slurmdbd.conf", lines, mode=0o600)

    def _start_munge(self) -> None:
        folder = self._link / "munge"
        key = folder / "key"
        if not key.exists():
            key.touch(mode=0o600)
            key.write_bytes(secrets.token_bytes(128))
        # --force: it minds who may write to the folders above, which is a test's least worry.
        self._run_in(
            "munge",
            "munged",
            "--force",
            f"--key-file={key}",
            f"--socket={folder}/socket",
            f"--pid-file={folder}/pid",
            f"--log-file={folder}/log",
            f"--seed-file={folder}/seed",
        )

    def _start_database(self) -> None:
        folder = self._link / "database"
        options = [
            "--no-defaults",
            "--user=root",
            f"--datadir={folder}/data",
            "--innodb-buffer-pool-size=32M",
            "--innodb-log-file-size=8M",
            "--innodb-flush-method=nosync",
        ]
        if not (folder / "data").exists():
            self._run_in("database", "mariadb-install-db", "--skip-test-db", *options)
        # It does not go into the background by itself.
        self._run_in(
            "database",
            "setsid",
            "--fork",
            "mariadbd",
            *options,
            "--skip-networking",
            f"--socket={folder}/socket",
            f"--pid-file={folder}/pid",
            f"--log-error={folder}/log",
        )
        _wait_until(lambda: _connects(f"{folder}/socket"), "mariadbd")

    def _register(self, max_submit_jobs: int | None) -> None:
        sacctmgr = ["sacctmgr", "--immediate", "--quiet"]
        if not self.run("sacctmgr", "--noheader", "list", "cluster", NAME):
            self.run(*sacctmgr, "add", "cluster", NAME)
            self.run(*sacctmgr, "add", "account", ACCOUNT)
            self.run(*sacctmgr, "add", "user", "root", f"account={ACCOUNT}")
        limit = -1 if max_submit_jobs is None else max_submit_jobs
        self.run(*sacctmgr, "modify", "user", "root", "set", f"MaxSubmitJobs={limit}")

    def _start_slurmd(self, node: str) -> None:
        self._run_in(node, "slurmd", "-f", self._configuration_of(node), "-N", node)

    def _run_in(self, part: str, *command: str) -> None:
        database = f"{self._link}/database/socket"
        self._run(
            command, {"SLURM_CONF": self._configuration_of(part), "MYSQL_UNIX_PORT": database}
        )

    def _configuration_of(self, part: str) -> str:
        return f"{self._link}/{part}/slurm.conf"

    def _run(self, command: Sequence[str], environment: dict[str, str]) -> str:
        """Without this process's own SLURM variables, should it be a job of some other SLURM.

        Output goes to files: a daemon that keeps a pipe open would be waited for.
        """
        others = {name: value for name, value in os.environ.items() if not name.startswith("SLURM")}
        with TemporaryFile("w+") as output, TemporaryFile("w+") as errors:
            process = subprocess.run(
                command,
                env=others | {"PATH": PATH} | environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
            )
            output.seek(0)
            errors.seek(0)
            if process.returncode:
                what = f"{shlex.join(command)} ended with {process.returncode}"
                raise ClusterError(f"{what}: {errors.read()}{output.read()}".strip())
            return output.read()

    def _processes(self, part: str) -> list[int]:
        """A process that has ended but is not yet waited for has no environment any more."""
        mark = os.fsencode(f"SLURM_CONF={self._configuration_of(part)}")
        found = []
        for path in Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError):
                if mark in path.read_bytes().split(b"\0"):
                    found.append(int(path.parent.name))
        return found

    def _end(self, part: str, number: signal.Signals = signal.SIGTERM) -> None:
        """Signal the part's processes until none is left, with SIGKILL if they take long."""
        start = time.monotonic()
        asked: set[int] = set()
        while processes := self._processes(part):
            waited = time.monotonic() - start
            if waited > 20:
                raise ClusterError(f"{part} is still running: {processes}")
            if waited > 10:
                number = signal.SIGKILL
            for process in processes:
                if number == signal.SIGKILL or process not in asked:
                    asked.add(process)
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(process, number)
            time.sleep(0.02)


def _wait_until(condition: Callable[[], bool], what: str, seconds: float = 30) -> None:
    """Wait for `condition`; that a command fails only means that it is too early."""
    deadline = time.monotonic() + seconds
    reason = ""
    while time.monotonic() < deadline:
        try:
            if condition():
                return
            reason = ""
        except ClusterError as error:
            reason = f": {error}"
        time.sleep(0.05)
    raise ClusterError(f"waited {seconds:g} s in vain for {what}{reason}")


def _connects(address: str | tuple[str, int]) -> bool:
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    with socket.socket(family) as client:
        return client.connect_ex(address) == 0


def _free_ports(number: int) -> list[int]:
    """Below the ports given to outgoing connections, which could take a stopped daemon's port."""
    ports: list[int] = []
    while len(ports) < number:
        port = random.randrange(10000, 30000)
        with socket.socket() as server, contextlib.suppress(OSError):
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            server.bind(("", port))
            if port not in ports:
                ports.append(port)
    return ports


def _settings_of(path: Path) -> dict[str, str]:
    return dict(line.split("=", 1) for line in path.read_text().splitlines())


def _write(path: Path, lines: list[str], mode: int = 0o644) -> None:
    path.touch(mode)
    path.write_text("".join(f"{line}\n" for line in lines))


def _link_to(path: Path, target: Path) -> None:
    """Not replacing another's link, in a place that all share."""
    try:
        path.symlink_to(target)
    except FileExistsError:
        if not path.is_symlink() or path.readlink() != target:
            raise


def main() -> int:
    """Bring a cluster up or down by hand."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.slurm.cluster", description="A real SLURM of two nodes, for trying."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="start it and print what to evaluate in a shell")
    up.add_argument("folder", type=Path)
    up.add_argument("--accounting", action="store_true", help="with slurmdbd, so that sacct works")
    down = commands.add_parser("down", help="stop it, jobs included")
    down.add_argument("folder", type=Path)
    arguments = parser.parse_args()

    cluster = Cluster(arguments.folder)
    if arguments.command == "down":
        cluster.stop()
        return 0
    if cluster.running:
        print(f"already running in {cluster.folder}", file=sys.stderr)
    else:
        try:
            Cluster.start(arguments.folder, arguments.accounting)
        except ClusterError as error:
            print(error, *getattr(error, "__notes__", []), sep="\n", file=sys.stderr)
            return 1
    for name, value in cluster.environment.items():
        print(f"export {name}={shlex.quote(value)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
