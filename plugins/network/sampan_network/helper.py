"""A program that carries a container's packets: a child of the monitor, in the host's network namespace.

It cannot outlive the monitor: the kernel kills it with its parent (PDEATHSIG), and one that knows of it leaves when
its leash, a pipe that only the monitor holds, is gone.  What it says on its standard error is kept for the day on
which it fails: the first 64 KiB, so that a babbler takes no memory.
"""

from __future__ import annotations

import fcntl
import os
import select
import time

from sampan.errors import SampanError, UnsupportedError
from sampan.linux import libc, processes, signals

PATIENCE = 10.0  # seconds until it must be ready
ANSWER = 3.0  # seconds that it may take to tell its version
FAREWELL = 0.5  # seconds that it may take to leave
KEPT = 64 << 10  # bytes of what it says
NOISE = ("WARNING", "to syslog")  # pasta has a log that nobody opens in a container
TELLING = 3  # lines of it that an error repeats
PLACES = ("/usr/bin", "/bin", "/usr/local/bin", "/usr/sbin")
TUN = "/dev/net/tun"


def find(name: str) -> str:
    """The path of the program, "" if there is none; the user's PATH has the first word."""
    places = [*filter(None, os.environ.get("PATH", "").split(":")), *PLACES]
    return next(
        (f"{place}/{name}" for place in places if os.access(f"{place}/{name}", os.X_OK)), ""
    )


def version(program: str) -> str:
    """The first line of what --version prints, or what is wrong with the program."""
    return _introduced(program)[1]


def _introduced(program: str) -> tuple[bool, str]:
    """Whether the program tells its version under its own name, and what it says, or how it fails."""
    try:
        code, said = _ask(program)
    except OSError as error:
        return False, f"--version fails: {error.strerror}"
    lines = _lines(said)
    known = not code and bool(lines) and lines[0].startswith(program.rpartition("/")[2])
    if code < 0:
        return False, f"--version was ended by signal {-code}"
    return known, lines[0][:80] if lines else f"--version tells nothing (status {code})"


def _ask(program: str) -> tuple[int, bytes]:
    """The exit code of PROGRAM --version, and the beginning of what it says: subprocess takes longer to load."""
    read, write = os.pipe2(os.O_CLOEXEC)
    null = (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDWR, 0)
    places = [null, (os.POSIX_SPAWN_DUP2, write, 1), (os.POSIX_SPAWN_DUP2, 0, 2)]
    environment = {"PATH": ":".join(PLACES), "LANG": "C.UTF-8"}
    try:
        pid = os.posix_spawn(
            program, [program, "--version"], environment, file_actions=places,
            setsigdef=[signals.SIGPIPE], setpgroup=0,
        )  # fmt: skip
        os.close(write)
        write = -1
        said = _heard(read, time.monotonic() + ANSWER)
    finally:
        os.close(read)
        if write >= 0:
            os.close(write)
    pidfd = os.pidfd_open(pid)
    if not processes.ended(pidfd, FAREWELL):
        os.killpg(pid, signals.SIGKILL)
    os.close(pidfd)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), said


def _heard(pipe: int, deadline: float) -> bytes:
    """What comes until the end, the deadline or 4 KiB."""
    said = b""
    poll = select.poll()
    poll.register(pipe, select.POLLIN)
    while len(said) < 4096 and poll.poll(max(0, deadline - time.monotonic()) * 1000):
        chunk = os.read(pipe, 4096)
        if not chunk:
            break
        said += chunk
    return said


def _lines(said: bytes) -> list[str]:
    """What can be read of what a program says, but for what is of no account."""
    lines = [
        "".join(filter(str.isprintable, line)).strip()
        for line in said.decode(errors="replace").splitlines()
    ]
    return [line for line in lines if line and not any(word in line for word in NOISE)]


