"""The writing end of a copy: an archive is unpacked by a child that has nothing but the destination."""

from __future__ import annotations

import importlib
import os
import stat

from sampan import files, jsontext
from sampan.engine import idmaps, mounted, reached
from sampan.errors import CorruptError, InUseError, SampanError, UsageError, from_report, to_report
from sampan.linux import processes, userns
from sampan.linux.userns import IdMap
from sampan.store import apply, confine, sidecar
from sampan.store.entry import DIRECTORY, LINK, Entry, clean
from sampan.store.inflate import inflated
from sampan.store.tar import TarReader

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from sampan.engine.copy_place import Place

WHAT = "cannot copy"
READ = 1 << 20


class Target:
    """A directory, and what the copy is called in it; "" where its contents go there."""

    __slots__ = ("directory", "name")

    def __init__(self, directory: str, name: str) -> None:
        self.directory, self.name = directory, name


def write(
    place: Place,
    into: Target,
    source: int,
    archive: bool,
    overwrite: bool,
    *,
    foreign: bool = False,
    not_theirs: tuple[int, ...] = (),
) -> mounted.Reading:
    """A child that unpacks what it reads from `source`; it tells notices as JSON.

    foreign: the archive is a stranger's, compressed perhaps.  not_theirs: descriptors that the child gives back,
    the writing end of `source` among them, or it would never see its end.
    """
    job = _Job(place, into, archive, overwrite, foreign)
    if foreign:  # in the child nothing is imported any more
        importlib.import_module("zstandard")

    def produce(root: int, out: int) -> None:
        for fd in not_theirs:
            os.close(fd)
        job.run(root, source, out)

    if place.container is not None:
        return place.child(produce)

    def on_host(out: int) -> None:
        target = os.open(into.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        userns.enter(IdMap(((0, os.getuid(), 1),), ((0, os.getgid(), 1),)))
        processes.die_with_parent()  # the change of ids took it back
        produce(target, out)

    return mounted.Reading(on_host)


class _Job:
    def __init__(
        self, place: Place, into: Target, archive: bool, overwrite: bool, foreign: bool
    ) -> None:
        self._place, self._into = place, into
        self._archive, self._overwrite, self._foreign = archive, overwrite, foreign

    def run(self, root: int, source: int, out: int) -> None:
        """In the child: a further one unpacks, confined; this one hands on what it tells."""
        owner = self._owner(root) if self._archive else None
        prefix = b""
        if self._place.container is not None:
            prefix = os.fsencode(self._into.directory).strip(b"/")
        idmap = self._idmap()
        parent = os.getpid()
        read_end, write_end = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(read_end)
            os._exit(self._unpack(root, source, write_end, parent, prefix, owner, idmap))
        os.close(write_end)
        os.close(source)
        answer = b""
        while data := os.read(read_end, 1 << 16):
            answer += data
        _, status = os.waitpid(child, 0)
        told: Any = jsontext.loads(answer) if answer else None
        if told is None:
            raise SampanError(WHAT, f"its writer ended with wait status {status}")
        if not isinstance(told, dict):
            raise from_report(told)
        os.write(out, answer)

    def _idmap(self) -> IdMap:
        """The ids that the writer may give files to, as it sees them."""
        container = self._place.container
        if container is None:
            return IdMap(((0, 0, 1),), ((0, 0, 1),))
        own = idmaps.of_record(container.record)
        return own if own is not None and container.live else self._place.engine.idmap

    def _owner(self, root: int) -> tuple[int, int]:
        """The container's user, to whom what is copied belongs; on the host the caller."""
        container = self._place.container
        if container is None or self._place.engine.idmap.single:
            return 0, 0
        return reached.user_of(self._place.engine, container.record, root, live=container.live)

    def _unpack(
        self,
        root: int,
        source: int,
        channel: int,
        parent: int,
        prefix: bytes,
        owner: tuple[int, int] | None,
        idmap: IdMap,
    ) -> int:
        applier: _Applier | None = None
        try:
            confine.isolate_network()
            aside = os.memfd_create("aside", os.MFD_CLOEXEC)
            top = confine.enter(root, [source, channel, aside], parent, recursive=True)
            reader = TarReader(self._chunks(source))
            applier = _Applier(top, idmap, aside, prefix, owner, self._overwrite)
            applier.run(reader)
            while os.read(source, READ):
                pass
            os.write(channel, jsontext.dumps(applier.notices()).encode())
            return 0
        except BaseException as error:
            if (
                self._foreign
                and isinstance(error, CorruptError)
                and not (applier and applier.begun)
            ):
                error = UsageError(
                    "source must be a (compressed) tar archive when copying from stdin"
                )
            os.write(channel, jsontext.dumps(to_report(error, WHAT)).encode()[:60000])
            return 1

    def _chunks(self, source: int) -> Callable[[], bytes]:
        def read() -> bytes:
            return os.read(source, READ)

        return inflated(read, "cannot copy from standard input") if self._foreign else read


class _Applier(apply.Applier):
    """Entries below a directory of the root, with one owner for all or their own."""

    def __init__(
        self,
        root: int,
        idmap: IdMap,
        aside: int,
        prefix: bytes,
        owner: tuple[int, int] | None,
        overwrite: bool,
    ) -> None:
        super().__init__(
            root, apply.Plain(root), idmap, sidecar.SidecarWriter(aside), lambda: [], {},
            whiteouts=False, what=WHAT,
        )  # fmt: skip
        self._prefix, self._owner, self._overwrite = prefix, owner, overwrite
        self.begun = False  # an entry could be read: it is an archive

    def entry(self, entry: Entry, reader: TarReader) -> None:
        self.begun = True
        name = clean(entry.name)
        if not name:
            return  # the directory itself is there already, and stays as it is
        entry.name = self._below(name)
        if entry.type == LINK:
            entry.link = self._below(clean(entry.link, of=entry.name))
        if self._owner is not None:
            entry.uid, entry.gid = self._owner
        if not self._is_there(entry):
            super().entry(entry, reader)

    def _file(self, entry: Entry, parent: int, base: bytes, path: bytes, reader: TarReader) -> None:
        try:
            super()._file(entry, parent, base, path, reader)
        except OSError:  # half a file is none
            files.unlink(parent, os.fsdecode(base))
            raise

    def _below(self, name: bytes) -> bytes:
        return self._prefix + b"/" + name if self._prefix else name

    def _is_there(self, entry: Entry) -> bool:
        """Whether it is a directory that exists: it stays as it is, and gets more.

        A directory does not replace a file, nor a file a directory, unless that is wanted.
        """
        head, _, base = entry.name.rpartition(b"/")
        try:
            status = os.stat(base, dir_fd=self.tree.parent(head), follow_symlinks=False)
        except FileNotFoundError:
            return False
        both = stat.S_ISDIR(status.st_mode), entry.type == DIRECTORY
        if both[0] != both[1] and not self._overwrite:
            shown = "/" + os.fsdecode(entry.name)
            raise InUseError(
                f'{WHAT}: error creating "{shown}"',
                "a file and a directory do not replace each other: file exists",
                "--overwrite lets a directory replace a file, and a file a directory",
            )
        return all(both)
