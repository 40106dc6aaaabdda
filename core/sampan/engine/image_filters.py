"""The filters of `images` and `image prune`: KEY=VALUE, all keys must match, values of one key
are alternatives.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Sequence

from sampan.errors import UsageError
from sampan.model import reference, times
from sampan.store.images import Image

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sampan.engine import Engine

KEYS = (
    "after", "before", "containers", "dangling", "digest", "id", "intermediate", "label", "label!",
    "readonly", "reference", "since", "until",
)  # fmt: skip
Test = Callable[[Image], bool]


def select(engine: Engine, images: Sequence[Image], filters: Sequence[str]) -> list[Image]:
    """The images that pass. UsageError names a filter that is not known."""
    tests: dict[str, list[Test]] = {}
    for text in filters:
        key, equals, value = text.partition("=")
        if text.startswith("label!="):
            key, value = "label!", text.removeprefix("label!=")
        if not equals or key not in KEYS:
            raise UsageError(f'unsupported image filter "{text}"', f"known: {', '.join(KEYS)}")
        tests.setdefault(key, []).append(_test(engine, key, value))
    return [
        image
        for image in images
        if all(
            (all if key.startswith("label") else any)(test(image) for test in alternatives)
            for key, alternatives in tests.items()
        )
    ]


def _test(engine: Engine, key: str, value: str) -> Test:
    if key in ("after", "since", "before"):
        other = engine.images.resolve(value)
        if key == "before":
            return lambda image: _moment(image) < _moment(other)
        return lambda image: _moment(image) > _moment(other)
    if key == "until":
        limit = times.moment(value)
        return lambda image: _moment(image) < limit
    if key in ("dangling", "readonly", "intermediate", "containers"):
        return _flag(engine, key, _boolean(key, value))
    if key == "id":
        digits = value.removeprefix("sha256:")
        return lambda image: image.id.removeprefix("sha256:").startswith(digits)
    if key == "digest":
        return lambda image: any(
            one.partition("@")[2].startswith(value) for one in image.repo_digests
        )
    if key == "reference":
        return lambda image: any(matches(name, value) for name in image.references)
    return _label(value, wanted=key == "label")


def _flag(engine: Engine, key: str, wanted: bool) -> Test:
    if key == "dangling":
        return lambda image: (not image.references) == wanted
    if key == "containers":
        return lambda image: bool(engine.containers.users_of_image(image.id)) == wanted
    return lambda image: not wanted  # nothing here is read-only or intermediate


def _label(text: str, wanted: bool) -> Test:
    name, equals, value = text.partition("=")

    def test(image: Image) -> bool:
        labels = image.labels
        return (name in labels and (not equals or labels[name] == value)) == wanted

    return test


def matches(name: str, pattern: str) -> bool:
    """Whether a full name is meant by `reference=`: as a name, a short name, or a pattern of
    either.
    """
    repository = name.partition("@")[0].rpartition("/")
    base = name.partition("@")[0]
    tagless = base.rpartition(":")[0] if ":" in repository[2] else base
    for text in (base, tagless):
        forms = [text, text.removeprefix("docker.io/"), text.removeprefix("docker.io/library/")]
        parts = text.split("/")
        forms.extend("/".join(parts[at:]) for at in range(1, len(parts)))
        if any(fnmatch.fnmatchcase(form, pattern) for form in forms):
            return True
    return name == pattern or _same(name, pattern)


def _same(name: str, pattern: str) -> bool:
    try:
        return str(reference.parse(pattern)) == name
    except UsageError:
        return False


def _boolean(key: str, value: str) -> bool:
    if value.lower() not in ("true", "false", "1", "0"):
        raise UsageError(f"bad filter {key}={value}", "true or false is wanted")
    return value.lower() in ("true", "1")


def _moment(image: Image) -> float:
    return moment(image.created)


def moment(created: str) -> float:
    """Seconds since the epoch; 0.0 for what an image does not tell."""
    from datetime import datetime

    try:
        return datetime.fromisoformat(created.replace("Z", "+00:00")).timestamp()
    except ValueError:
        pass
    try:
        return times.parse(created)
    except (ValueError, OverflowError):
        return 0.0
