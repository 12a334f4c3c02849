"""A real Slurm on this machine: one controller, and a daemon for each of five virtual nodes in four partitions.

Queueing, placement, refusals, time limits, cancelling, lost nodes are Slurm's own. Not real: every node is this host,
CPUs and memory are as declared (a step over its memory is killed, looked at every two seconds), GPUs are /dev/null.
"""

import contextlib
import getpass
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

PACKAGES = ("slurmctld", "slurmd", "slurm-client", "munge")
SYSTEM = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
COMMANDS = ("sbatch", "scancel", "scontrol", "sinfo", "squeue", "srun", "sacct")

# Node -> partition (and feature), CPUs, megabytes, type and number of its GPUs: what workflow/profiles/slurm names.
NODES = {
    "edge1": ("edge", 4, 8_000, "orin", 1),
    "edge2": ("edge", 4, 8_000, "orin", 1),
    "client1": ("client", 8, 32_000, "rtx3080ti", 2),
    "gateway1": ("gateway", 8, 64_000, "a10", 2),
    "central1": ("central", 16, 128_000, "a100", 4),
}

# No cgroups, so that it runs in containers too; memory is sampled and enforced by Slurm itself. No accounting database:
# finished jobs stay with the controller for a day.
CONFIGURATION = """\
ClusterName=tiers
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
MailProg=/bin/true
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/%n.log
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
GresTypes=gpu
DefMemPerCPU=500
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=2
JobAcctGatherParams=OverMemoryKill,UsePss
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
MinJobAge=86400
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=2,bf_interval=2
EnforcePartLimits=ALL
ReturnToService=1
SlurmdTimeout=20
KillWait=2
CompleteWait=0
InactiveLimit=0
"""


def install() -> str | None:
    """Install Slurm from the distribution where root may; return why there is none, None if there is one."""
    if _installed():
        return None
    if os.geteuid() != 0:
        return f"Slurm is not installed, and only root may: apt-get install {' '.join(PACKAGES)}"
    if not shutil.which("apt-get"):
        return "Slurm is not installed, and there is no apt-get"
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    get = ["apt-get", "install", "-q", "-y", "--no-install-recommends", *PACKAGES]
    for command in (get, ["apt-get", "update", "-q"], get):
        answer = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if _installed():
            return None
    return f"Slurm could not be installed: {(answer.stderr.strip() or answer.stdout.strip()).splitlines()[-1]}"


def _installed() -> bool:
    return all(shutil.which(name, path=SYSTEM) for name in ("slurmctld", "slurmd", "sbatch", "munged"))


