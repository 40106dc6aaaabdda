"""How much disk things take."""

from __future__ import annotations

import os

from sampan import jsontext
from sampan.linux import userns

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from sampan.engine import Engine
    from sampan.store.containers import Container


def snapshot_sizes(engine: Engine, containers: Sequence[Container]) -> list[int]:
    """Bytes that each container changed."""
    read_end, write_end = os.pipe()

    def measure() -> None:
        sizes: list[int] = []
        for container in containers:
            storage = container.record["storage"]
            sizes.append(engine.driver("storage", storage["driver"]).usage(storage["key"]))
        os.write(write_end, jsontext.dumps(sizes).encode())

    userns.run(engine.idmap, measure)
    os.close(write_end)
    data = os.read(read_end, 1 << 20)
    os.close(read_end)
    return [int(size) for size in jsontext.loads(data)]
