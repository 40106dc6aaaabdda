"""Choosing drivers: what was named, or what the probes say; the choice of `auto` is recorded with its reasons."""

from __future__ import annotations

from sampan import files, jsontext
from sampan.errors import SampanError, UnsupportedError
from sampan.model.contract import Probe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from sampan.engine import Engine

CHOICES = "choices.json"
NOT = "not usable: "


def storage_driver(engine: Engine) -> str:
    """The name of the storage driver."""
    return choose(engine, "storage", engine.settings.storage_driver)


def choose(engine: Engine, concern: str, configured: str) -> str:
    """`configured`, or the usable driver of the highest rank."""
    if configured and configured != "auto":
        return configured
    recorded = choices(engine).get(concern)
    if recorded and recorded["driver"] in engine.plugins.names(concern):
        return str(recorded["driver"])
    return str(renewed(engine, concern)["driver"])


def choices(engine: Engine) -> dict[str, dict[str, Any]]:
    """What `auto` chose: {concern: {driver, reasons: {name: text}}}."""
    try:
        document: dict[str, dict[str, Any]] = jsontext.loads(files.read(engine.root_fd, CHOICES))
        return document
    except (FileNotFoundError, ValueError):
        return {}


def renewed(engine: Engine, concern: str) -> dict[str, Any]:
    """What the probes say now, which is recorded."""
    choice = probed(engine, concern)
    recorded = {**choices(engine), concern: choice}
    files.write_atomic(engine.root_fd, CHOICES, jsontext.dumps(recorded).encode(), sync=False)
    return choice


def probe_of(engine: Engine, concern: str, name: str) -> Probe:
    """What the driver's probe says; one that cannot be loaded is not usable, and that is its own matter."""
    try:
        return engine.plugins.probe(concern, name, engine.context(concern, name))
    except SampanError as error:
        return Probe(False, str(error), "sampan plugin ls tells whose it is")


def probed(engine: Engine, concern: str) -> dict[str, Any]:
    """What the probes say now: {driver, reasons}; nothing is recorded."""
    reasons: dict[str, str] = {}
    usable: list[tuple[int, str]] = []
    entries = engine.plugins.entries(f"sampan.{concern}")
    asked: dict[str, Probe] = {}  # by module: a second name of a driver says the same
    for name in engine.plugins.names(concern):
        value = " ".join(e.value for e in entries if e.name == name)
        if value not in asked:
            asked[value] = probe_of(engine, concern, name)
        probe = asked[value]
        reasons[name] = probe.why if probe.usable else f"{NOT}{probe.why}; {probe.fix}"
        if probe.usable:
            usable.append((probe.rank, name))
    if not usable:
        told = "; ".join(f"{name}: {text}" for name, text in reasons.items())
        raise UnsupportedError(
            f"no {concern} driver works here", told, "sampan plugin ls shows them"
        )
    return {"driver": max(usable)[1], "reasons": reasons}
