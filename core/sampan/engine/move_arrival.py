"""container receive: the other end of `container move`.  What comes is a stranger's until it is verified.

The options come as words of `create` and are made into values as its own are.  Layers and configuration come in
as in a pull.  Until the sender says `keep`, whatever ends the connection takes back all that was made.
"""

from __future__ import annotations

import os
import threading

from sampan.engine import limits, move_words, networks, pack, volume_archive, warn
from sampan.engine.fetching import Silent
from sampan.engine.images import delete, needed_layers
from sampan.engine.move_wire import Gone, flag, greet, objects, text, texts, whole
from sampan.engine.receive import Receiving
from sampan.errors import CorruptError, InUseError, LimitError, SampanError
from sampan.model import image as documents
from sampan.model import isolation
from sampan.model import mounts as model
from sampan.model.volume import check_name
from sampan.registry.fetch import Fetched
from sampan.store.blobs import digest_of
from sampan.store.volumes import VolumeExistsError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from sampan.engine import Engine
    from sampan.engine.move_wire import Message, Wire
    from sampan.engine.spawn import Spawned
    from sampan.model.container import Record, RunOptions
    from sampan.model.image import Descriptor
    from sampan.registry.fetch import Advance
    from sampan.store.images import Image
    from sampan.store.ingest import Ingest

    Build = Callable[[list[str], list[str]], RunOptions]

TYPES = ("bind", "volume", "tmpfs", "devpts")
RESERVE = 16 << 20  # bytes that a volume's archive leaves free


class Stream:
    """A source of images (`sampan.engine.fetching.Source`): it asks the sender for each blob."""

    def __init__(self, wire: Wire) -> None:
        self.served_by = wire.peer
        self._wire, self._lock, self._broken = wire, threading.Lock(), False

    def manifest(self, selector: str) -> Fetched:
        self._wire.send("want", digest=selector)
        size = whole(self._wire.receive("blob"), "size")
        if size > documents.MANIFEST_LIMIT:
            raise LimitError("the manifest is refused", f"it has {size} bytes")
        parts: list[bytes] = []
        self._wire.receive_bytes(size, parts.append)
        data = b"".join(parts)
        if digest_of(data) != selector:
            raise CorruptError(
                f"{selector[:80]} is refused", f"its bytes have the digest {digest_of(data)}"
            )
        return Fetched(data, documents.OCI_MANIFEST, selector)

    def blob(
        self, descriptor: Descriptor, ingest: Ingest, advance: Advance, *, mirrors: bool = True
    ) -> None:
        """One blob at a time; what is cut is not kept for another try."""
        with self._lock:
            if self._broken:
                raise Gone(f"{self.served_by} has ended the connection")
            try:
                self._wire.send("want", digest=descriptor.digest)
                size = whole(self._wire.receive("blob"), "size")
                if size != descriptor.size:
                    raise CorruptError(
                        f"blob {descriptor.digest} is refused",
                        f"it would come with {size} bytes, and its descriptor says {descriptor.size}",
                    )
                ingest.restart()

                def take(chunk: bytes) -> None:
                    ingest.write(chunk)
                    advance(ingest.offset)

                self._wire.receive_bytes(size, take)
            except BaseException:
                self._broken = True
                ingest.discard()
                raise


class _Notes(Silent):
    def note(self, text: str) -> None:
        warn(text)


class Arrival:
    """`with Arrival(...)`: when it ends without `keep`, nothing is left of what it made."""

    def __init__(self, engine: Engine, wire: Wire) -> None:
        self.engine, self.wire = engine, wire
        self.kept = False
        self._record: Record | None = None
        self._image: Image | None = None
        self._volumes: list[str] = []
        self._spools: dict[str, int] = {}
        self._keys: list[str] = []

    def __enter__(self) -> Arrival:
        return self

    def __exit__(self, *exception: object) -> None:
        for fd in self._spools.values():
            os.close(fd)
        if not self.kept:
            self._take_back()

    def _take_back(self) -> None:
        from sampan.engine import volumes
        from sampan.engine.remove import remove

        if self._record is not None:
            remove(self.engine, self._record["id"], force=True)
        for name in self._volumes:
            volumes.remove(self.engine, name)
        if self._image is not None:
            delete(self.engine, self._image)
        self.engine.images.collect()
        if doomed := set(self._keys) - needed_layers(self.engine):
            self.engine.layers.remove(sorted(doomed))

    def receive_image(self, digest: str, name: str) -> Image:
        before = {image.id for image in self.engine.images.list()}
        source = Stream(self.wire)
        receiving = Receiving(self.engine, source, f"the image of {name}", [], _Notes())
        try:
            image = receiving.run(source.manifest(digest))
        finally:
            self._keys = receiving.keys
        if image.id not in before:
            self._image = image
        return image

    def receive_volumes(self, offered: list[Message], *, into_existing: bool) -> None:
        """All content is here before the first volume is made."""
        for volume in offered:
            self._spools[volume["name"]] = self._receive_volume(volume["name"])
        for volume in offered:
            self._fill(volume, into_existing=into_existing)

    def _receive_volume(self, name: str) -> int:
        self.wire.send("want-volume", name=name)
        size = whole(self.wire.receive("volume"), "size")
        spool = volume_archive.spool(self.engine)
        try:
            room = os.fstatvfs(spool)
            if size + RESERVE > room.f_bavail * room.f_frsize:
                raise LimitError(
                    f"volume {name} is refused",
                    f"its archive has {size} bytes, and the disk has no room for them",
                )
            self.wire.receive_bytes(size, lambda data: _write(spool, data))
            os.lseek(spool, 0, os.SEEK_SET)
        except BaseException:
            os.close(spool)
            raise
        return spool

    def _fill(self, offered: Message, *, into_existing: bool) -> None:
        from sampan.engine import volumes

        name = offered["name"]
        try:
            volume = volumes.create(
                self.engine,
                name,
                driver=offered["driver"],
                labels=offered["labels"],
                anonymous=offered["anonymous"],
            )
            self._volumes.append(name)
        except VolumeExistsError:
            if not into_existing:
                raise
            volume = self.engine.volumes.get(name)
        try:
            volume_archive.unpack(self.engine, volume, self._spools[name])
            for note in ("used", "copied"):  # neither Docker's copy-up nor a new owner of its root
                self.engine.volumes.note(volume, note)
        finally:
            os.close(volume.fd)

    def create(self, image: Image, chosen: RunOptions) -> Record:
        from sampan.engine.create import create

        self._record = create(self.engine, image, chosen).record
        return self._record

    def start(self, spawned: Spawned, record: Record) -> None:
        from sampan.engine import run

        born = run.at_home(self.engine, spawned, record["options"])
        run.ready(born)
        run.start(self.engine, born, record)


