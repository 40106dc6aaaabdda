"""A builder in one file: a recipe has a line for each step, and a step that writes is a layer.

    write PATH TEXT
    print TEXT
    fail CODE

It imports what the contract allows: drivers, errors and hookspecs of sampan.
"""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING, Any

from sampan.drivers import BuildHost, BuildRequest, DriverContext, Layers
from sampan.errors import SampanError, UsageError
from sampan.hookspecs import hookimpl

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

KNOWN = "write", "print", "fail"


class Recipe:
    name = "recipe"

    def build(self, request: BuildRequest, host: BuildHost) -> str:
        lines = _lines(request)
        layers: Layers = ()
        for number, line in enumerate(lines, 1):
            name = f"[{number}/{len(lines)}] {line}"
            step = {"kind": "step", "id": number, "name": name}
            host.progress({**step, "state": "started"})
            try:
                made, cached = _made(lines[:number], layers, host, number, request.options)
            except SampanError as error:
                host.progress({**step, "state": "failed", "error": str(error)})
                raise
            layers = made
            host.progress({**step, "state": "cached" if cached else "done"})
        config = {"config": {"Cmd": ["/bin/sh"], "Labels": dict(request.options["label"])}}
        return host.commit(layers, config, request.tags, form=request.options["format"])

    def check(self, request: BuildRequest, host: BuildHost) -> Collection[Mapping[str, Any]]:
        """What is no step."""
        lines = _lines(request)
        return [
            {"rule": "UnknownStep", "url": "https://example.org/step", "text": f"{line!r} is no step",
             "file": "recipe", "line": number, "end": number, "source": "\n".join(lines)}
            for number, line in enumerate(lines, 1)
            if line.split()[0] not in KNOWN
        ]  # fmt: skip


def _lines(request: BuildRequest) -> list[str]:
    name = request.options["file"] or os.path.join(request.source, "recipe")
    with open(name, encoding="utf-8") as file:
        return file.read().splitlines()


def _made(
    lines: list[str], below: Layers, host: BuildHost, number: int, options: Mapping[str, Any]
) -> tuple[Layers, bool]:
    """(the layers after the last of the lines, whether the cache knew them)."""
    kind, _, rest = lines[-1].partition(" ")
    if kind == "print":
        data = f"{rest}\n".encode()
        host.progress({"kind": "output", "id": number, "stream": 1, "data": data})
        return below, False
    if kind == "fail":
        raise SampanError("the recipe failed", f"exit code: {rest}", exit_status=int(rest))
    if kind != "write":
        raise UsageError(f"recipe:{number}", f"{kind!r} is no step")
    key = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    with host.cache.flight(key, lambda text: host.progress({"kind": "say", "text": text})):
        known = None if options["no_cache"] else host.cache.get(key)
        if known is not None:
            return known.layers, True
        path, _, text = rest.partition(" ")

        def fill(directory: int) -> None:
            fd = os.open(path, os.O_WRONLY | os.O_CREAT, 0o4755, dir_fd=directory)
            os.fchmod(fd, 0o4755)
            os.write(fd, text.encode())
            os.close(fd)

        layers = (*below, host.layer(fill))
        host.cache.put(key, layers, {"description": lines[-1], "kind": "regular"})
        return layers, False


@hookimpl
def sampan_builder(context: DriverContext) -> Recipe:
    return Recipe()
