"""What `build --progress rawjson` tells other programs: BuildKit's status, a line a change (client.SolveStatus)."""

from __future__ import annotations

import base64
import hashlib
import json
import time
from typing import TYPE_CHECKING

from sampan.cli.build_progress import Display
from sampan.cli.build_steps import Amount, Step
from sampan.model.rfc3339 import stamp

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


class RawJson(Display):
    """Bytes are base64, times RFC 3339."""

    def __init__(self, fd: int = 2) -> None:
        super().__init__(fd)
        self._offset = time.time() - time.monotonic()  # a step has one beginning in all lines

    def close(self, *, failed: bool = False) -> None:
        return

    def _on_step(self, event: Mapping[str, Any]) -> None:
        super()._on_step(event)
        step = self._step_of(event)
        vertex: dict[str, Any] = {"digest": _digest(step), "name": step.name}
        if step.began:
            vertex["started"] = self._wall(step.began)
        if step.over:
            vertex["completed"] = self._wall(step.ended)
        if step.state == "cached":
            vertex["cached"] = True
        if step.state in ("failed", "canceled"):
            vertex["error"] = step.error or step.state
        self._put("vertexes", vertex)

    def _on_output(self, event: Mapping[str, Any]) -> None:
        step = self._step_of(event)
        data = base64.b64encode(event["data"]).decode()
        log = {"vertex": _digest(step), "stream": event["stream"], "data": data}
        self._put("logs", {**log, "timestamp": self._wall(time.monotonic())})

    def advanced(self, step: Step, amount: Amount) -> None:
        status: dict[str, Any] = {"id": amount.what, "vertex": _digest(step)}
        if amount.total:
            status["total"] = amount.total
        status |= {
            "current": amount.done,
            "timestamp": self._wall(time.monotonic()),
            "started": self._wall(amount.began),
        }
        if amount.ended:
            status["completed"] = self._wall(amount.ended)
        self._put("statuses", status)

    def _on_warning(self, event: Mapping[str, Any]) -> None:
        super()._on_warning(event)
        self._put(
            "warnings", {"level": 1, "short": base64.b64encode(self.warnings[-1].encode()).decode()}
        )

    def said(self, text: str) -> None:
        data = base64.b64encode(f"{text}\n".encode()).decode()
        self._put("logs", {"stream": 2, "data": data, "timestamp": self._wall(time.monotonic())})

    def _put(self, kind: str, value: dict[str, Any]) -> None:
        self.write(json.dumps({kind: [value]}, separators=(",", ":")) + "\n")

    def _wall(self, moment: float) -> str:
        return stamp(int((moment + self._offset) * 1e9))


def _digest(step: Step) -> str:
    """Which step it is, in BuildKit's form."""
    return f"sha256:{hashlib.sha256(f'{step.number} {step.name}'.encode()).hexdigest()}"
