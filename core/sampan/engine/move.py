"""container move: a container goes to another machine, and its going is undone until that one has it whole.

The other side asks for what it lacks (`sampan.engine.move_arrival`); this side answers.  Nothing is stopped before
the other side has agreed to the container's options.
"""

from __future__ import annotations

import os
from typing import NamedTuple

from sampan.engine import commit, move_words, pack, volume_archive, warn
from sampan.engine.move_wire import greet, objects, text, whole
from sampan.engine.remove import dependents, remove
from sampan.engine.stop import settled, stop
from sampan.errors import CorruptError, SampanError
from sampan.model import image as documents
from sampan.model import mounts
from sampan.store.blobs import digest_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypedDict

    from sampan.engine import Engine
    from sampan.engine.commit import CommitOptions
    from sampan.engine.fetching import Progress
    from sampan.engine.move_ssh import Connection
    from sampan.engine.move_wire import Message, Wire
    from sampan.engine.spawn import Spawned
    from sampan.store.containers import Container
    from sampan.store.images import Image
    from sampan.store.leases import Lease

    class MoveOptions(TypedDict):
        volumes: bool
        into_existing: bool
        keep_binds: bool
        keep: bool


class Plan(NamedTuple):
    """What a dry run tells: layers with `sent`, the bytes that the container changed, volumes with their sizes."""

    layers: list[dict[str, Any]]
    changes: int
    volumes: list[dict[str, Any]]
    refused: list[SampanError]


COMMIT: CommitOptions = {
    "author": "", "message": "", "change": [], "format": "oci", "pause": False, "squash": False,
    "include_volumes": False,
}  # fmt: skip


def refusals(engine: Engine, container: Container, chosen: MoveOptions) -> list[SampanError]:
    return move_words.refusals(
        container,
        dependents(engine, container.id),
        volumes=chosen["volumes"],
        keep_binds=chosen["keep_binds"],
    )


def plan(engine: Engine, word: str, connection: Connection, chosen: MoveOptions) -> Plan:
    """What a move would send and what refuses it. The container is left alone."""
    from sampan.engine.usage import snapshot_sizes

    container = settled(engine, word)
    refused = refusals(engine, container, chosen)
    moving = Moving(engine, container, chosen)
    known: dict[str, Message] = {}
    if not refused:
        try:
            with connection as wire:
                known = moving.offer(wire)
        except SampanError as error:
            refused.append(error)
    layers = [
        {
            "digest": layer.digest,
            "diff_id": layer.diff_id,
            "size": layer.size,
            "sent": layer.diff_id not in known,
        }
        for layer in pack.sources(moving.image)
    ]
    sizes: dict[str, int] = {}
    if moving.volumes:
        from sampan.engine.volumes import usages

        sizes = dict(usages(engine))
    volumes = [{"name": name, "size": sizes.get(name, 0)} for name in moving.volumes]
    return Plan(layers, snapshot_sizes(engine, [container])[0], volumes, refused)


def move(
    engine: Engine,
    word: str,
    connection: Connection,
    chosen: MoveOptions,
    spawned: Spawned,
    tell: Progress,
) -> str:
    """Move the container; returns the id that it has there."""
    container = settled(engine, word)
    if refused := refusals(engine, container, chosen):
        raise refused[0]
    moving = Moving(engine, container, chosen)
    try:
        with connection as wire, engine.images.lease() as lease:
            known = moving.offer(wire)
            moving.stop()
            moving.pack(lease, known)
            there = moving.hand_over(wire, tell)
    except BaseException:
        moving.undo(spawned)
        raise
    finally:
        engine.images.collect()  # the layer that was made for it
    if not chosen["keep"]:
        _part(engine, container, connection.host)
    return there


def _part(engine: Engine, container: Container, host: str) -> None:
    try:
        remove(engine, container.id, volumes=True)
    except SampanError as error:
        raise SampanError(
            f"container {container.name} is on {host} now, and was not removed here",
            str(error),
            f"sampan rm {container.id[:12]}",
        ) from None


