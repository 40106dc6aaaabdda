"""volume export and import: a volume's content as tar, written and read by the store's own writer and reader.

Both work in the user namespace of the store and in a mount namespace of their own.  The reader of an archive is
confined as that of a layer is: the volume is its whole world (`sampan.store.confine`).
"""

from __future__ import annotations

import json
import os

from sampan import files
from sampan.engine import warn
from sampan.engine.volumes import driver_of
from sampan.errors import SampanError, UnsupportedError, from_report, to_report
from sampan.linux import libc, mounts, paths, userns
from sampan.store.volumes import VolumeStore

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sampan.engine import Engine
    from sampan.linux.userns import IdMap
    from sampan.model.volume import Volume

CHUNK = 1 << 20
UNLIMITED = 1 << 62


def _check(engine: Engine, volume: Volume, what: str) -> None:
    if not driver_of(engine, volume).path(volume):
        raise UnsupportedError(
            f"cannot {what} volume {volume.name}",
            "its content lives only as long as the container that mounts it",
        )


def export(engine: Engine, volume: Volume, out: int) -> None:
    """Write the volume as tar: the same bytes for the same content."""
    _check(engine, volume, "export")
    userns.run(engine.idmap, lambda: _write(engine, volume.name, out))


def _mount(engine: Engine, name: str) -> tuple[Volume, int]:
    """The volume and a detached mount of it, in a mount namespace of this process's own.

    Only what was opened in a mount namespace can be mounted there, so the volume is looked up again.
    """
    libc.unshare(libc.CLONE_NEWNS)
    mounts.change_propagation("/", mounts.MS_PRIVATE)
    volume = VolumeStore(engine.settings.volume_path).get(name)
    return volume, driver_of(engine, volume).mount(volume)


def _write(engine: Engine, name: str, out: int) -> None:
    from sampan.store.tarwriter import TarWriter

    _, tree = _mount(engine, name)
    top = paths.openat2(tree, ".", os.O_RDONLY | os.O_DIRECTORY, paths.RESOLVE_BENEATH)
    writer = TarWriter(lambda data: files.write_all(out, data), layer=False)
    writer.root(top)
    writer.tree(top)
    writer.close()


def unpack(engine: Engine, volume: Volume, source: int) -> None:
    """Unpack the archive, compressed or not, over what the volume has."""
    _check(engine, volume, "import into")
    source = _seekable(engine.volumes.fd, source)
    read_end, write_end = os.pipe()
    userns.run(engine.idmap, lambda: _supervise(engine, volume.name, source, write_end))
    os.close(write_end)
    notices = json.loads(os.read(read_end, 65536) or b"{}")
    os.close(read_end)
    if notices.get("owners"):
        warn(
            f"{notices['owners']} files of volume {volume.name} belong to you: your user has no other ids"
        )
    if notices.get("devices"):
        warn(f"{notices['devices']} devices were left out: your user cannot make any")


def _seekable(directory: int, source: int) -> int:
    """The archive as a file: a pipe is written to one that has no name."""
    try:
        os.lseek(source, 0, os.SEEK_CUR)
        return source
    except OSError:
        unnamed = files.nameless(directory)
    while data := os.read(source, CHUNK):
        files.write_all(unnamed, data)
    return unnamed


def spool(engine: Engine) -> int:
    """A file without a name, where the volumes are, for an archive on its way."""
    return files.nameless(engine.volumes.fd)


def _supervise(engine: Engine, name: str, source: int, notices: int) -> None:
    """Mount the volume, and let a confined child unpack into it.

    The child takes its root along only from a mount that is attached.
    """
    volume, tree = _mount(engine, name)
    mounts.move(tree, volume.fd)
    read_end, write_end = os.pipe()
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        os._exit(_child(tree, source, engine.idmap, write_end, parent))
    os.close(write_end)
    data = b""
    while chunk := os.read(read_end, 65536):
        data += chunk
    _, status = os.waitpid(child, 0)
    answer = json.loads(data) if data else None
    if isinstance(answer, dict):
        os.write(notices, data)
        return
    if answer:
        raise from_report(answer)
    raise SampanError("cannot read the archive", f"its reader ended with wait status {status}")


def _child(tree: int, source: int, idmap: IdMap, channel: int, parent: int) -> int:
    from sampan.store import apply, confine, sidecar
    from sampan.store.decompress import Source
    from sampan.store.tar import TarReader

    try:
        confine.isolate_network()
        aside = os.memfd_create("aside", os.MFD_CLOEXEC)
        top = paths.openat2(tree, ".", os.O_RDONLY | os.O_DIRECTORY, paths.RESOLVE_BENEATH)
        archive = Source(source, UNLIMITED)
        root = confine.enter(top, [source, channel, aside], parent)
        writer = apply.Plain(root)
        applier = apply.Applier(
            root, writer, idmap, sidecar.SidecarWriter(aside), lambda: [], {}, whiteouts=False
        )
        applier.run(TarReader(archive.read))
        archive.drain()
        os.write(channel, json.dumps(applier.notices()).encode())
        return 0
    except BaseException as error:
        os.write(channel, json.dumps(to_report(error, "cannot read the archive")).encode()[:60000])
        return 1
