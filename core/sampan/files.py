"""Files and directories that keep state: whole or not at all.

Everything that sampan commits to disk goes through this module: written under a temporary name on the same
file system, synced, renamed into place, and the directory synced.  State is private (0700 and 0600).
"""

from __future__ import annotations

import os
import stat

from sampan.errors import CorruptError, LimitError, SampanError

TEMPORARY = ".tmp-"  # a name that begins so was never committed
DEPTH = 100  # of directories that are open at once when a tree is removed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_counter = iter(range(1 << 62))


def temporary_name() -> str:
    """A name for something not yet committed: it tells the process that makes it."""
    return f"{TEMPORARY}{os.getpid()}-{next(_counter)}-{os.urandom(4).hex()}"


def is_abandoned(name: str) -> bool:
    """Whether this is a temporary name and the process that made it is gone."""
    if not name.startswith(TEMPORARY):
        return False
    pid = name[len(TEMPORARY) :].partition("-")[0]
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, ValueError, OverflowError):
        return True
    except PermissionError:
        return False
    try:
        with open(
            f"/proc/{pid}/stat", "rb"
        ) as file:  # a zombie can be signalled, and does nothing more
            return file.read().rpartition(b")")[2].split()[0] in (b"Z", b"X")
    except (FileNotFoundError, ProcessLookupError):
        return True


def sweep(dir_fd: int) -> None:
    """Remove the files that a process was writing in the directory when it was killed."""
    for name in os.listdir(dir_fd):
        if is_abandoned(name):
            unlink(dir_fd, name)


def private_directory(path: str) -> None:
    """Make `path` and what is missing above it, 0700; refuse one that is not ours."""
    _make(path)
    status = os.stat(path)
    if status.st_uid != os.geteuid():
        raise SampanError(
            f"cannot keep state in {path}",
            f"it belongs to uid {status.st_uid}",
            "choose another with --root or SAMPAN_ROOT",
        )


def _make(path: str, again: bool = True) -> None:
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        pass
    except FileNotFoundError:
        parent = os.path.dirname(path.rstrip("/"))
        if not parent or not again:
            raise
        _make(parent)
        _make(path, False)


def open_directory(path: str | bytes, *, dir_fd: int | None = None, create: bool = False) -> int:
    """A descriptor of a directory (never through a link in the last component)."""
    if create:
        try:
            os.mkdir(path, 0o700, dir_fd=dir_fd)
        except FileExistsError:
            pass
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=dir_fd)


def read_text(path: str) -> str:
    """The beginning of a file of the machine's (1 MiB); "" if it cannot be read."""
    try:
        with open(path, "rb") as file:
            return os.fsdecode(file.read(1 << 20))
    except OSError:
        return ""


