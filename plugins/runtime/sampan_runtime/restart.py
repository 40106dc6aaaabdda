"""The interpreter that enters a container must not be one that the container can write to.

A program `#!/proc/self/exe` makes the kernel execute the entering process's own interpreter inside, and once no
process runs it, root inside could open it for writing where its owner is in the id map: a python that the user
installed or copied (the rootless form of CVE-2019-5736).  Only then is the interpreter started again, from a
read-only mount made for it alone, where opening it for writing is refused (EROFS).  The system's python belongs
to an id outside the map, and needs none of this.
"""

from __future__ import annotations

import os
import sys

from sampan import jsontext
from sampan.linux import libc, mounts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

_BOOT = (
    "import json, os, sys; d = json.loads(os.fdopen(int(sys.argv[1]), 'rb').read()); "
    "sys.path[:] = d['path']; from sampan_runtime import restart; restart.resume(d)"
)


def is_needed() -> bool:
    """Whether this user could write to the interpreter that runs this process."""
    return os.access("/proc/self/exe", os.W_OK)


def restart(
    kind: str, job: dict[str, Any], fds: list[int], program_filter: bytes | None
) -> NoReturn:
    """Execute the interpreter from a read-only mount; it goes on with `resume`, and the descriptors."""
    path = os.readlink("/proc/self/exe")
    libc.unshare(libc.CLONE_NEWNS)
    mount = mounts.clone_path(os.path.dirname(path), recursive=False)
    mounts.set_attributes(mount, mounts.RDONLY, 0, mounts.MS_PRIVATE)
    program = os.open(os.path.basename(path), os.O_RDONLY | os.O_CLOEXEC, dir_fd=mount)
    document = {
        "kind": kind,
        "job": job,
        "path": sys.path,
        "filter": _memory(program_filter or b""),
    }
    words = [path, "-I", "-S", "-c", _BOOT, str(_memory(jsontext.dumps(document).encode()))]
    for fd in fds:
        os.set_inheritable(fd, True)
    libc.execveat(program, words, ["PATH=/usr/bin:/bin"])


def _memory(data: bytes) -> int:
    """A descriptor of these bytes that survives an exec."""
    fd = os.memfd_create("job", 0)
    os.write(fd, data)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def resume(document: dict[str, Any]) -> None:
    """In the interpreter that was started again: close the door, then do the job."""
    libc.prctl(libc.PR_SET_DUMPABLE, 0)
    size = os.fstat(document["filter"]).st_size
    program_filter = os.pread(document["filter"], size, 0) or None
    os.close(document["filter"])
    from sampan_runtime import jobs

    jobs.run(document["kind"], document["job"], program_filter)
