"""What a pull tells a build that waits for its base image, as events of the build."""

from __future__ import annotations

from sampan.engine.fetching import Silent

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sampan.engine.building import Listener


class Fetching(Silent):
    """What a pull tells, as events."""

    def __init__(self, listen: Listener) -> None:
        self._listen = listen
        self._sizes: dict[str, int] = {}

    def note(self, text: str) -> None:
        self._listen({"kind": "say", "text": text})

    def begin(self, digest: str, size: int, kind: str) -> None:
        self._sizes[digest] = size

    def update(self, digest: str, received: int) -> None:
        total = self._sizes.get(digest)
        self._listen({"kind": "bytes", "id": 0, "what": digest, "done": received, "total": total})
