"""A stranger's archive as files of the user's: unpacked by a child that has nothing but the empty directory."""

from __future__ import annotations

import importlib
import os

from sampan import jsontext
from sampan.errors import SampanError, from_report, to_report
from sampan.linux import userns
from sampan.linux.userns import IdMap
from sampan.store import apply, confine, sidecar
from sampan.store.entry import Entry, clean
from sampan.store.inflate import inflated, limited, reader
from sampan.store.pax import renamed
from sampan.store.tar import TarReader

ALONE = IdMap(((0, 0, 1),), ((0, 0, 1),))  # the ids of the user, as the child sees them


def extract(archive: int, directory: int, what: str) -> None:
    """Unpack the archive, of any compression that is known, into the directory; all of it belongs to the user.

    archive: a file, read from where it stands to its end.  what: how an error begins.
    """
    for name in ("zstandard", "isal.isal_zlib", "bz2", "lzma"):
        importlib.import_module(name)  # in the child nothing is imported any more
    own = IdMap(((0, os.getuid(), 1),), ((0, os.getgid(), 1),))
    userns.run(own, lambda: _confined(archive, directory, what))


def _confined(archive: int, directory: int, what: str) -> None:
    """In the user namespace: a further child unpacks, this one tells what it says."""
    read_end, write_end = os.pipe()
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        os.close(read_end)
        os._exit(_unpack(archive, directory, write_end, parent, what))
    os.close(write_end)
    told = b""
    while data := os.read(read_end, 1 << 16):
        told += data
    os.close(read_end)
    _, status = os.waitpid(child, 0)
    if told:
        raise from_report(jsontext.loads(told))
    if status:
        raise SampanError(what, f"its reader ended with wait status {status}")


def _unpack(archive: int, directory: int, channel: int, parent: int, what: str) -> int:
    try:
        size = os.fstat(archive).st_size
        confine.isolate_network()
        aside = os.memfd_create("aside", os.MFD_CLOEXEC)
        top = confine.enter(directory, [archive, channel, aside], parent)
        plain = inflated(reader(archive), what)
        _Applier(top, aside, what).run(TarReader(limited(plain, size, what)))
        return 0
    except BaseException as error:
        if isinstance(error, SampanError):
            error = renamed(error, what)
        os.write(channel, jsontext.dumps(to_report(error, what)).encode()[:60000])
        return 1


class _Applier(apply.Applier):
    """Entries that belong to the user, below a directory that stays as it is."""

    def __init__(self, root: int, aside: int, what: str) -> None:
        super().__init__(
            root, apply.Plain(root), ALONE, sidecar.SidecarWriter(aside), lambda: [], {},
            whiteouts=False, what=what,
        )  # fmt: skip

    def entry(self, entry: Entry, reader: TarReader) -> None:
        if clean(entry.name):
            entry.uid = entry.gid = 0
            super().entry(entry, reader)
