"""Secrets on disk: `secrets/NAME` (0600 in 0700), a JSON object with the content in base64, replaced as a whole.

They are not encrypted: whoever can read the user's files can read them.  A container has copies of its own.
"""

from __future__ import annotations

import binascii
import os

from sampan import files, jsontext
from sampan.errors import CorruptError, InUseError, NotFoundError, SampanError
from sampan.store.locks import FileLock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

PLACE = "secrets"
DRIVER = "file"


class Secret:
    """One secret. created and updated are RFC 3339 times."""

    __slots__ = ("created", "data", "id", "labels", "name", "updated")

    def __init__(
        self,
        secret_id: str,
        name: str,
        labels: Mapping[str, str],
        created: str,
        updated: str,
        data: bytes,
    ) -> None:
        self.id, self.name, self.labels = secret_id, name, dict(labels)
        self.created, self.updated, self.data = created, updated, data


class SecretStore:
    """All secrets of one store."""

    def __init__(self, root_fd: int) -> None:
        self._fd = files.open_directory(PLACE, dir_fd=root_fd, create=True)

    def create(self, secret: Secret, *, replace: bool = False) -> None:
        """Commit a secret. InUseError: the name is taken, and is not to be replaced."""
        with self._lock():
            self._sweep()
            if self._exists(secret.name):
                if not replace:
                    raise InUseError(
                        f"cannot create secret {secret.name}",
                        "secret name in use",
                        "--replace replaces it",
                    )
                secret.created = self._read(secret.name).created
            document = {
                "version": 1,
                "id": secret.id,
                "name": secret.name,
                "driver": DRIVER,
                "labels": secret.labels,
                "created": secret.created,
                "updated": secret.updated,
                "data": binascii.b2a_base64(secret.data, newline=False).decode(),
            }
            files.write_atomic(self._fd, secret.name, jsontext.dumps(document).encode())

    def all(self) -> list[Secret]:
        """Every secret, by name."""
        found: list[Secret] = []
        for name in sorted(os.listdir(self._fd)):
            if not name.startswith("."):
                try:
                    found.append(self._read(name))
                except FileNotFoundError:  # removed meanwhile
                    continue
        return found

    def find(self, word: str) -> Secret:
        """The secret of a name, an id, or a unique beginning of an id. NotFoundError."""
        if word and "/" not in word and not word.startswith(".") and self._exists(word):
            try:
                return self._read(word)
            except FileNotFoundError:
                pass
        found = [secret for secret in self.all() if word and secret.id.startswith(word)]
        if len(found) > 1:
            raise SampanError(
                f"secret id {word} is ambiguous",
                f"{len(found)} ids begin so",
                "give more of it",
            )
        if not found:
            raise NotFoundError(
                f'no secret with name or id "{word}"', "no such secret", "sampan secret ls"
            )
        return found[0]

    def remove(self, name: str) -> None:
        with self._lock():
            files.unlink(self._fd, name)
            self._sweep()

    def names(self) -> list[str]:
        return sorted(name for name in os.listdir(self._fd) if not name.startswith("."))

    def _lock(self) -> FileLock:
        return FileLock(self._fd, ".lock", "the secrets")

    def _exists(self, name: str) -> bool:
        try:
            os.stat(name, dir_fd=self._fd, follow_symlinks=False)
        except OSError:
            return False
        return True

    def _sweep(self) -> None:
        """What killed creators have left is a secret, too."""
        for name in os.listdir(self._fd):
            if files.is_abandoned(name):
                files.unlink(self._fd, name)

    def _read(self, name: str) -> Secret:
        try:
            row = jsontext.loads(files.read(self._fd, name))
            return Secret(
                row["id"],
                row["name"],
                row["labels"],
                row["created"],
                row["updated"],
                binascii.a2b_base64(row["data"], strict_mode=True),
            )
        except (ValueError, KeyError, TypeError):
            raise CorruptError(
                f"cannot read secret {name}", "it is damaged", f"sampan secret rm {name} removes it"
            ) from None
