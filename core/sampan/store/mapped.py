"""Layers copied for an id map that is not the store's, where the driver cannot translate owners."""

from __future__ import annotations

import os

from sampan import files
from sampan.linux.clone import Cloner
from sampan.store import records

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from sampan.drivers import StorageDriver
    from sampan.linux.userns import IdMap


def key_of(key: str, owners: IdMap) -> str:
    """The copy's key: the layer's, and a digest of the map."""
    import hashlib

    text = repr((owners.uids, owners.gids)).encode()
    return f"{key}-{hashlib.sha256(text).hexdigest()[:16]}"


class Copy:
    """One layer to be copied. `run` it as root of the store's user namespace."""

    def __init__(
        self,
        directory: int,
        driver: StorageDriver,
        key: str,
        source: str,
        record: Mapping[str, Any],
        owners: IdMap,
    ) -> None:
        self._directory, self._driver, self._key, self._source = directory, driver, key, source
        self._record, self._owners = record, owners

    def run(self) -> None:
        lock = records.open_lock(self._directory)
        try:
            records.lock(lock, self._key)
            if not records.exists(self._directory, self._key):  # another one may have made it
                self._copy()
        finally:
            os.close(lock)

    def _copy(self) -> None:
        """The record comes last, and says where it is from."""
        (lower,) = self._driver.lower([self._source])
        source = files.open_directory(".", dir_fd=lower)
        try:
            with self._driver.layer(self._key, None) as writer:
                Cloner(source, writer.fd, owner=self._owners.outside).run()
        finally:
            os.close(source)
            os.close(lower)
        told = {**self._record, "sidecar": None, "parent": None, "copy_of": self._source}
        records.write(self._directory, self._key, told, sync=True)
