"""Containers on disk: a directory each, committed whole by a rename.

`containers/ID/` holds `record.json` (what was created), `config.json` (its OCI document), `log`, `run.json` (the
processes of the last run) and `exit.json` (how it ended).  `RUN_DIR/containers/ID/` holds what a reboot may
forget: the bundle and the attach socket.  `names/NAME` holds the id that has the name; it counts only while
that container exists, so a creator or remover that was killed leaves the name usable.
"""

from __future__ import annotations

import os

from sampan import files, jsontext
from sampan.errors import CorruptError, InUseError, NotFoundError, SampanError
from sampan.linux import processes
from sampan.store.locks import FileLock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Any

    from sampan.model.container import Exit, Record, Run


HEALTH = "health.json"
JOINED = "joined-by"  # ids of the containers that were made to join its namespaces
PAUSED = "paused"  # in the run directory: `started` of the run that is paused
STOPPED = "stopped"  # `started` of the run that the user ended: no restart policy brings it back
SHAPES: dict[str, dict[str, Any]] = {  # what must be there: {key: type, or the shape of an object}
    "record.json": {
        "id": str, "name": str, "created": str, "args": list, "runtime": str, "image": {"id": str, "name": str},
        "storage": {"driver": str, "key": str, "chain": list},
        "options": {"labels": dict, "mounts": list, "network": str, "stop_signal": str, "stop_timeout": int,
                    "log_driver": str, "tty": bool, "stdin": bool, "rm": bool, "user": str},
    },
    "config.json": {"process": dict},
    "run.json": {"boot": str, "pid": int, "start_time": int, "monitor": int, "monitor_start_time": int, "started": str,
                 "restarts": int},
    "exit.json": {"code": int | None, "finished": str, "started": str, "oom": bool, "error": str, "restarting": bool,
                  "restarts": int},
    HEALTH: {"Status": str, "FailingStreak": int, "Log": list},
}  # fmt: skip


def _misshapen(document: Any, shape: dict[str, Any], place: str = "") -> str:
    """Which key of a document lacks or has a wrong type; nothing if it is as it was written."""
    if not isinstance(document, dict):
        return f"{place or 'it'} is no object"
    for key, kind in shape.items():
        value: Any = document.get(key, ...)  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        if isinstance(kind, dict):
            if wrong := _misshapen(value, kind, key):  # pyright: ignore[reportUnknownArgumentType]
                return wrong
        elif not isinstance(value, kind):
            return f"{key} is missing or of a wrong type"
    return ""


class NameTakenError(InUseError):
    """Another container has the name."""


class Container:
    """A record with what is known of its state.

    state: created, running, paused, restarting or exited; exit.code is None when nobody saw the end.
    run is there while a monitor is at work: running, paused or restarting.
    """

    __slots__ = ("exit", "health", "record", "run", "state", "stopped")

    def __init__(self, record: Record, state: str, run: Run | None, exit: Exit | None) -> None:
        self.record, self.state, self.run, self.exit = record, state, run, exit
        self.stopped = False  # the user ended the last run; known where a restart policy asks
        self.health = ""  # starting, healthy, unhealthy; of a live container with a health check

    @property
    def id(self) -> str:
        return self.record["id"]

    @property
    def name(self) -> str:
        return self.record["name"]

    @property
    def live(self) -> bool:
        """Whether its first process lives."""
        return self.run is not None and self.state != "restarting"


