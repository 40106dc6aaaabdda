"""The engine of this command: made once, from the global flags that `main` parsed."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sampan.engine import Engine
    from sampan.settings import Settings

_FLAGS: dict[str, str | None] = {}
_MADE: dict[str, Engine] = {}


def set_flags(flags: dict[str, str | None]) -> None:
    _FLAGS.update(flags)


def settings() -> Settings:
    from sampan.settings import load

    return load(_FLAGS)


def engine() -> Engine:
    """The engine, with the caller's own id map."""
    if "engine" not in _MADE:
        from sampan.engine import Engine
        from sampan.engine.identity import assume

        configured = settings()
        _MADE["engine"] = Engine(configured, assume(configured.root, configured.run_dir))
    return _MADE["engine"]
