"""Volumes on disk: a directory each, committed whole by a rename.

`VOLUMES/NAME/` holds `record.json`, what the driver keeps (`_data` of the driver local) and what is known of its use:
`used`, and `copying` or `copied` (see `sampan.engine.placed`).  Which containers use a volume is not written down:
their records say it.
"""

from __future__ import annotations

import os

from sampan import files, jsontext
from sampan.errors import CorruptError, InUseError, NotFoundError, SampanError
from sampan.model.volume import Volume
from sampan.store.locks import FileLock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

RECORD = "record.json"


class VolumeExistsError(InUseError):
    """Another volume has the name."""


class VolumeStore:
    """All volumes of one store."""

    def __init__(self, path: str) -> None:
        files.private_directory(path)
        self.fd = files.open_directory(path)

    def lock(self) -> FileLock:
        """Held while it is settled whether a volume is used, and while one is put aside."""
        return FileLock(self.fd, ".lock", "the volumes")

    def create(self, volume: Volume, make: Callable[[Volume], None], *, sync: bool = True) -> None:
        """Commit a new volume, whose content `make` makes. VolumeExistsError.

        If the creator is killed, the draft tells whose it is.
        """
        temporary = files.temporary_name()
        volume.fd = files.open_directory(temporary, dir_fd=self.fd, create=True)
        record = {
            "version": 1,
            "name": volume.name,
            "driver": volume.driver,
            "options": volume.options,
            "labels": volume.labels,
            "created": volume.created,
            "anonymous": volume.anonymous,
        }
        try:
            files.write_atomic(volume.fd, RECORD, jsontext.dumps(record).encode(), sync=sync)
            make(volume)
            os.rename(temporary, volume.name, src_dir_fd=self.fd, dst_dir_fd=self.fd)
            if sync:
                os.fsync(self.fd)
        except BaseException as error:
            files.remove_tree(self.fd, temporary)
            if isinstance(error, OSError) and self.exists(volume.name):
                raise VolumeExistsError(
                    f"volume with name {volume.name} already exists", "volume already exists"
                ) from None
            raise

    def exists(self, name: str) -> bool:
        try:
            os.stat(f"{name}/{RECORD}", dir_fd=self.fd)
        except OSError:
            return False
        return True

    def get(self, name: str) -> Volume:
        """The volume, with an open descriptor of its directory. NotFoundError."""
        if "/" in name or name.startswith(".") or not name:
            raise _unknown(name)
        return self._read(name)

    def find(self, word: str) -> Volume:
        """The volume of a name, or of a unique beginning of one."""
        if word and "/" not in word and not word.startswith(".") and not self.exists(word):
            found = [name for name in self.names() if name.startswith(word)]
            if len(found) > 1:
                raise SampanError(
                    f"more than one result for volume name {word}",
                    "volume already exists",
                    "give more of it",
                )
            word = found[0] if found else word
        return self.get(word)

    def _read(self, directory: str) -> Volume:
        try:
            fd = files.open_directory(directory, dir_fd=self.fd)
        except (FileNotFoundError, NotADirectoryError):
            raise _unknown(directory) from None
        try:
            record = jsontext.loads(files.read(fd, RECORD))
            if not all(isinstance(record[key], str) for key in ("name", "driver", "created")):
                raise TypeError("name, driver and created are texts")
            return Volume(
                record["name"], record["driver"], record["options"], record["labels"], record["created"],
                anonymous=record["anonymous"], fd=fd,
            )  # fmt: skip
        except FileNotFoundError:
            os.close(fd)
            raise _unknown(directory) from None
        except (ValueError, KeyError, TypeError, CorruptError) as error:
            os.close(fd)
            raise CorruptError(
                f"the record of volume {directory} is damaged",
                f"{type(error).__name__}: {error}",
                f"its data is in {files.path_of(self.fd)}/{directory}",
            ) from None

    def names(self) -> list[str]:
        with os.scandir(self.fd) as entries:
            return sorted(entry.name for entry in entries if not entry.name.startswith("."))

    def all(self) -> Iterator[Volume]:
        """Every volume by name; damaged ones are left out. Each one's descriptor is the caller's."""
        for name in self.names():
            try:
                yield self.get(name)
            except (NotFoundError, CorruptError):
                continue

    def put_aside(self, name: str) -> str:
        """The volume is none any more: the temporary name that it has until it is discarded."""
        doomed = files.temporary_name()
        os.rename(name, doomed, src_dir_fd=self.fd, dst_dir_fd=self.fd)
        return doomed

    def abandoned(self) -> list[str]:
        """Drafts and remains whose creators and removers are gone."""
        return [name for name in os.listdir(self.fd) if files.is_abandoned(name)]

    def draft(self, name: str) -> Volume | None:
        """The volume of a draft or of remains, if its record can be read."""
        try:
            return self._read(name)
        except (NotFoundError, CorruptError):
            return None

    def discard(self, name: str) -> None:
        """Remove a draft or remains; inside the user namespace, for files may belong to any id of it."""
        files.remove_tree(self.fd, name)

    def note(self, volume: Volume, name: str) -> None:
        """Leave a note in the volume's directory."""
        os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600, dir_fd=volume.fd))

    def noted(self, volume: Volume, name: str) -> bool:
        try:
            os.stat(name, dir_fd=volume.fd, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return True


def _unknown(name: str) -> NotFoundError:
    return NotFoundError(f'no volume with name "{name}" found', "no such volume")
