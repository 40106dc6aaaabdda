"""A process is ours only if boot, pid and start time agree."""

from __future__ import annotations

import os
import select
import subprocess
import time

from sampan.linux import processes


def test_start_times_tell_processes_apart() -> None:
    first = subprocess.Popen(["sleep", "100"])
    started = processes.start_time(first.pid)
    assert started is not None and processes.start_time(first.pid) == started
    assert processes.start_time(os.getpid()) != started
    first.kill()
    os.waitid(os.P_PID, first.pid, os.WEXITED | os.WNOWAIT)
    assert processes.start_time(first.pid) is None, "a zombie is gone"
    first.wait()
    assert processes.start_time(first.pid) is None
    assert processes.open_if_same(first.pid, started) is None


def test_a_name_cannot_fake_a_start_time() -> None:
    """The name stands before the fields, in brackets, and may hold anything."""
    code = (
        "import ctypes, time; ctypes.CDLL(None).prctl(15, b') Z 1 2 3 (', 0, 0, 0);"
        "print(flush=True); time.sleep(100)"
    )
    process = subprocess.Popen(["python3", "-c", code], stdout=subprocess.PIPE)
    assert process.stdout and process.stdout.readline()
    with open(f"/proc/{process.pid}/stat", encoding="ascii") as file:
        assert ") Z 1" in file.read()
    assert (processes.start_time(process.pid) or 0) > 100
    process.kill()
    process.wait()


def test_a_pidfd_of_the_same_process_only() -> None:
    process = subprocess.Popen(["sleep", "100"])
    started = processes.start_time(process.pid)
    assert started is not None
    assert processes.open_if_same(process.pid, started + 1) is None
    fd = processes.open_if_same(process.pid, started)
    assert fd is not None and not os.get_inheritable(fd)
    assert select.select([fd], [], [], 0)[0] == []
    process.kill()
    assert select.select([fd], [], [], 5)[0] == [fd]
    process.wait()
    os.close(fd)
    for pid in (0, -1, 1 << 22):
        assert processes.open_if_same(pid, 0) is None


def test_a_child_ends_with_its_parent() -> None:
    read_end, write_end = os.pipe()
    parent = os.fork()
    if parent == 0:
        child = os.fork()
        if child == 0:
            processes.die_with_parent()
            os.write(write_end, str(os.getpid()).encode())
            time.sleep(100)
            os._exit(0)
        time.sleep(100)
    child = int(os.read(read_end, 100))
    started = processes.start_time(child)
    os.kill(parent, 9)
    os.waitpid(parent, 0)
    end = time.monotonic() + 5
    while processes.start_time(child) == started and time.monotonic() < end:
        time.sleep(0.01)
    assert processes.start_time(child) is None


def test_the_boot_is_the_kernels() -> None:
    assert len(processes.boot_id()) == 36 and processes.boot_id() == processes.boot_id()
