"""F18: output in quantities: a line that does not end, and a disk that takes no more of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from full_sweeps.harness import Machine
from system_tools import BUSYBOX

MOST_KIB = 16 << 10  # of a monitor's memory
BLOCKED = 1.0  # seconds that a container may wait for a full disk


def peak(pid: int) -> int:
    """The most memory that a process has had, in KiB (proc_pid_status(5))."""
    rows = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(row.split()[1]) for row in rows if row.startswith("VmHWM:"))


def monitor(machine: Machine, name: str) -> int:
    return int(machine.text("inspect", "--format", "{{.State.ConmonPid}}", name))


def endless_line(machine: Machine, mib: int) -> tuple[str, list[str]]:
    """(what was seen, failures) of a line of so many MiB: nothing is lost, and the monitor stays small."""
    machine.text("pull", "-q", BUSYBOX)
    begun = time.monotonic()
    script = f"dd if=/dev/zero bs=1M count={mib} 2>/dev/null; touch /done; exec sleep 1000"
    machine.text("run", "-d", "--name", "line", BUSYBOX, "sh", "-c", script)
    while machine("exec", "line", "test", "-e", "/done").returncode:
        time.sleep(0.1)
    taken = time.monotonic() - begun
    most = peak(monitor(machine, "line"))
    machine.text("stop", "-t", "0", "line")
    reader = subprocess.Popen(machine.words("logs", "line"), stdout=subprocess.PIPE,
                              env=machine.sampan.environment, cwd="/")  # fmt: skip
    assert reader.stdout
    size, wrong = 0, 0
    while data := reader.stdout.read(1 << 20):
        size, wrong = size + len(data), wrong + len(data) - data.count(0)
    reader.wait()
    machine.text("rm", "line")
    failures: list[str] = []
    if size != mib << 20 or wrong:
        failures.append(f"{size} bytes, {wrong} of them wrong")
    if most > MOST_KIB:
        failures.append(f"the monitor took {most} KiB")
    return f"{mib} MiB in {taken:.1f} s, the monitor at most {most} KiB", failures


FULL = """
import os, sys, time
end, longest, written, data = time.monotonic() + float(sys.argv[1]), 0.0, 0, b"x" * 65535 + b"\\n"
while time.monotonic() < end:
    begun = time.monotonic()
    written += os.write(1, data)
    longest = max(longest, time.monotonic() - begun)
open("/dev/shm/told", "w").write(f"{longest} {written}")
time.sleep(1000)
"""


def full_disk(program: str, registries_conf: str, seconds: int) -> tuple[str, list[str]]:
    """(what was seen, failures), from inside a namespace with a small tmpfs."""
    here = Path(__file__).parents[1]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(here), *sys.path])}
    done = subprocess.run(
        ["unshare", "-Urm", sys.executable, __file__, program, registries_conf, str(seconds)],
        env=environment, capture_output=True, check=False, timeout=3000,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    told, failures = json.loads(done.stdout)
    return told, failures


def _inside(program: str, registries_conf: str, seconds: str) -> None:
    machine = Machine(program, registries_conf)
    root = machine.sampan.root
    root.mkdir(exist_ok=True)
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=300m,mode=700", "tmpfs", str(root)], check=True
    )
    machine.text("pull", "-q", BUSYBOX)
    mounts = [f"--volume={path}:{path}:ro" for path in ("/usr", "/lib", "/lib64")]
    command = [os.path.realpath(sys.executable), "-c", FULL, seconds]
    machine.text("run", "-d", "--name", "full", *mounts, BUSYBOX, *command)
    told = ""
    while not told:
        time.sleep(0.2)
        assert machine.text("ps", "-q"), machine.text("logs", "--tail", "5", "full")
        told = machine("exec", "full", "cat", "/dev/shm/told").stdout.decode()
    longest, written = told.split()
    most = peak(monitor(machine, "full"))
    state = json.loads(machine.text("inspect", "full"))[0]["State"]
    machine.text("rm", "-f", "-t", "0", "full")
    failures: list[str] = []
    if float(longest) > BLOCKED:
        failures.append(f"a write took {longest} s")
    if most > MOST_KIB:
        failures.append(f"the monitor took {most} KiB")
    if not state.get("LostLogRecords"):
        failures.append("nothing was lost")
    rate = int(written) / float(seconds) / 1e6
    seen = f"{rate:.0f} MB/s for {seconds} s, a write at most {float(longest) * 1000:.0f} ms, the monitor {most} KiB"
    json.dump([f"{seen}, {state.get('LostLogRecords')} records lost", failures], sys.stdout)
    machine.close()


if __name__ == "__main__":
    _inside(*sys.argv[1:])
