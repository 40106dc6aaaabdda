"""A FUSE file system and the program that serves it (fuse(4), mount.fuse(8)).

The kernel's side is opened and mounted by ourselves before the program starts; the kernel keeps requests until it
answers.  libfuse takes the connection as a mount point named /dev/fd/N (since 3.3), so the program needs no
privilege to mount and no fusermount.  It is a child of the process that holds the mount, and dies with it
(PDEATHSIG).  It ends by itself when the mount is gone, and by then it has written everything: its end is waited for.
"""

from __future__ import annotations

import os
import resource
import select

from sampan.errors import SampanError
from sampan.linux import libc, mounts, processes, signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

DEVICE = "/dev/fuse"
PATIENCE = 30.0  # seconds for what is still to be written
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}


def connect(name: str) -> tuple[int, int]:
    """(descriptor of the connection, descriptor of the detached mount); others than the mounter may use it.

    The ids that the program tells are those of this process's user namespace.  OSError: no /dev/fuse, or no fuse.
    """
    connection = os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC)
    try:
        mount = mounts.new(
            "fuse",
            [
                ("subtype", name),
                ("fd", str(connection)),
                ("rootmode", "40000"),
                ("user_id", "0"),
                ("group_id", "0"),
                ("default_permissions", None),
                ("allow_other", None),
            ],
            source=name,
        )
    except BaseException:
        os.close(connection)
        raise
    return connection, mount


class Server:
    """A running program: `pidfd` becomes readable when it ends."""

    __slots__ = ("_errors", "name", "pid", "pidfd")

    def __init__(self, name: str, pid: int, errors: int) -> None:
        self.name, self.pid, self._errors = name, pid, errors
        self.pidfd = os.pidfd_open(pid)

    def end(self, patience: float = PATIENCE) -> None:
        """Wait until it has ended; after `patience` seconds it is killed."""
        poll = select.poll()
        poll.register(self.pidfd, select.POLLIN)
        if not poll.poll(patience * 1000):
            processes.send_signal(self.pidfd, 9)
        os.waitpid(self.pid, 0)
        os.close(self.pidfd)
        os.close(self._errors)

    def complaint(self) -> str:
        """The last line that it wrote to its standard error."""
        text = os.pread(self._errors, 4096, max(0, os.fstat(self._errors).st_size - 4096))
        lines = [line.strip() for line in text.decode(errors="replace").splitlines()]
        telling = [line for line in lines if line and "ignored" not in line]
        return telling[-1] if telling else ""


def serve(argv: Sequence[str], target: int) -> Server:
    """Mount on `target` (a descriptor) what the program serves; it answers when this returns.

    It starts in the working directory of the caller.  SampanError: it could not be started, or ended.
    """
    program = argv[0]
    name = program.rpartition("/")[2]
    try:
        connection, mount = connect(name)
    except OSError as error:
        raise SampanError(
            f"cannot mount with {name}",
            f"{DEVICE}: {error.strerror}",
            "an administrator can load the module fuse and give /dev/fuse the mode 0666",
        ) from None
    errors = os.memfd_create("stderr", os.MFD_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        _execute(argv, connection, errors)
    os.close(connection)
    server = Server(name, pid, errors)
    mounts.move(mount, target)
    try:
        os.close(os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=mount))
    except OSError:
        os.close(mount)
        _, status = os.waitpid(pid, 0)
        raise SampanError(
            f"{program} does not serve the file system",
            server.complaint() or f"it ended with status {os.waitstatus_to_exitcode(status)}",
            "use another version of it, or another storage driver (--storage-driver vfs)",
        ) from None
    os.close(mount)
    return server


def _execute(argv: Sequence[str], connection: int, errors: int) -> None:
    """In the child: nothing but the connection and the working directory goes along."""
    try:
        processes.die_with_parent()
        os.setsid()
        signals.reset_all()
        libc.prctl(libc.PR_SET_NO_NEW_PRIVS, 1)
        null = os.open("/dev/null", os.O_RDWR)
        for fd, source in ((0, null), (1, errors), (2, errors)):
            os.dup2(source, fd)
        os.dup2(connection, 3)
        os.set_inheritable(3, True)  # dup2(2) onto itself changes nothing
        libc.close_range(4)
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        os.umask(0)
        os.execve(argv[0], [*argv, "/dev/fd/3"], ENVIRONMENT)
    except OSError as error:
        os.write(2, f"{error.strerror}\n".encode())
    finally:
        os._exit(127)