def missing(name: str, package: str) -> tuple[str, str] | None:
    """Why a helper of that name cannot work here, and what helps; nothing if it can."""
    if not find(name):
        return f"{name} is not installed", f"an administrator can install the package {package}"
    try:
        os.close(os.open(TUN, os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        return (
            f"{TUN}: {error.strerror}",
            "an administrator can load the module tun and give /dev/net/tun the mode 0666; "
            "an outer container needs --device /dev/net/tun",
        )
    return None


def unfit(name: str, package: str) -> tuple[str, str] | None:
    """`missing`, or what is wrong with a program that is there but does not introduce itself."""
    if wrong := missing(name, package):
        return wrong
    program = find(name)
    known, said = _introduced(program)
    if known:
        return None
    return f"{program} does not work: {said}", f"an administrator can install the package {package}"


def untrue(program: str, interface: str) -> SampanError:
    """It says that it is ready, and is not."""
    return SampanError(
        f"cannot connect the container with {program.rpartition('/')[2]}",
        f"{program}: there is no interface {interface} when it says that it is ready",
        f"this is {version(program)}; sampan plugin ls tells what works here",
    )


def unusable(name: str, wrong: tuple[str, str]) -> UnsupportedError:
    return UnsupportedError(f"cannot connect a container with {name}", *wrong)


class Helper:
    """The running program: `pidfd` can be read when it ends."""

    def __init__(
        self,
        argv: list[str],
        fds: dict[int, int],
        *,
        ready: int,
        leash: int = -1,
        patience: float = PATIENCE,
    ) -> None:
        """Start it and wait until it is ready.

        fds: {the number that a descriptor has in the program: the descriptor}.  ready: the number of the pipe into
        which it writes when it is ready.  leash: the number of the one that it must see end.
        """
        self.program = argv[0]
        told, tell = os.pipe2(os.O_CLOEXEC)
        held, self._leash = os.pipe2(os.O_CLOEXEC)
        self._errors = os.memfd_create("stderr", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(self._errors, KEPT)
        fcntl.fcntl(self._errors, fcntl.F_ADD_SEALS, fcntl.F_SEAL_GROW)
        places = {**fds, 2: self._errors, ready: tell, **({leash: held} if leash >= 0 else {})}
        monitor = os.getpid()
        self.pid = os.fork()
        if self.pid == 0:
            _execute(argv, places, monitor)
        self.pidfd = os.pidfd_open(self.pid)
        os.close(tell)
        os.close(held)
        try:
            self._await(told, patience)
        finally:
            os.close(told)

    def _await(self, ready: int, patience: float) -> None:
        poll = select.poll()
        poll.register(ready, select.POLLIN)
        answered = bool(poll.poll(patience * 1000))
        if answered and os.read(ready, 64):
            return
        gone = processes.ended(self.pidfd, FAREWELL if answered else 0)
        said = self.end()
        raise SampanError(
            f"cannot connect the container with {self.program.rpartition('/')[2]}",
            f"{self.program}: {said if gone else f'it was not ready after {patience:.0f} s'}",
            f"this is {version(self.program)}; sampan plugin ls tells what works here",
        )

    def end(self) -> str:
        """It is gone when this returns: how it ended, in its own words if it chose to end."""
        os.close(self._leash)
        if not processes.ended(self.pidfd, 0):
            processes.send_signal(self.pidfd, signals.SIGTERM)
        if not processes.ended(self.pidfd, FAREWELL):
            processes.send_signal(self.pidfd, signals.SIGKILL)
        code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        said = self._complaint()
        os.close(self.pidfd)
        os.close(self._errors)
        if code < 0:
            return f"it was ended by signal {-code}"
        return said or f"it ended with status {code}"

    def dismiss(self) -> int:
        """It is killed, and this does not wait: taking its interface away takes the kernel some time. Its pid."""
        processes.send_signal(self.pidfd, signals.SIGKILL)
        for fd in (self._leash, self.pidfd, self._errors):
            os.close(fd)
        return self.pid

    def _complaint(self) -> str:
        """The last lines of what it wrote to its standard error."""
        said = os.lseek(self._errors, 0, os.SEEK_CUR)  # an offset that it shares
        lines = _lines(os.pread(self._errors, min(said, KEPT), 0))
        return "; ".join(line[:200] for line in lines[-TELLING:])


def _execute(argv: list[str], places: dict[int, int], monitor: int) -> None:
    """In the child: nothing but the given descriptors goes along."""
    try:
        processes.die_with_parent()
        if os.getppid() != monitor:
            os._exit(0)  # too late
        os.setsid()
        signals.reset_all()
        libc.prctl(libc.PR_SET_NO_NEW_PRIVS, 1)
        null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        places = {0: null, 1: null, **places}
        high = {number: fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 64) for number, fd in places.items()}
        for number, fd in high.items():
            os.dup2(fd, number)
        libc.close_range(max(places) + 1)
        os.execve(argv[0], argv, {"PATH": ":".join(PLACES), "LANG": "C.UTF-8"})
    except OSError as error:
        os.write(2, f"{error.strerror}\n".encode())
    finally:
        os._exit(127)