class Moving:
    """One move, step by step."""

    def __init__(self, engine: Engine, container: Container, chosen: MoveOptions) -> None:
        self.engine, self.container, self.chosen = engine, container, chosen
        self.image: Image = engine.images.resolve(container.record["image"]["id"])
        self.volumes = mounts.volumes(container.record["options"]["mounts"])
        self._stopped = self._parted = False
        self._documents: dict[str, bytes] = {}
        self._blobs: dict[str, int] = {}  # digests of layers, and their sizes
        self._manifest = ""

    def offer(self, wire: Wire) -> dict[str, Message]:
        """Tell the other side of the container; returns the layers that it has, by diff_id."""
        record = self.container.record
        greet(wire)
        wire.send(
            "offer",
            options=move_words.words(record, (os.getuid(), os.getgid())),
            command=record["options"]["command"],
            layers=[
                {"diff_id": layer.diff_id, "digest": layer.digest, "size": layer.size}
                for layer in pack.sources(self.image)
            ],
            volumes=[self._volume(name) for name in self.volumes],
            into_existing=self.chosen["into_existing"],
        )
        known = objects(wire.receive("ready"), "layers")
        return {text(layer, "diff_id"): layer for layer in known}

    def _volume(self, name: str) -> dict[str, object]:
        volume = self.engine.volumes.get(name)
        os.close(volume.fd)
        if volume.options:
            raise SampanError(
                f"cannot move volume {name}",
                "it was made with options, which name what this machine has",
                "make a volume of that name there, and move without this one",
            )
        return {
            "name": name,
            "driver": volume.driver,
            "labels": volume.labels,
            "anonymous": volume.anonymous,
        }

    def stop(self) -> None:
        if self.container.run:
            self._stopped = True  # from now on it is to be started again
            stop(self.engine, self.container.id)
            self.container = settled(self.engine, self.container.id)

    def pack(self, lease: Lease, known: dict[str, Message]) -> None:
        """The changes become a layer, and manifest and configuration are made of what the other side has."""
        top = commit.pack_changes(self.engine, lease, self.container, COMMIT, lambda done: None)
        below = pack.sources(self.image)
        lease.add(*(layer.digest for layer in below))
        inner = dict(self.image.config.get("config") or {})
        config = commit.new_document(self.image, self.container, inner, [*below, top], COMMIT)
        layers: list[dict[str, object]] = []
        for layer in [*below, top]:
            theirs = known.get(layer.diff_id)
            if theirs is not None:
                kind, digest, size = (
                    text(theirs, "mediaType"),
                    text(theirs, "digest"),
                    whole(theirs, "size"),
                )
            else:
                kind, digest, size = layer.media_type, layer.digest, layer.size
            self._blobs[layer.digest] = layer.size
            layers.append({"mediaType": kind, "digest": digest, "size": size})
        data = pack.encode(config)
        manifest = pack.encode(
            {
                "schemaVersion": 2,
                "mediaType": documents.OCI_MANIFEST,
                "config": {
                    "mediaType": documents.OCI_CONFIG,
                    "digest": digest_of(data),
                    "size": len(data),
                },
                "layers": layers,
            }
        )
        self._manifest = digest_of(manifest)
        self._documents = {digest_of(data): data, self._manifest: manifest}

    def hand_over(self, wire: Wire, tell: Progress) -> str:
        """Answer what the other side asks for, until it has the container, and part with it."""
        wire.send("go", manifest=self._manifest, start=self._stopped)
        while True:
            message = wire.receive("want", "want-volume", "created")
            if message["kind"] == "created":
                break
            if message["kind"] == "want":
                self._send_blob(wire, text(message, "digest"), tell)
            else:
                self._send_volume(wire, text(message, "name"), tell)
        self._parted = True
        there = text(message, "id")
        if len(there) != 64 or not there.isalnum():
            raise CorruptError(
                f"{wire.peer} has made the container", f"its id {there[:80]!r} is none"
            )
        try:
            wire.send("keep")
            wire.receive("kept")
        except SampanError as error:
            raise SampanError(
                f"whether {wire.peer} has container {self.container.name} is not known",
                error.why or error.what,
                f"if `sampan ps -a` there does not show {there[:12]}, start it here again: nothing was removed",
            ) from None
        return there

    def _send_blob(self, wire: Wire, digest: str, tell: Progress) -> None:
        document = self._documents.get(digest)
        if document is not None:
            fd = os.memfd_create("document", os.MFD_CLOEXEC)
            os.write(fd, document)
            size, kind = len(document), "config"
        elif digest in self._blobs:
            fd = self.engine.blobs.open(digest)
            size, kind = self._blobs[digest], "blob"
        else:
            raise CorruptError(
                f"{wire.peer} asks for {digest[:80]!r}", "the image has no such blob"
            )
        try:
            if digest != self._manifest:
                tell.begin(digest, size, kind)
            wire.send("blob", size=size)
            wire.send_file(fd, size, lambda done: self._advance(tell, digest, done))
            if digest != self._manifest:
                tell.end(digest, "done")
        finally:
            os.close(fd)

    def _advance(self, tell: Progress, digest: str, done: int) -> None:
        if digest != self._manifest:
            tell.update(digest, done)

    def _send_volume(self, wire: Wire, name: str, tell: Progress) -> None:
        if name not in self.volumes:
            raise CorruptError(
                f"{wire.peer} asks for the volume {name[:80]!r}", "the container has none such"
            )
        spool = volume_archive.spool(self.engine)
        try:
            volume = self.engine.volumes.get(name)
            try:
                volume_archive.export(self.engine, volume, spool)
            finally:
                os.close(volume.fd)
            size = os.fstat(spool).st_size
            tell.note(f"Copying volume {name}")
            wire.send("volume", size=size)
            wire.send_file(spool, size, lambda done: None)
        finally:
            os.close(spool)

    def undo(self, spawned: Spawned) -> None:
        """The container is as it was: what ran is started again, unless the other side may have it."""
        if self._parted or not self._stopped:
            return
        from sampan.engine import run

        try:
            container = settled(self.engine, self.container.id)
            if container.run is None:
                born = run.at_home(self.engine, spawned, container.record["options"])
                run.ready(born)
                run.start(self.engine, born, container.record)
        except SampanError as error:  # what stopped the move is told as well
            warn(f"container {self.container.name} was not started again: {error}")
