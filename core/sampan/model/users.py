"""Who a container's process is: `--user` and USER against the image's own passwd and group files.

A number is an id and is never looked up as a name, so a user *named* 4294967296 gains nothing (group(5), passwd(5)).
"""

from __future__ import annotations

from sampan.errors import NotFoundError, SampanError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

HIGHEST = 2**31 - 1


class User:
    """Ids, supplementary groups (the primary one not among them) and home directory."""

    __slots__ = ("gid", "groups", "home", "name", "uid")

    def __init__(self, uid: int, gid: int, groups: list[int], home: str, name: str) -> None:
        self.uid, self.gid, self.groups, self.home, self.name = uid, gid, groups, home, name


def number(text: str, what: str) -> int | None:
    """The id that `text` spells, or None if it is a name; numbers out of range are refused."""
    if text.isascii() and text.isdigit():
        value = int(text) if len(text) < 12 else HIGHEST + 1
        if value > HIGHEST:
            raise SampanError(f"invalid {what} {text!r}", f"an id is between 0 and {HIGHEST}")
        return value
    if not text or text[0] in "+-0123456789" or text != text.strip() or ":" in text:
        raise SampanError(
            f"invalid {what} {text!r}", f"it is neither a name nor a number up to {HIGHEST}"
        )
    return None


def _rows(data: bytes | None, fields: int) -> Iterable[list[str]]:
    for line in (data or b"").decode(errors="surrogateescape").split("\n"):
        row = line.split(":")
        if len(row) >= fields and not line.startswith("#"):
            yield row


def _id(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 11 else None


def resolve(
    user: str,
    passwd: bytes | None,
    group: bytes | None,
    extra_groups: list[str] | None = None,
    *,
    gid_count: int = HIGHEST + 1,
) -> User:
    """The user of `NAME|UID[:GROUP|GID]`; an empty text is root.

    Groups that the image gives its user and that are not below `gid_count`, so cannot be set, are left out.
    """
    name_text, colon, group_text = user.partition(":")
    if user and not name_text:
        raise SampanError(f"invalid user {user!r}", "it names no user", "USER[:GROUP]")
    uid, gid, home, name = _find_user(name_text or "0", passwd)
    explicit = bool(colon and group_text)
    if explicit:
        gid = _find_group(group_text, group)
    groups: list[int] = []
    if not explicit and name:
        groups = [
            found
            for row in _rows(group, 4)
            if name in row[3].split(",")
            and (found := _id(row[2])) is not None
            and found < gid_count
        ]
    groups += [_find_group(text, group) for text in extra_groups or ()]
    unique = [value for value in dict.fromkeys(groups) if value != gid]
    return User(uid, gid, unique, home, name)


def _find_user(text: str, passwd: bytes | None) -> tuple[int, int, str, str]:
    uid = number(text, "user")
    for row in _rows(passwd, 6):
        row_uid, row_gid = _id(row[2]), _id(row[3])
        if row_uid is None or row_gid is None or max(row_uid, row_gid) > HIGHEST:
            continue
        if (row[0] == text) if uid is None else (row_uid == uid):
            return row_uid, row_gid, row[5] or "/", row[0]
    if uid is None:
        raise NotFoundError(
            f"unable to find user {text}",
            "no matching entries in the image's /etc/passwd",
            "give a number, or a user of the image",
        )
    return uid, 0, "/root" if uid == 0 else "/", "root" if uid == 0 else ""


def _find_group(text: str, group: bytes | None) -> int:
    gid = number(text, "group")
    if gid is not None:
        return gid
    for row in _rows(group, 3):
        found = _id(row[2])
        if row[0] == text and found is not None and found <= HIGHEST:
            return found
    raise NotFoundError(
        f"unable to find group {text}",
        "no matching entries in the image's /etc/group",
        "give a number, or a group of the image",
    )
