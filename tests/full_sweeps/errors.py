"""F4: a system call fails (EIO, ENOSPC, EMFILE, EINTR, ENOMEM): the command succeeds or says so in one line."""

from __future__ import annotations

from collections import Counter

from full_sweeps.harness import Machine, spread, sweep
from full_sweeps.kill import VERBS
from system_tools import BUSYBOX

ERRORS = {
    "EIO": ("read", "write", "fsync", "openat", "getdents64", "unlinkat"),
    "ENOSPC": ("write", "mkdir", "openat", "rename", "fsync", "symlink"),
    "EMFILE": ("openat", "pipe2", "socketpair", "dup", "fsopen", "open_tree"),
    "EINTR": ("read", "write", "openat", "poll", "wait4", "recvmsg", "sendmsg", "flock"),
    "ENOMEM": ("clone", "clone3", "fork", "mount", "fsmount", "mmap"),
}


def run(machine: Machine, verb: str, error: str, size: int) -> tuple[int, list[str]]:
    """(points tried, failures)."""
    setup, words = VERBS[verb]
    machine.text("pull", "-q", BUSYBOX)
    setup(machine)
    counts = machine.counts(*words)
    machine("rm", "-af", "-t", "0")

    def one(call: str, number: int) -> None:
        point = f"{verb}, {error} of {call} {number}"
        machine("rm", "-af", "-t", "0")
        if verb != "pull":
            machine.text("pull", "-q", "--policy", "missing", BUSYBOX)
        setup(machine)
        inject = f"inject=?{call}:error={error}:when={number}"
        status, told = machine.traced(["-o", "/dev/null", "-e", inject], *words)
        lines = [line for line in told.decode(errors="replace").splitlines() if line.strip()]
        # The interpreter itself may fail before any line of ours is read: it says so in its own words.
        ours = [line for line in lines if line.startswith(("Error: ", "sampan: "))]
        if status == 0 and verb == "create":
            machine.text("inspect", "prize")
        if status and not _of_the_interpreter(lines):
            assert ours or not lines, (point, status, lines[-3:])
            assert not any("Traceback" in line for line in lines), (point, lines[-3:])
        if verb in ("stop", "rm -f"):  # it may rightly run on
            machine.text("rm", "-af", "-t", "0")
        machine.recover(point)
        if machine("pull", "-q", BUSYBOX).returncode:
            raise AssertionError(f"{point}: pull fails")
        machine.clean(point)

    wanted = Counter({call: counts[call] for call in ERRORS[error] if counts[call]})
    points = spread(wanted, size)
    return len(points), sweep(points, one)


def _of_the_interpreter(lines: list[str]) -> bool:
    """The loader, the start of Python and the import of a module that could not be read."""
    text = "\n".join(lines)
    return any(
        word in text
        for word in ("error while loading shared", "Fatal Python error", "<frozen ", "importlib", "ModuleNotFound",
                     "ImportError", "init_", "site.py", "No module named", "cannot open", "open file", "strace:")
    )  # fmt: skip
