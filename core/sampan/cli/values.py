"""Values of a format template: what Go takes for true, how it prints them, and as JSON."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeGuard


def is_object(value: object) -> TypeGuard[dict[str, Any]]:
    return isinstance(value, dict)


def is_list(value: object) -> TypeGuard[list[Any]]:
    return isinstance(value, list)


class NoValue:
    """A key that an open map lacks."""

    def __repr__(self) -> str:
        return "<no value>"


NO_VALUE = NoValue()


def truth(value: Any) -> bool:
    """Go's: what is not the zero value of its type."""
    return value is not NO_VALUE and bool(value)


def is_number(value: Any) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def text_of(value: Any) -> str:
    """What Go's %v prints."""
    if isinstance(value, str):
        return value
    if value is None:
        return "<nil>"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 1e21 else repr(value)
    if is_list(value):
        return "[" + " ".join(text_of(item) for item in value) + "]"
    if is_object(value):
        return "map[" + " ".join(f"{key}:{text_of(value[key])}" for key in sorted(value)) + "]"
    return str(value)


def jsonable(value: Any) -> Any:
    """The value without methods and private keys."""
    if is_object(value):
        return {
            key: jsonable(item)
            for key, item in value.items()
            if not callable(item) and not key.startswith("_")
        }
    if is_list(value):
        return [jsonable(item) for item in value]
    return None if value is NO_VALUE else value


def to_json(value: Any, indent: int | None = None) -> str:
    import json  # a plain table needs none

    separators = (",", ":") if indent is None else (",", ": ")
    return json.dumps(jsonable(value), ensure_ascii=False, indent=indent, separators=separators)
