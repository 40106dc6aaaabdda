"""F3: a disk of every size, from too small for anything to large enough.

It is a tmpfs in a mount namespace: this module runs itself there as root of a user namespace with one
uid (`unshare -Urm`).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from full_sweeps.harness import Machine, apart
from system_tools import BUSYBOX

IMAGE = 2 << 20  # about what the image takes, unpacked and as blobs


def sizes(count: int) -> list[int]:
    """In bytes, steps of a page's multiple from 64 KiB to well over what is needed."""
    top = 3 * IMAGE + (1 << 20)
    step = max(64 << 10, (top // count) & ~4095)
    return list(range(64 << 10, top, step))


def one(machine: Machine, size: int) -> str:
    """What went wrong on a disk of that size, or nothing."""
    root = machine.sampan.root
    root.mkdir(exist_ok=True)
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "tmpfs", str(root)], check=True
    )
    try:
        made: list[tuple[str, ...]] = [
            ("pull", "-q", BUSYBOX),
            ("create", "--name", "c", BUSYBOX, "true"),
            ("run", "--rm", BUSYBOX, "sh", "-c", "head -c 300000 /dev/zero > /f || exit 9"),
            ("run", "--name", "d", BUSYBOX, "sh", "-c", "yes | head -c 400000"),
        ]
        for words in made:
            result = machine(*words)
            told = result.stderr.decode(errors="replace")
            if "Traceback" in told or (result.returncode and not told.strip()):
                return f"{size}: {words[0]}: {result.returncode} {told[-300:]}"
        free_before = _free(root)
        used: list[tuple[str, ...]] = [("ps", "-a"), ("images",), ("rm", "-af"), ("rmi", "-af")]
        for words in used:
            result = machine(*words)
            if result.returncode:
                return f"{size}: {words}: {result.stderr.decode()[-300:]}"
        if _free(root) < free_before:
            return f"{size}: removing has freed nothing"
        left = [name for name in machine.sampan.leftovers() if not name.startswith("run/")]
        return f"{size}: left {left}" if left else ""
    finally:
        subprocess.run(["umount", "-l", str(root)], check=True)


def _free(path: Path) -> int:
    status = os.statvfs(path)
    return status.f_bavail * status.f_frsize


def run(program: str, registries_conf: str, size: int) -> tuple[int, list[str]]:
    """(sizes tried, failures), from inside a namespace."""
    return apart(__file__, program, registries_conf, size)


def _inside(program: str, registries_conf: str, size: str) -> None:
    machine = Machine(program, registries_conf)
    failures = [one(machine, bytes_) for bytes_ in sizes(int(size))]
    json.dump([len(failures), [text for text in failures if text]], sys.stdout)
    machine.close()


if __name__ == "__main__":
    _inside(*sys.argv[1:])