class Slurm:
    """A cluster with all its files in one folder; `with Slurm(folder) as slurm` starts and ends it.

    Attributes:
        environment: what a process needs to talk to it. The commands know their cluster by themselves, because the
            plugin takes the variable away from what it starts inside a job.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        assert len(str(self.folder)) < 85, "too long a path for the socket of munge"
        self._configuration = self.folder / "slurm.conf"
        self._daemon = {**os.environ, "PATH": SYSTEM, "SLURM_CONF": str(self._configuration)}
        self.environment = {
            **os.environ,
            "SLURM_CONF": str(self._configuration),
            "PATH": f"{self.folder}/bin:{os.environ['PATH']}",
        }

    def __enter__(self) -> "Slurm":
        self._configure()
        try:
            self._start("munged", "--force", f"--key-file={self.folder}/munge.key",
                        f"--socket={self.folder}/munge.socket", f"--pid-file={self.folder}/munged.pid",
                        f"--log-file={self.folder}/munged.log", f"--seed-file={self.folder}/munge.seed",
                        "--num-threads=2")  # fmt: skip
            self._start("slurmctld")
            for node in NODES:
                self._start("slurmd", "-N", node)
            self.wait(lambda: all(self.state(node) == "IDLE" for node in NODES), 60, "all nodes idle")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """End jobs, then daemons, then what jobs left behind: only processes that carry this cluster's variable."""
        if self._pid("slurmctld"):
            with contextlib.suppress(AssertionError, subprocess.SubprocessError):
                if jobs := self.jobs("PENDING,RUNNING"):
                    self.command("scancel", *jobs)
                self.wait(lambda: not self.jobs("RUNNING,COMPLETING"), 10, "no job left")
        for name in (*NODES, "slurmctld", "munged"):
            self._end(name)
        for pid in _processes():
            if self._ours(pid) and (
                _name(pid) == "slurmstepd" or any(each.startswith("SLURMD_NODENAME=") for each in _environment(pid))
            ):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    # --- what there is ---

    def command(self, *arguments: str) -> str:
        """Return what a command of Slurm prints."""
        answer = subprocess.run(arguments, env=self.environment, capture_output=True, text=True, check=False)
        assert answer.returncode == 0, f"{arguments}: {answer.stderr}"
        return answer.stdout

    def jobs(self, states: str = "all") -> list[str]:
        """Return the ids of the jobs in these states, oldest first."""
        return sorted(self.command("squeue", "-h", "-t", states, "-o", "%A").split(), key=int)

    def job(self, number: str) -> dict[str, str]:
        """Return what `scontrol show job` says."""
        return _fields(self.command("scontrol", "show", "job", "-d", number))

    def all_jobs(self) -> list[dict[str, str]]:
        """Return the same of every job, oldest first."""
        text = self.command("scontrol", "show", "job", "-d")
        return sorted(
            (_fields(part) for part in text.split("\n\n") if "JobId=" in part), key=lambda job: int(job["JobId"])
        )

    def state(self, node: str) -> str:
        """Return a node's state without the flags behind it."""
        return _fields(self.command("scontrol", "show", "node", node))["State"]

    def wait(self, condition, seconds: float, what: str) -> None:
        """Wait until something is so."""
        end = time.monotonic() + seconds
        while True:
            with contextlib.suppress(AssertionError):  # the controller may not answer yet
                if condition():
                    return
            assert time.monotonic() < end, f"not within {seconds} s: {what}"
            time.sleep(0.2)

    # --- what can go wrong ---

    def drain(self, node: str) -> None:
        """Take a node out of service; its jobs go on to their ends."""
        self.command("scontrol", "update", f"nodename={node}", "state=drain", "reason=test")

    def kill(self, node: str) -> None:
        """Kill a node, as when its power fails: its daemon, then what watches its jobs, then the jobs."""
        os.kill(self._pid(node), signal.SIGKILL)
        jobs = [pid for pid in _processes() if f"SLURMD_NODENAME={node}" in _environment(pid) and self._ours(pid)]
        watching = {parent for parent in map(_parent, jobs) if _name(parent) == "slurmstepd"}
        for pid in [*watching, *jobs]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def freeze(self, job: str) -> None:
        """Stop the processes of a job where they are, as a dead file server would."""
        stopped = set[int]()

        def none_is_left() -> bool:
            # A job is RUNNING before it has a process, and a process may fork before it is stopped.
            found = {
                pid
                for pid in _processes()
                if f"SLURM_JOB_ID={job}" in _environment(pid) and self._ours(pid) and _name(pid) != "slurmstepd"
            }
            for pid in found - stopped:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGSTOP)
            fresh = found - stopped
            stopped.update(found)
            return bool(stopped) and not fresh

        self.wait(none_is_left, 30, f"the processes of job {job}")

    def resume(self, node: str) -> None:
        """Bring a node back."""
        if not self._pid(node):
            self._start("slurmd", "-N", node)

        def is_back() -> bool:
            if self.state(node) in ("IDLE", "MIXED", "ALLOCATED"):
                return True
            # Refused where the node has come back by itself in between; then the next look says so.
            self.command("scontrol", "update", f"nodename={node}", "state=resume")
            return False

        self.wait(is_back, 30, f"{node} back")

    # --- daemons ---

    def _configure(self) -> None:
        for name in ("bin", "state", "spool", "dev"):
            (self.folder / name).mkdir(parents=True)
        self.folder.chmod(0o755)
        key = self.folder / "munge.key"
        key.touch(mode=0o600)
        key.write_bytes(secrets.token_bytes(1024))
        ports = _free_ports(1 + len(NODES))
        host = socket.gethostname().split(".")[0]
        lines = [CONFIGURATION.format(host=host, port=ports[0], user=getpass.getuser(), folder=self.folder)]
        devices = []
        for port, (node, (tier, cpus, memory, gpu, gpus)) in zip(ports[1:], NODES.items(), strict=True):
            lines.append(
                f"NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={cpus} RealMemory={memory} "
                f"Gres=gpu:{gpu}:{gpus} Feature={tier} State=UNKNOWN"
            )
            for number in range(gpus):  # a daemon counts only GPUs that have a file of their own
                device = self.folder / "dev" / f"{node}-{number}"
                device.symlink_to("/dev/null")
                devices.append(f"NodeName={node} Name=gpu Type={gpu} File={device}")
            (self.folder / "spool" / node).mkdir()
        for tier in dict.fromkeys(tier for tier, *_ in NODES.values()):
            members = ",".join(node for node, (own, *_) in NODES.items() if own == tier)
            default = " Default=YES" if tier == "client" else ""
            lines.append(f"PartitionName={tier} Nodes={members} MaxTime=1-00:00:00 DefaultTime=10 State=UP{default}")
        (self.folder / "gres.conf").write_text("\n".join(devices) + "\n")
        self._configuration.write_text("\n".join(lines) + "\n")
        for name in COMMANDS:
            if real := shutil.which(name, path=SYSTEM):
                script = self.folder / "bin" / name
                script.write_text(f'#!/bin/sh\nSLURM_CONF="{self._configuration}" exec {real} "$@"\n')
                script.chmod(0o755)

    def _start(self, program: str, *arguments: str) -> None:
        # A file, not a pipe: the daemon keeps it open, and waiting for its end would never end.
        said = self.folder / f"{program}.out"
        with said.open("a") as stream:
            answer = subprocess.run(
                [program, *arguments], env=self._daemon, stdout=stream, stderr=stream, cwd=self.folder, check=False
            )
        assert answer.returncode == 0, f"{program}: {said.read_text()}"

    def _end(self, name: str) -> None:
        if not (pid := self._pid(name)):
            return
        os.kill(pid, signal.SIGTERM)
        end = time.monotonic() + 10
        while _alive(pid):
            if time.monotonic() > end:
                os.kill(pid, signal.SIGKILL)
            time.sleep(0.05)

    def _pid(self, name: str) -> int:
        """Return the id of a daemon of this cluster, 0 where it is not running."""
        try:
            pid = int((self.folder / f"{name}.pid").read_text())
        except (OSError, ValueError):
            return 0
        return pid if self._ours(pid) else 0

    def _ours(self, pid: int) -> bool:
        return f"SLURM_CONF={self._configuration}" in _environment(pid)


def _processes() -> list[int]:
    return [int(process.name) for process in Path("/proc").glob("[0-9]*")]


def _environment(pid: int) -> list[str]:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/environ").read_text(errors="replace").split("\0")
    return []


def _name(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return ""


def _parent(pid: int) -> int:
    with contextlib.suppress(OSError):
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return 0


def _alive(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def _fields(text: str) -> dict[str, str]:
    return dict(re.findall(r"(\S+?)=(\S*)", text))


def _free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on now, below the range that the kernel hands out."""
    while True:
        first = 20_000 + secrets.randbelow(12_000)
        with contextlib.ExitStack() as stack:
            try:
                for port in range(first, first + count):
                    stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
            except OSError:
                continue
        return list(range(first, first + count))
