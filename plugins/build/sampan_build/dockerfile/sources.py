"""Where stages and steps take files from: images, named contexts, and directories that become layers."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

from sampan_build.dockerfile import transfer
from sampan_build.dockerfile import values as v
from sampan_build.dockerfile.contexts import Context

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sampan.drivers import BaseImage, BuildHost, Digests, Layers
    from sampan_build.dockerfile.contexts import Contexts
    from sampan_build.dockerfile.options import Options
    from sampan_build.dockerfile.parser import Node
    from sampan_build.dockerfile.stages import Origin
    from sampan_build.dockerfile.transfer import Gathered

FORMAT = "1"  # to be raised when the same words are to give other layers


def digest(*parts: object) -> str:
    """64 hexadecimal digits of JSON values."""
    text = json.dumps(parts, sort_keys=True)
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


@dataclass(frozen=True, slots=True)
class Source:
    """Files by their key: a stage's (its index) at its end, or layers that are there."""

    key: str
    stage: int = -1
    layers: Layers = ()


SCRATCH = Source(digest(FORMAT, "scratch"))


class Sources:
    """Finds them; an image is looked for once."""

    def __init__(
        self, host: BuildHost, contexts: Contexts, options: Options, digests: Digests, work_fd: int
    ) -> None:
        """work_fd: a directory for what is downloaded."""
        self.host, self.contexts, self.options = host, contexts, options
        self._digests, self._work_fd = digests, work_fd
        self._images: dict[str, BaseImage] = {}

    def image(self, name: str, platform: str = "") -> BaseImage:
        platform = platform or self.options.platform
        key = f"{name} {platform}"
        if key not in self._images:
            self._images[key] = self.host.image(name, platform, self.options.pull)
        return self._images[key]

    def of_image(self, name: str, platform: str = "") -> Source:
        found = self.image(name, platform)
        return Source(digest(FORMAT, "image", found.id), layers=found.layers)

    def find(self, origin: Origin, platform: str = "") -> Source | Context:
        """What an origin that is no stage stands for."""
        if origin.kind == "scratch":
            return SCRATCH
        if origin.kind == "context":
            found = self.contexts.named(origin.name)
            assert found is not None  # it is one of the names that stages knows
            return self.of_image(found, platform) if isinstance(found, str) else found
        return self.of_image(origin.name, platform)

    def gather(self, row: v.Copy | v.Add, context: Context | None) -> Gathered:
        return transfer.gather(row, context, self._work_fd, self._digests, self._say)

    def directory(self, context: Context, node: Node, path: str = "/") -> Source:
        """What is at a path of a context, at the same path of a layer, which is made when nobody has it."""
        whole = path.strip("/") in ("", ".")
        row = v.Copy(node, ("/",) if whole else (path,), "/", parents=not whole)
        gathered = self.gather(row, context)
        key = digest(FORMAT, "context", gathered.identity)
        known = self.host.cache.get(key)
        if known is not None:
            return Source(key, layers=known.layers)
        layer = self.host.tree(
            ((),), lambda roots, tar: transfer.write(gathered, row, "/", roots, tar)
        )
        layers = (layer,) if layer else ()
        about = {"description": f"local source for {context.name}", "kind": "source.local"}
        self.host.cache.put(key, layers, about)
        return Source(key, layers=layers)

    def _say(self, text: str) -> None:
        self.host.progress({"kind": "say", "text": text})