class ContainerStore:
    """All containers of one store."""

    def __init__(self, root_fd: int, run_dir: str) -> None:
        self.fd = files.open_directory("containers", dir_fd=root_fd, create=True)
        self._names = files.open_directory("names", dir_fd=root_fd, create=True)
        self._run_path = f"{run_dir}/containers"
        self.run_fd = files.open_directory(self._run_path, create=True)

    def run_directory(self, container_id: str) -> str:
        """Absolute path of the container's run state, made if missing."""
        try:
            os.mkdir(container_id, 0o700, dir_fd=self.run_fd)
        except FileExistsError:
            pass
        return f"{self._run_path}/{container_id}"

    def create(
        self,
        record: Record,
        spec: dict[str, Any],
        *,
        sync: bool,
        more: Mapping[str, bytes] | None = None,
        prepare: Callable[[], None] | None = None,
    ) -> None:
        """Commit a new container. NameTakenError.

        more: further files of its directory.
        `prepare` makes its snapshot: if the creator is killed there, the draft tells of what to remove.
        """
        temporary = files.temporary_name()
        fd = files.open_directory(temporary, dir_fd=self.fd, create=True)
        try:
            files.write_atomic(fd, "record.json", jsontext.dumps(record).encode(), sync=sync)
            files.write_atomic(fd, "config.json", jsontext.dumps(spec).encode(), sync=sync)
            for name, data in (more or {}).items():
                files.write_atomic(fd, name, data, sync=sync)
            if prepare:
                prepare()
            with FileLock(self._names, ".lock", "the container names"):
                self._claim(record["name"], record["id"], sync)
                os.rename(temporary, record["id"], src_dir_fd=self.fd, dst_dir_fd=self.fd)
            if sync:
                os.fsync(self.fd)
        except BaseException:
            files.remove_tree(self.fd, temporary)
            raise
        finally:
            os.close(fd)

    def _claim(self, name: str, container_id: str, sync: bool) -> None:
        holder = self._holder(name)
        if holder and holder != container_id:
            raise NameTakenError(
                f'the container name "{name}" is already in use',
                f"by container {holder}",
                "remove that container (or use --replace) to be able to reuse the name",
            )
        files.write_atomic(self._names, name, container_id.encode(), sync=sync)

    def _holder(self, name: str) -> str | None:
        try:
            holder = files.read(self._names, name, 64).decode()
        except FileNotFoundError:
            return None
        return holder if self._exists(holder) else None

    def name_taken(self, name: str) -> bool:
        return self._holder(name) is not None

    def _exists(self, container_id: str) -> bool:
        try:
            os.stat(f"{container_id}/record.json", dir_fd=self.fd)
        except OSError:
            return False
        return True

    def rename(self, record: Record, name: str) -> None:
        """Give the container another name."""
        with FileLock(self._names, ".lock", "the container names"):
            self._claim(name, record["id"], True)
            old, record["name"] = record["name"], name
            fd = self.open(record["id"])
            try:
                files.write_atomic(fd, "record.json", jsontext.dumps(record).encode())
            finally:
                os.close(fd)
            if old != name:
                files.unlink(self._names, old)

    def change_options(self, container_id: str, changes: dict[str, Any]) -> None:
        """Give the container other limits, or another restart policy."""
        with FileLock(self._names, ".lock", "the container names"):
            record: Record = self._read(container_id, "record.json")
            record["options"].update(changes)  # type: ignore[typeddict-item]
            fd = self.open(container_id)
            try:
                files.write_atomic(fd, "record.json", jsontext.dumps(record).encode())
            finally:
                os.close(fd)

    def open(self, container_id: str) -> int:
        """A descriptor of the container's directory."""
        return files.open_directory(container_id, dir_fd=self.fd)

    def ids(self) -> list[str]:
        with os.scandir(self.fd) as entries:
            return [entry.name for entry in entries if len(entry.name) == 64]

    def find(self, word: str) -> str:
        """The id of a name, an id or a unique beginning of an id."""
        if "/" not in word and not word.startswith(".") and word:
            holder = self._holder(word)
            if holder:
                return holder
            if len(word) == 64 and self._exists(word):
                return word
            found = [i for i in self.ids() if i.startswith(word) and self._exists(i)]
            if len(found) == 1:
                return found[0]
            if found:
                raise SampanError(
                    f'container id "{word}" is ambiguous',
                    f"{len(found)} ids begin so",
                    "give more of it",
                )
        raise NotFoundError(
            f'no container with name or ID "{word}" found',
            "no such container",
        )

    def get(self, word: str) -> Container:
        return self.load(self.find(word))

    def load(self, container_id: str) -> Container:
        """The record and the state, which is derived, never guessed."""
        record: Record = self._read(container_id, "record.json")
        return self.with_state(record)

    def with_state(self, record: Record) -> Container:
        """State: running while the process of run.json is alive, or its end is still being recorded.

        Without an exit record and without a monitor that could write one, how it ended is unknown.
        """
        container_id = record["id"]
        run = self.run_record(container_id)
        ended = self.exit_record(container_id)
        recorded = bool(run and ended and ended["started"] == run["started"])
        if run and run["boot"] == processes.boot_id():
            if processes.start_time(run["pid"]) == run["start_time"]:
                container = Container(record, self._running_state(run, container_id), run, None)
                if "health" in record["options"]:
                    container.health = (self.health(container_id) or {}).get("Status", "")
                return container
            monitored = processes.start_time(run["monitor"]) == run["monitor_start_time"]
            if monitored and not recorded:
                ended = self.exit_record(container_id)  # it may just have been written
                recorded = bool(ended and ended["started"] == run["started"])
                if not recorded:
                    return Container(record, "running", run, None)
            if monitored and ended and ended["restarting"]:
                return Container(record, "restarting", run, ended)
        if run and not recorded:
            # Its end was not recorded: the monitor was killed, or the machine went down.
            unseen: Exit = {
                "code": None,
                "finished": run["started"],
                "started": run["started"],
                "oom": False,
                "error": "",
                "restarting": False,
                "restarts": run["restarts"],
            }
            ended = unseen
        container = Container(record, "exited" if ended else "created", None, ended)
        if record["options"]["restart"] == "unless-stopped" and ended:
            container.stopped = self.stopped_run(container_id) == ended["started"]
        return container

    def _running_state(self, run: Run, container_id: str) -> str:
        """running, or paused if the note of a pause is of this run."""
        try:
            noted = files.read(self.run_fd, f"{container_id}/{PAUSED}", 64).decode()
        except (FileNotFoundError, NotADirectoryError):
            return "running"
        return "paused" if noted == run["started"] else "running"

    def note_joined(self, container_id: str, other: str) -> None:
        """Remember that another container is to join namespaces of this one."""
        directory = self.open(container_id)
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
            fd = os.open(JOINED, flags, 0o600, dir_fd=directory)
            files.write_all(fd, f"{other}\n".encode())
            os.close(fd)
        finally:
            os.close(directory)

    def joined_by(self, container_id: str) -> list[str]:
        """The ids of containers that were made to join it; some may be gone."""
        try:
            return files.read(self.fd, f"{container_id}/{JOINED}").decode().split()
        except FileNotFoundError:
            return []

    def stopped_run(self, container_id: str) -> str:
        """When the run that the user ended last had started; "" if there is none."""
        try:
            return files.read(self.fd, f"{container_id}/{STOPPED}", 64).decode()
        except FileNotFoundError:
            return ""

    def run_record(self, container_id: str) -> Run | None:
        try:
            run: Run = self._read(container_id, "run.json")
            return run
        except NotFoundError:
            return None

    def exit_record(self, container_id: str) -> Exit | None:
        try:
            ended: Exit = self._read(container_id, "exit.json")
            return ended
        except NotFoundError:
            return None

    def health(self, container_id: str) -> dict[str, Any] | None:
        """What its monitor last knew of its health (sampan.engine.health); None if nothing."""
        try:
            document: dict[str, Any] = self._read(container_id, HEALTH)
        except (NotFoundError, CorruptError):
            return None
        return document

    def spec(self, container_id: str) -> dict[str, Any]:
        return self._read(container_id, "config.json")  # type: ignore[no-any-return]

    def _read(self, container_id: str, name: str) -> Any:
        try:
            document = jsontext.loads(files.read(self.fd, f"{container_id}/{name}"))
            if wrong := _misshapen(document, SHAPES[name]):
                raise ValueError(wrong)
            return document
        except FileNotFoundError:
            raise NotFoundError(f"container {container_id[:12]} has no {name}") from None
        except (ValueError, OSError, CorruptError, RecursionError) as error:
            why = error.strerror if isinstance(error, OSError) else str(error)
            raise CorruptError(
                f"{name} of container {container_id[:12]} is damaged",
                why or "",
                f"sampan rm -f {container_id[:12]} removes the container",
            ) from None

    def all(self, *, builds: bool = False) -> Iterator[Container]:
        """Every container, the newest last; damaged ones are left out, and without `builds` those of builders."""
        found: list[Container] = []
        for container_id in self.ids():
            try:
                container = self.load(container_id)
            except (NotFoundError, CorruptError):
                continue
            if builds or "builder" not in container.record:
                found.append(container)
        yield from sorted(found, key=lambda container: container.record["created"])

    def users_of_image(self, image_id: str) -> list[str]:
        """Ids of the containers made from the image, or that mount it."""
        return [
            c.id
            for c in self.all()
            if c.record["image"]["id"] == image_id
            or any(mount.get("id") == image_id for mount in c.record["options"]["mounts"])
        ]

    def remove(self, container_id: str, name: str | None) -> None:
        """Forget a container: first its directory's name, then its name, then what it held."""
        doomed = files.temporary_name()
        try:
            os.rename(container_id, doomed, src_dir_fd=self.fd, dst_dir_fd=self.fd)
        except FileNotFoundError:
            return
        if name:
            with FileLock(self._names, ".lock", "the container names"):
                if self._holder(name) is None:
                    files.unlink(self._names, name)
        files.remove_tree(self.run_fd, container_id)
        files.remove_tree(self.fd, doomed)

    def abandoned(self) -> list[tuple[str, Record | None]]:
        """Drafts and remains whose creators and removers are gone, with the record if it can be read."""
        for name in os.listdir(self._names):
            if files.is_abandoned(name):
                files.unlink(self._names, name)
        found: list[tuple[str, Record | None]] = []
        for name in os.listdir(self.fd):
            if files.is_abandoned(name):
                try:
                    found.append((name, self._read(name, "record.json")))
                except (NotFoundError, CorruptError):
                    found.append((name, None))
        return found

    def discard(self, name: str, record: Record | None) -> None:
        """Remove what `abandoned` found, and what else its maker may have left."""
        with FileLock(self._names, ".lock", "the container names"):
            for other in [record["name"]] if record else []:
                if self._holder(other) is None:
                    files.unlink(self._names, other)
            if record and not self._exists(record["id"]):
                files.remove_tree(self.run_fd, record["id"])
            files.remove_tree(self.fd, name)
