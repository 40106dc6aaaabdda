"""The extensions' say: only where an extension is installed is anything called."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from sampan.engine import Engine
    from sampan.model.container import Record


def amend(engine: Engine, document: dict[str, Any], record: Record) -> None:
    """Let extensions change the OCI document before it is committed."""
    engine.plugins.announce("sampan_spec", spec=document, container=record)
