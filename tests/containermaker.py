"""Containers in a store of a test's own, without a program."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from optionmaker import chosen, settings
from sampan.engine import Engine
from sampan.linux.userns import IdMap
from sampan.model.container import Record


def make_engine(place: Path) -> Engine:
    """A real engine over a store in `place`."""
    configured = settings()
    configured.values.update(root=str(place / "root"), run_dir=str(place / "run"))
    return Engine(configured, IdMap(((0, os.getuid(), 1),), ((0, os.getgid(), 1),)))


def make_record(
    name: str, *words: str, created: str = "2026-01-01T00:00:00.000000000+00:00"
) -> Record:
    return {
        "version": 1,
        "id": os.urandom(32).hex(),
        "name": name,
        "created": created,
        "image": {"id": "sha256:" + "0" * 64, "name": "image", "digest": ""},
        "args": ["sh"],
        "storage": {"driver": "overlay", "key": "c0", "chain": []},
        "runtime": "native",
        "options": chosen(*words),
        "engine": "0",
    }


def add(engine: Engine, name: str, *words: str, **more: Any) -> Record:
    record = make_record(name, *words, **more)
    engine.containers.create(record, {"process": {}}, sync=False)
    return record


def directory(engine: Engine, record: Record) -> Path:
    return Path(engine.settings.root) / "containers" / record["id"]
