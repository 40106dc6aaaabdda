"""cp: files between a container and the host, or two containers, as a tar through a pipe.

One child reads, another writes; each path of a container is resolved inside the container's root and used as a
descriptor from then on (CVE-2018-15664).  The writer makes that root, or the host's directory, its own root before it
looks at the first entry: whatever the archive or a racing container says, it cannot leave it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat

from sampan import files, jsontext
from sampan.engine import archive, mounted, warn
from sampan.engine.copy_place import Found, Place
from sampan.engine.copy_write import Target, write
from sampan.errors import SampanError, UsageError
from sampan.store.tarwriter import TarWriter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping

CHUNK = 1 << 20


class Choice:
    """archive: files get the owner that is usual at the destination.  follow: a link as the source means what it
    leads to.  overwrite: a directory may replace a file, and a file a directory.
    """

    __slots__ = ("archive", "follow", "overwrite")

    def __init__(self, *, archive: bool, follow: bool, overwrite: bool) -> None:
        self.archive, self.follow, self.overwrite = archive, follow, overwrite


def copy(
    source: Place, target: Place, choice: Choice, progress: Callable[[int], object] = lambda n: None
) -> None:
    """Copy between two places, of which one at least is in a container."""
    found = source.look(choice.follow)
    if found.kind == "missing":
        raise source.missing()
    if found.kind == "other":
        raise UsageError(f"cannot copy {source.path}", "it is a device, a fifo or a socket")
    into = _destination(source, found, target)
    with _read(source, found, into.name, choice) as reading:
        _settle(deliver(reading, target, into, choice, progress))


def _destination(source: Place, found: Found, target: Place) -> Target:
    """Where it goes, by Docker's table: (directory, name in it; "" for the contents alone)."""
    there = target.look(follow=True)
    if there.kind == "directory":
        return Target(there.path, "" if source.contents_only else found.name)
    if found.kind == "directory":
        if there.kind != "missing":
            raise UsageError("destination must be a directory when copying a directory")
        return _new(target, there)
    if target.wants_directory:
        raise target.missing()
    if there.kind == "missing":
        return _new(target, there)
    if there.kind == "other":
        raise UsageError(
            f'invalid destination: "{target.path}" must be a directory or a regular file'
        )
    return Target(there.parent, there.base)


def _new(target: Place, there: Found) -> Target:
    """A name that does not exist yet, in a directory that must."""
    if not there.parent:
        raise target.missing()
    return Target(there.parent, there.base)


@contextlib.contextmanager
def _read(
    source: Place, found: Found, name: str, choice: Choice
) -> Generator[mounted.Reading, None, None]:
    """A child that writes the archive; its top is called `name`."""

    def produce(root: int, out: int) -> None:
        fd, parent, base = source.open(root, found, choice.follow)
        with open(out, "wb", buffering=CHUNK, closefd=False) as file:
            writer = TarWriter(file.write, layer=False, holes=True)
            top = os.fsencode(name)
            if fd >= 0:
                if top:
                    writer.directory(top, fd)
                writer.tree(fd, top + b"/" if top else b"", source.skip(root))
            else:
                writer.add(top or base, parent, base)
            writer.close()
        archive.tell(writer)

    with source.child(produce) as reading:
        yield reading


def deliver(
    reading: mounted.Reading,
    target: Place,
    into: Target,
    choice: Choice,
    progress: Callable[[int], object],
) -> dict[str, int]:
    """Move what the one child reads to the other one, and wait for both; what could not be kept is counted."""
    theirs, ours = os.pipe()
    fcntl.fcntl(ours, fcntl.F_SETPIPE_SZ, CHUNK)
    told = write(
        target, into, theirs, choice.archive, choice.overwrite, not_theirs=(ours, reading.fd)
    )
    os.close(theirs)
    done = 0
    try:
        while moved := os.splice(reading.fd, ours, CHUNK):
            done += moved
            progress(done)
        reading.finish()
    except BrokenPipeError:  # the writer has ended: it tells why
        pass
    finally:
        os.close(ours)
    return _notices(told)


def _notices(told: mounted.Reading) -> dict[str, int]:
    """The writer's own words; its error is raised."""
    with told:
        answer = b""
        while data := told.read():
            answer += data
    notices: dict[str, int] = jsontext.loads(answer or b"{}")
    return notices


def _settle(notices: Mapping[str, int]) -> None:
    if notices.get("owners"):
        warn(f"{notices['owners']} files belong to you: your user has no other ids")
    if notices.get("devices"):
        warn(f"{notices['devices']} devices were left out: your user cannot make any")


def to_archive(source: Place, out: int, choice: Choice) -> None:
    """`cp CONTAINER:PATH -`: the archive itself, to a descriptor."""
    found = source.look(choice.follow)
    if found.kind == "missing":
        raise source.missing()
    name = "" if source.contents_only else found.name
    with _read(source, found, name, choice) as reading:
        while data := reading.read(CHUNK):
            files.write_all(out, data)


def from_archive(fd: int, target: Place, choice: Choice) -> None:
    """`cp - CONTAINER:PATH`: unpack an archive, compressed or not, in a directory."""
    there = target.look(follow=True)
    if there.kind != "directory":
        raise UsageError("destination must be a directory when copying from stdin")
    if stat.S_ISCHR(os.fstat(fd).st_mode) and os.isatty(fd):
        raise SampanError("cannot read an archive from the terminal", "", "redirect one to it")
    into = Target(there.path, "")
    _settle(_notices(write(target, into, fd, choice.archive, choice.overwrite, foreign=True)))
