"""Networks on disk: `networks/NAME` (0600 in 0700), a JSON object each, written once and whole.

Which containers are on a network is not written down: their records say it.
"""

from __future__ import annotations

import os

from sampan import files, jsontext
from sampan.errors import CorruptError, InUseError, NotFoundError, SampanError
from sampan.store.locks import FileLock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from sampan.model.network import Network

PLACE = "networks"
KEYS = {"id": str, "name": str, "driver": str, "created": str, "labels": dict, "options": dict, "subnets": list,
        "internal": bool, "named": bool}  # fmt: skip


class NetworkStore:
    """All networks of one store that a user has made, and the default one once it was used."""

    def __init__(self, root_fd: int) -> None:
        self._fd = files.open_directory(PLACE, dir_fd=root_fd, create=True)

    def lock(self) -> FileLock:
        """Held while a network is made or removed, and while it is settled who is on it."""
        return FileLock(self._fd, ".lock", "the networks")

    def add(self, network: Network) -> None:
        """Commit a network; the lock is held. InUseError: the name is taken."""
        if self.exists(network["name"]):
            raise InUseError(
                f"network name {network['name']} already used", "network already exists"
            )
        files.sweep(self._fd)
        files.write_atomic(self._fd, network["name"], jsontext.dumps(network).encode())

    def exists(self, name: str) -> bool:
        if not name or "/" in name or name.startswith("."):
            return False
        try:
            os.stat(name, dir_fd=self._fd, follow_symlinks=False)
        except OSError:
            return False
        return True

    def find(self, word: str) -> Network:
        """The network of a name, an id, or a unique beginning of an id. NotFoundError."""
        if self.exists(word):
            return self._read(word)
        found = [network for network in self.all() if word and network["id"].startswith(word)]
        if len(found) > 1:
            raise SampanError(
                f"network id {word} is ambiguous", f"{len(found)} ids begin so", "give more of it"
            )
        if not found:
            raise NotFoundError(
                f"unable to find network with name or ID {word}", "network not found"
            )
        return found[0]

    def all(self) -> list[Network]:
        """Every network, by name; damaged ones are left out."""
        found: list[Network] = []
        for name in sorted(os.listdir(self._fd)):
            if not name.startswith("."):
                try:
                    found.append(self._read(name))
                except (NotFoundError, CorruptError):
                    continue
        return found

    def remove(self, name: str) -> None:
        files.unlink(self._fd, name)

    def _read(self, name: str) -> Network:
        row: Any = {}
        try:
            row = jsontext.loads(files.read(self._fd, name))
            wrong = [key for key, kind in KEYS.items() if not isinstance(row[key], kind)]
        except FileNotFoundError:
            raise NotFoundError(
                f"unable to find network with name or ID {name}", "network not found"
            ) from None
        except (ValueError, KeyError, TypeError, CorruptError) as error:
            wrong = [str(error)]
        if wrong:
            raise CorruptError(
                f"the record of network {name} is damaged",
                wrong[0],
                f"sampan network rm -f {name} removes it",
            )
        found: Network = row
        return found
