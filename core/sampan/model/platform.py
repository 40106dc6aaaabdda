"""Platforms, and which entry of an index fits one (image-spec, image-index.md: variants).

A machine runs images of its variant and of the lower ones.  A missing variant stands for the
usual one of the architecture, so an arm64 machine (v8) takes an entry that says only arm64.
"""

from __future__ import annotations

from sampan.errors import NotFoundError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sampan.model.image import Descriptor, Index

_MACHINES = {
    "x86_64": ("amd64", ""),
    "i386": ("386", ""),
    "i486": ("386", ""),
    "i586": ("386", ""),
    "i686": ("386", ""),
    "aarch64": ("arm64", "v8"),
    "armv8l": ("arm", "v8"),
    "armv7l": ("arm", "v7"),
    "armv6l": ("arm", "v6"),
    "armv5tel": ("arm", "v5"),
    "loongarch64": ("loong64", ""),
}
_NAMES = {"x86_64": "amd64", "x86-64": "amd64", "i386": "386", "aarch64": "arm64", "armhf": "arm"}
_USUAL = {"arm64": "v8", "arm": "v7", "amd64": "v1"}  # what a missing variant stands for


class Platform:
    """`linux/arm64/v8`; an empty variant is the usual one."""

    __slots__ = ("architecture", "os", "variant")

    def __init__(self, os: str, architecture: str, variant: str = "") -> None:
        self.os, self.architecture, self.variant = os, architecture, variant

    def __str__(self) -> str:
        text = f"{self.os}/{self.architecture}"
        return f"{text}/{self.variant}" if self.variant else text


def host() -> Platform:
    """This machine's."""
    import os

    machine = os.uname().machine
    architecture, variant = _MACHINES.get(machine, (machine, ""))
    return Platform("linux", architecture, variant)


def parse(text: str) -> Platform:
    """`OS/ARCH[/VARIANT]`, `ARCH` or `OS`, as --platform takes it."""
    words = text.lower().split("/")
    if not 1 <= len(words) <= 3 or not all(words):
        raise UsageError(f'invalid platform "{text[:80]}"', "OS/ARCH[/VARIANT] is wanted")
    if len(words) == 1:
        if words[0] == "linux":
            return host()
        words = ["linux", words[0]]
    architecture = _NAMES.get(words[1], words[1])
    return Platform(words[0], architecture, words[2] if len(words) == 3 else "")


def fits(wanted: Platform, os: str, architecture: str, variant: str = "") -> int | None:
    """How well an image fits, the higher the better; None if not at all."""
    if os != wanted.os or _NAMES.get(architecture, architecture) != wanted.architecture:
        return None
    usual = _USUAL.get(wanted.architecture)
    if usual is None:  # no order is known: equal, or one side does not say
        if variant and wanted.variant:
            return 0 if variant == wanted.variant else None
        return 0
    has, may = _number(variant or usual), _number(wanted.variant or usual)
    if has is None or may is None:
        return 0 if variant == wanted.variant else None
    return has if has <= may else None


def choose(index: Index, wanted: Platform, name: str) -> Descriptor:
    """The index' entry that fits best, the first of equals. NotFoundError lists what there is."""
    best: tuple[int, Descriptor] | None = None
    silent: list[Descriptor] = []
    offered: list[str] = []
    for entry in index.manifests:
        platform = entry.document.get("platform")
        if is_attestation(entry):
            continue
        if not platform:
            silent.append(entry)
            continue
        has = Platform(*(str(platform.get(key) or "") for key in ("os", "architecture", "variant")))
        offered.append(str(has))
        rank = fits(wanted, has.os, has.architecture, has.variant)
        if rank is not None and (best is None or rank > best[0]):
            best = rank, entry
    if best is not None:
        return best[1]
    if len(silent) == 1:  # its configuration will tell
        return silent[0]
    raise NotFoundError(
        f"no image for {wanted} in {name}",
        f"it has {', '.join(sorted(set(offered))[:40]) or 'none with a platform'}",
        "choose one with --platform",
    )


def is_attestation(entry: Descriptor) -> bool:
    """BuildKit's provenance and SBOM entries: no image, never unpacked."""
    platform: dict[str, object] = entry.document.get("platform") or {}
    return (
        platform.get("os") == "unknown" and platform.get("architecture") == "unknown"
    ) or "vnd.docker.reference.type" in entry.annotations


def _number(variant: str) -> int | None:
    digits = variant.removeprefix("v").partition(".")[0]
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 4 else None