def write_all(fd: int, data: bytes | memoryview) -> None:
    """Write every byte; errors are not lost in a buffer."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def nameless(directory: int) -> int:
    """A new file for reading and writing that has no name: nothing is left of it when its writer is killed."""
    try:
        return os.open(".", os.O_RDWR | os.O_TMPFILE | os.O_CLOEXEC, 0o600, dir_fd=directory)
    except OSError:  # NFS and some others know no such file
        name = temporary_name()
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        fd = os.open(name, flags, 0o600, dir_fd=directory)
        unlink(directory, name)
        return fd


def write_atomic(
    dir_fd: int, name: str, data: bytes, *, sync: bool = True, mode: int = 0o600
) -> None:
    """Put `data` under `name` in the directory: readers see the old file or the new one."""
    temporary = temporary_name()
    fd = os.open(
        temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode, dir_fd=dir_fd
    )
    try:
        try:
            write_all(fd, data)
            if sync:
                os.fsync(fd)
        finally:
            os.close(fd)
        os.rename(temporary, name, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
    except BaseException:
        unlink(dir_fd, temporary)
        raise
    if sync:
        os.fsync(dir_fd)


def read(dir_fd: int, name: str, limit: int = 4 << 20) -> bytes:
    """The bytes of a regular file of at most `limit` bytes; FIFOs and links are refused."""
    fd = os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=dir_fd)
    try:
        return read_fd(fd, name, limit)
    finally:
        os.close(fd)


def read_fd(fd: int, name: str, limit: int = 4 << 20) -> bytes:
    """As `read`, from an open descriptor."""
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        raise CorruptError(f"cannot read {name}", "it is not a regular file")
    if status.st_size > limit:
        raise LimitError(f"cannot read {name}", f"{status.st_size} bytes, at most {limit} are read")
    chunks: list[bytes] = []
    left = limit + 1
    while left > 0 and (chunk := os.read(fd, min(left, 1 << 20))):
        chunks.append(chunk)
        left -= len(chunk)
    if left <= 0:
        raise LimitError(f"cannot read {name}", f"more than {limit} bytes")
    return b"".join(chunks)


def path_of(fd: int) -> str:
    """Where a directory is, to be told to the user."""
    return os.readlink(f"/proc/self/fd/{fd}")


def usage(top: int) -> int:
    """Bytes on disk of what is in a directory; what several names share is counted once."""
    seen: set[int] = set()
    total = 0
    todo = [os.dup(top)]
    while todo:
        fd = todo.pop()
        for name in os.listdir(fd):
            status = os.stat(name, dir_fd=fd, follow_symlinks=False)
            if status.st_nlink == 1 or stat.S_ISDIR(status.st_mode) or status.st_ino not in seen:
                seen.add(status.st_ino)
                total += status.st_blocks * 512
            if stat.S_ISDIR(status.st_mode):
                todo.append(open_directory(name, dir_fd=fd))
        os.close(fd)
    return total


def unlink(dir_fd: int, name: str) -> bool:
    """Remove a file; False if there was none."""
    try:
        os.unlink(name, dir_fd=dir_fd)
    except FileNotFoundError:
        return False
    return True


def remove_directory(dir_fd: int, name: str) -> None:
    """Remove an empty directory; one that is not there is no error."""
    try:
        os.rmdir(name, dir_fd=dir_fd)
    except FileNotFoundError:
        return


def rename_away(dir_fd: int, name: str) -> str:
    """Take the name from a tree that is to be removed; returns what it is called then, "" if it is not there."""
    doomed = temporary_name()
    try:
        os.rename(name, doomed, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
    except FileNotFoundError:
        return ""
    except OSError:  # a full disk may refuse the rename
        return name
    return doomed


def remove_tree(dir_fd: int, name: str | bytes) -> None:
    """Remove a tree without following a link, whatever its directories' modes and its depth.

    What lies deeper than recursion and descriptors allow is moved up beside the tree, and removed in its turn.
    PermissionError: something is in a directory of another owner; what was removed before that is gone.
    """
    todo: list[str | bytes] = [name]
    while todo:
        _remove(dir_fd, todo.pop(), dir_fd, todo, DEPTH)


def _remove(dir_fd: int, name: str | bytes, top: int, aside: list[str | bytes], depth: int) -> None:
    try:
        os.unlink(name, dir_fd=dir_fd)
        return
    except FileNotFoundError:
        return
    except OSError as error:
        if not isinstance(error, IsADirectoryError | PermissionError):
            raise
        refused = error
    try:
        fd = _open_for_removal(dir_fd, name)
    except NotADirectoryError:
        raise refused from None
    if fd is None:
        return
    try:
        if not depth:
            moved = temporary_name()
            os.rename(name, moved, src_dir_fd=dir_fd, dst_dir_fd=top)
            aside.append(moved)
            return
        for entry in _entries(fd):
            _remove(fd, entry, top, aside, depth - 1)
    finally:
        os.close(fd)
    os.rmdir(name, dir_fd=dir_fd)


def _open_for_removal(dir_fd: int, name: str | bytes) -> int | None:
    try:
        return open_directory(name, dir_fd=dir_fd)
    except FileNotFoundError:
        return None
    except PermissionError:  # a directory without r or x for its owner
        os.chmod(name, 0o700, dir_fd=dir_fd)
        return open_directory(name, dir_fd=dir_fd)


def _entries(fd: int) -> Iterator[bytes]:
    try:
        with os.scandir(fd) as entries:
            names = [os.fsencode(entry.name) for entry in entries]
    except PermissionError:
        os.fchmod(fd, 0o700)
        with os.scandir(fd) as entries:
            names = [os.fsencode(entry.name) for entry in entries]
    if names:
        writable = os.fstat(fd).st_mode & 0o300 == 0o300
        if not writable:
            os.fchmod(fd, 0o700)
    yield from names
