"""The id map of a container that does not have the store's: `--userns`, `--uidmap`, `--gidmap`.

Such a container is in a user namespace nested in the store's, so its map is written in the store's ids: 0 is the
user's own id, 1 and up are the subordinate ones (podman's numbers).  Each extent must lie within one extent of the
store's map (user_namespaces(7)).
"""

from __future__ import annotations

from sampan.errors import UnsupportedError, UsageError
from sampan.linux.userns import IdMap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from sampan.linux.userns import Extent

AUTO_SIZE = 1024
NOBODY = 65534
SUBIDS = "an administrator can add subordinate ids: usermod --add-subuids --add-subgids"


class Mode:
    """`--userns NAME[:KEY=VALUE,...]`, checked."""

    __slots__ = ("name", "options")

    def __init__(self, name: str, options: dict[str, int]) -> None:
        self.name, self.options = name, options


KEYS = {"": (), "host": (), "nomap": (), "keep-id": ("uid", "gid"), "auto": ("size",)}


def parse(text: str) -> Mode:
    name, _, rest = text.partition(":")
    if name not in KEYS:
        raise UsageError(
            f"invalid --userns {text!r}", "no such mode", "host, keep-id, nomap, auto, or --uidmap"
        )
    options: dict[str, int] = {}
    for word in rest.split(",") if rest else ():
        key, _, value = word.partition("=")
        if key not in KEYS[name] or not (value.isascii() and value.isdigit() and len(value) < 10):
            known = ", ".join(f"{known}=NUMBER" for known in KEYS[name]) or "none"
            raise UsageError(
                f"invalid --userns {text!r}", f"unknown option {word!r}", f"known: {known}"
            )
        options[key] = int(value)
    return Mode(name, options)


def triples(words: Sequence[str], option: str) -> list[Extent]:
    """`--uidmap CONTAINER:STORE:COUNT`, several times."""
    found: list[Extent] = []
    for word in words:
        parts = word.split(":")
        if len(parts) == 2:
            parts.append("1")
        if len(parts) != 3 or not all(p.isascii() and p.isdigit() and len(p) < 11 for p in parts):
            raise UsageError(f"invalid {option} {word!r}", "", "CONTAINER_ID:ID:COUNT")
        first, other, count = (int(part) for part in parts)
        if count < 1 or first + count > 1 << 32:
            raise UsageError(f"invalid {option} {word!r}", "its count is out of range")
        for known, _, size in found:
            if first < known + size and known < first + count:
                raise UsageError(f"invalid {option} {word!r}", "it overlaps another one")
        found.append((first, other, count))
    return found


def explicit(store: IdMap, uids: list[Extent], gids: list[Extent]) -> IdMap:
    """The map of --uidmap and --gidmap; one of them alone counts for both."""
    return IdMap(
        _within(uids or gids, store.uids, "--uidmap"), _within(gids or uids, store.gids, "--gidmap")
    )


def of_mode(store: IdMap, mode: Mode, own: tuple[int, int], taken: Sequence[IdMap]) -> IdMap | None:
    """The map of a mode, None for the store's own.

    own: the user's ids on the host.  taken: the maps of other containers, which `auto` leaves alone.
    """
    if mode.name == "keep-id":
        uid, gid = mode.options.get("uid", own[0]), mode.options.get("gid", own[1])
        return IdMap(_keep(uid, store.uids), _keep(gid, store.gids))
    if mode.name not in ("nomap", "auto"):
        return None
    if store.single:
        raise UnsupportedError(
            f"cannot use --userns {mode.name}", "your user has one id only", SUBIDS
        )
    uids, gids = store.count() - 1, store.gid_count() - 1
    if mode.name == "nomap":
        return IdMap(
            _within([(0, 1, uids)], store.uids, "nomap"),
            _within([(0, 1, gids)], store.gids, "nomap"),
        )
    size = mode.options.get("size", AUTO_SIZE)
    first = _free(size, min(uids, gids), taken)
    return IdMap(
        _within([(0, first, size)], store.uids, "auto"),
        _within([(0, first, size)], store.gids, "auto"),
    )


def _keep(number: int, parent: tuple[Extent, ...]) -> tuple[Extent, ...]:
    """The user's own id appears as `number`, the subordinate ones around it."""
    others = sum(count for _, _, count in parent) - 1
    below = min(number, others)
    wanted = [(0, 1, below), (number, 0, 1), (number + 1, below + 1, others - below)]
    return _within([extent for extent in wanted if extent[2]], parent, "keep-id")


def _free(size: int, highest: int, taken: Sequence[IdMap]) -> int:
    """The first of `size` ids in a row that no other container has."""
    ranges = sorted((first, first + count) for other in taken for _, first, count in other.uids)
    start = 1
    for first, end in ranges:
        if first >= start + size:
            break
        start = max(start, end)
    if not size or start + size - 1 > highest:
        raise UnsupportedError(
            f"cannot give the container {size} ids of its own",
            f"{max(0, highest - start + 1)} of {highest} subordinate ids are free",
            f"ask for fewer (--userns auto:size=N) or remove containers that have some; {SUBIDS}",
        )
    return start


def _within(extents: Sequence[Extent], parent: tuple[Extent, ...], what: str) -> tuple[Extent, ...]:
    """The extents, cut where the parent's are; an id that the parent lacks is an error."""
    found: list[Extent] = []
    for inside, outside, left in extents:
        while left:
            room = next(
                (
                    first + count - outside
                    for first, _, count in parent
                    if first <= outside < first + count
                ),
                0,
            )
            if not room:
                raise UnsupportedError(
                    f"cannot make the id map ({what})",
                    f"id {outside} is not among yours ({sum(count for _, _, count in parent)})",
                    SUBIDS,
                )
            part = min(left, room)
            found.append((inside, outside, part))
            inside, outside, left = inside + part, outside + part, left - part
    return tuple(found)
