"""Whom files belong to: --chown, and USER for the directory of WORKDIR, by BuildKit's rules.

A name is looked up in the image and brings its group along; a number is an id, and its group is the same number.
"""

from __future__ import annotations

from sampan.errors import NotFoundError
from sampan.linux import paths
from sampan.model import users

PASSWD, GROUP = "/etc/passwd", "/etc/group"


def resolve(text: str, root: int) -> tuple[int, int]:
    """(uid, gid) of USER[:GROUP] in a root; -1 is one without files."""
    user, _, group = text.partition(":")
    uid, gid = _user(user, root)
    if group:
        gid = users.resolve(f"0:{group}", None, _read(root, GROUP, group)).gid
    return uid, gid


def _user(text: str, root: int) -> tuple[int, int]:
    if not text:
        return 0, 0
    number = users.number(text, "user")
    if number is not None:
        return number, number
    found = users.resolve(text, _read(root, PASSWD, text), None)
    return found.uid, found.gid


def _read(root: int, path: str, name: str) -> bytes | None:
    """The file that a name is looked up in; a number needs none."""
    if name.isascii() and name.isdigit():
        return None
    if root < 0:
        raise NotFoundError(
            f"unable to find {name}",
            "with --link the files of the layers below are not looked at",
            "give a number, or leave --link out",
        )
    return paths.read_in_root(root, path)
