"""A container's health check: what the flags ask for over what the image's HEALTHCHECK says.

Docker's defaults; times are seconds here and nanoseconds in images (image-spec, Docker's Healthcheck).
"""

from __future__ import annotations

from sampan.errors import UsageError
from sampan.model import times

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

DEFAULTS: dict[str, Any] = {
    "interval": 30.0, "timeout": 30.0, "start_period": 0.0, "start_interval": 0.0, "retries": 3, "on_failure": "none",
}  # fmt: skip
ACTIONS = ("none", "kill", "restart", "stop")
SHORTEST = 0.001  # seconds; Docker's minimum for interval and timeout
_IMAGE = {
    "Interval": "interval",
    "Timeout": "timeout",
    "StartPeriod": "start_period",
    "StartInterval": "start_interval",
}


def asked(values: dict[str, Any]) -> dict[str, Any]:
    """What the flags say: {"test": [...], "interval": seconds, ...}, with only what was given."""
    given: dict[str, Any] = {}
    if values["no_healthcheck"]:
        if values["health_cmd"]:
            raise UsageError("--no-healthcheck and --health-cmd", "they exclude each other")
        return {"test": ["NONE"]}
    if values["health_cmd"]:
        given["test"] = test(values["health_cmd"])
    for name in ("interval", "timeout", "start_period", "start_interval"):
        if (word := values[f"health_{name}"]) is not None:
            given[name] = _seconds(word, name)
    if (retries := values["health_retries"]) is not None:
        if retries < 1:
            raise UsageError("--health-retries", "must be greater than 0")
        given["retries"] = retries
    if (action := values["health_on_failure"]) is not None:
        if action not in ACTIONS:
            raise UsageError(f"invalid --health-on-failure {action!r}", "", ", ".join(ACTIONS))
        given["on_failure"] = action
    return given


def _seconds(word: str, name: str) -> float:
    flag = f"--health-{name.replace('_', '-')}"
    if name == "interval" and word in ("disable", "0"):
        return 0.0
    seconds = times.duration(word)
    if seconds < (SHORTEST if name in ("interval", "timeout") else 0):
        raise UsageError(f"invalid {flag} {word!r}", "", "a duration such as 30s or 1m30s")
    return seconds


def test(word: str) -> list[str]:
    """The test of `--health-cmd`: a shell command, or podman's JSON list."""
    if word == "none":
        return ["NONE"]
    if word.startswith("["):
        from sampan import jsontext

        try:
            words: list[Any] = jsontext.loads(word)
        except ValueError:
            words = []
        if words and all(isinstance(part, str) for part in words):
            return words if words[0] in ("CMD", "CMD-SHELL", "NONE") else ["CMD", *words]
        raise UsageError(f"invalid --health-cmd {word!r}", "", 'a command, or ["CMD", "WORD", ...]')
    for kind in ("CMD-SHELL", "CMD"):
        if word.startswith(f"{kind} "):
            rest = word.removeprefix(kind).strip()
            return ["CMD-SHELL", rest] if kind == "CMD-SHELL" else ["CMD", *rest.split()]
    return ["CMD-SHELL", word]


def merged(image: dict[str, Any] | None, given: dict[str, Any]) -> dict[str, Any] | None:
    """The check of a container; None without one. Of the image only what is of the right type counts."""
    config = dict(DEFAULTS)
    for key, name in _IMAGE.items():
        value = (image or {}).get(key)
        if isinstance(value, int) and value > 0:
            config[name] = value / 1e9
    if isinstance(retries := (image or {}).get("Retries"), int) and retries > 0:
        config["retries"] = retries
    words: Any = given.get("test") or (image or {}).get("Test") or []
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):  # pyright: ignore[reportUnknownVariableType]
        words = []
    if len(words) < 2 or words[0] not in ("CMD", "CMD-SHELL"):  # pyright: ignore[reportUnknownArgumentType]
        if given and "test" not in given:
            raise UsageError(
                f"--health-{min(given).replace('_', '-')}",
                "cannot be set without a health check command",
                "give one with --health-cmd",
            )
        return None
    return {**config, **given, "test": words}


def document(config: dict[str, Any]) -> dict[str, Any]:
    """As `inspect` shows it: Docker's Healthcheck."""
    shown = {key: int(config[name] * 1e9) for key, name in _IMAGE.items() if config[name]}
    return {"Test": config["test"], **shown, "Retries": config["retries"]}
