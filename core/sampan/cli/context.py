"""The engine of this command: made once, from the global flags that `main` parsed."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sampan.cli.flags import Flags
    from sampan.engine import Engine
    from sampan.settings import Settings

_GIVEN: list[Flags] = []
_FLAGS: dict[str, str | None] = {}
_MADE: dict[str, Engine] = {}


def flags() -> Flags:
    """The global flags; who gives none loads nothing."""
    if not _GIVEN:
        from sampan.cli.flags import Flags

        _GIVEN.append(Flags(_FLAGS))
    return _GIVEN[0]


def check_runtime(settings: Settings) -> None:
    """Refuse what `--runtime-flag` asks of a runtime."""
    if _GIVEN:
        _GIVEN[0].check_runtime(settings.runtime)


def settings() -> Settings:
    from sampan.settings import load

    return load(_FLAGS)


def engine() -> Engine:
    """The engine, with the caller's own id map."""
    if "engine" not in _MADE:
        from sampan.engine import Engine
        from sampan.engine.identity import assume

        configured = settings()
        if configured.log_level in ("trace", "debug", "info"):
            from sampan.cli.flags import report

            report(configured)
        _MADE["engine"] = Engine(configured, assume(configured.root, configured.run_dir))
    return _MADE["engine"]