def _write(fd: int, data: bytes) -> None:
    from sampan import files

    files.write_all(fd, data)


def receive(engine: Engine, wire: Wire, build: Build, spawned: Spawned) -> None:
    """Serve one sender.

    build: RunOptions of the words of `create` and of a command.
    """
    greet(wire)
    offer = wire.receive("offer")
    volumes, into_existing = objects(offer, "volumes"), flag(offer, "into_existing")
    chosen = build(move_words.check(texts(offer, "options")), texts(offer, "command"))
    _check(engine, chosen, [_volume(volume) for volume in volumes])
    if not into_existing:
        _check_new(engine, volumes)
    # The lease ends first: what it kept is collected when the arrival is taken back.
    with Arrival(engine, wire) as arrival, engine.images.lease() as lease:
        known = _known(engine, objects(offer, "layers"))
        lease.add(*(text(layer, "digest") for layer in known))
        wire.send("ready", layers=known)
        try:
            go = wire.receive("go")
        except Gone:
            arrival.kept = True  # it was a dry run, or failed there: there is nothing to take back
            return
        image = arrival.receive_image(text(go, "manifest"), chosen["name"])
        lease.add(image.digest, image.id, *(layer.digest for layer in image.layers))
        arrival.receive_volumes(volumes, into_existing=into_existing)
        record = arrival.create(image, chosen)
        if flag(go, "start"):
            arrival.start(spawned, record)
        wire.send("created", id=record["id"])
        wire.receive("keep")
        arrival.kept = True
        wire.send("kept")


def _check(engine: Engine, chosen: RunOptions, volumes: list[str]) -> None:
    """Whether this machine can make such a container, before anything is sent."""
    if not chosen["name"]:
        raise CorruptError("the options of a container are refused", "it has no name")
    if isolation.shared(chosen):
        raise CorruptError(
            "the options of a container are refused", "it joins namespaces of another one"
        )
    for mount in chosen["mounts"]:
        if mount["type"] not in TYPES:
            raise CorruptError(
                "the options of a container are refused", f"it mounts an {mount['type']}"
            )
        if mount["type"] == "volume" and (mount["name"] not in volumes or mount["driver_options"]):
            raise CorruptError(
                "the options of a container are refused", "it mounts a volume that is not sent"
            )
    if sorted(volumes) != sorted(model.volumes(chosen["mounts"])):
        raise CorruptError(
            "the volumes of a container are refused", "they are not those that it mounts"
        )
    if engine.containers.name_taken(chosen["name"]):
        raise InUseError(
            f'the container name "{chosen["name"]}" is already in use',
            "by another container",
            "rename that one or this one",
        )
    networks.settle(engine, chosen)
    limits.check(engine, chosen)
    if chosen["userns"] or chosen["uidmap"] or chosen["gidmap"]:
        from sampan.engine.idmaps import chosen_map

        chosen_map(engine, {**chosen, "passwd_entries": []})  # it notes the user that it keeps
    if chosen["seccomp"] not in ("", "unconfined") and not os.path.isfile(chosen["seccomp"]):
        raise SampanError(f"cannot use the seccomp profile {chosen['seccomp']}", "no such file")


def _volume(offered: Message) -> str:
    """The name of an offered volume whose other fields are right."""
    labels: Any = offered.get("labels")
    if not isinstance(labels, dict) or not all(isinstance(value, str) for value in labels.values()):  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]
        raise CorruptError("a volume is refused", "its labels are no texts by name")
    text(offered, "driver")
    flag(offered, "anonymous")
    return check_name(text(offered, "name"))


def _check_new(engine: Engine, volumes: list[Message]) -> None:
    for volume in volumes:
        engine.driver("volume", volume["driver"])
        if engine.volumes.exists(volume["name"]):
            raise VolumeExistsError(
                f"volume with name {volume['name']} already exists",
                "volume already exists",
                "--volumes-into-existing writes over what it has",
            )


def _known(engine: Engine, offered: list[Message]) -> list[Message]:
    """Those of the offered layers that are here, as this store has them; the sender need not send these."""
    wanted = {text(layer, "diff_id") for layer in offered}
    found: dict[str, Message] = {}
    for image in engine.images.list():
        try:
            layers = pack.sources(image)
        except (SampanError, ValueError):
            continue  # a damaged image has nothing to give
        for layer in layers:
            if layer.diff_id in wanted and engine.blobs.has(layer.digest):
                found[layer.diff_id] = {
                    "diff_id": layer.diff_id, "digest": layer.digest, "size": layer.size, "mediaType": layer.media_type,
                }  # fmt: skip
    return list(found.values())
