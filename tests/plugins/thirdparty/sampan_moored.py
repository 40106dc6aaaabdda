"""A registry server that says what it was given and leaves."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from sampan.drivers import DriverContext, RegistryHost, ServeRequest


class Moored:
    name = "moored"

    def serve(
        self, request: ServeRequest, host: RegistryHost, ready: Callable[[str], object]
    ) -> None:
        repository = host.repository("moored/it")
        with repository.upload(repository.begin_upload()) as upload:
            upload.write(b"{}")
            upload.commit(request.htpasswd)
        config = {"mediaType": "application/x", "digest": request.htpasswd, "size": 2}
        document = {"schemaVersion": 2, "config": config, "layers": []}
        repository.put_manifest(repr(document).replace("'", '"').encode(), "", ["x"])
        host.tidy()
        ready(f"{request.listen} with {host.names()}")


def sampan_registry(context: DriverContext) -> Moored:
    return Moored()
