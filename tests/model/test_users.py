"""`--user` and USER against the image's passwd and group."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.errors import NotFoundError, SampanError
from sampan.model import users

PASSWD = b"""# a comment
root:x:0:0:root:/root:/bin/sh
app:x:100:200:App:/srv:/bin/sh
bare:x:101:201::
4294967295:x:0:0::/:/bin/sh
-1:x:0:0::/:/bin/sh
500:x:0:0:a name of digits:/:/bin/sh
broken:x:notanumber:0::/:/bin/sh
huge:x:4294967295:0::/:/bin/sh
short:x:1
"""
GROUP = b"root:x:0:\napps:x:200:app\nextra:x:300:other,app\nwheel:x:10:root,app\nbroken:x:z:app\nhigh:x:4294967295:\n"


@pytest.mark.parametrize(
    ("text", "uid", "gid", "groups", "home"),
    [
        ("", 0, 0, [10], "/root"),
        ("root", 0, 0, [10], "/root"),
        ("app", 100, 200, [300, 10], "/srv"),
        ("100", 100, 200, [300, 10], "/srv"),
        ("app:extra", 100, 300, [], "/srv"),
        ("app:", 100, 200, [300, 10], "/srv"),
        ("app:7", 100, 7, [], "/srv"),
        ("4242", 4242, 0, [], "/"),
        ("4242:7", 4242, 7, [], "/"),
        ("bare", 101, 201, [], "/"),
        ("500", 500, 0, [], "/"),
        ("2147483647", 2147483647, 0, [], "/"),
    ],
)
def test_forms(text: str, uid: int, gid: int, groups: list[int], home: str) -> None:
    user = users.resolve(text, PASSWD, GROUP)
    assert (user.uid, user.gid, user.groups, user.home) == (uid, gid, groups, home)


def test_groups_that_cannot_be_set_are_left_out() -> None:
    group = b"bin:x:1:root,bin\nroot:x:0:root\n"
    assert users.resolve("", PASSWD, group).groups == [1]
    assert users.resolve("", PASSWD, group, gid_count=1).groups == []
    assert users.resolve("", PASSWD, group, ["7"], gid_count=1).groups == [
        7
    ]  # asked for: it fails aloud


def test_without_files() -> None:
    user = users.resolve("1000", None, None)
    assert (user.uid, user.gid, user.groups, user.home) == (1000, 0, [], "/")
    assert users.resolve("", None, None).home == "/root"
    with pytest.raises(NotFoundError, match="unable to find user app"):
        users.resolve("app", None, None)


@pytest.mark.parametrize(
    "text",
    ["4294967295", "2147483648", "-1", "+5", "99999999999999999999", ":5", "app:b:c", "0x0", " app", "5a"],
)  # fmt: skip
def test_what_is_no_user(text: str) -> None:
    """A number is never looked up as a name, so a user named 4294967295 gains nothing."""
    with pytest.raises(SampanError, match=r"invalid (user|group)"):
        users.resolve(text, PASSWD, GROUP)


@pytest.mark.parametrize("text", ["nobody", "broken", "huge", "short", "app:nogroup", "app:high"])
def test_unknown_names(text: str) -> None:
    with pytest.raises(NotFoundError, match="unable to find"):
        users.resolve(text, PASSWD, GROUP)


def test_groups_that_are_added() -> None:
    user = users.resolve("app:apps", PASSWD, GROUP, ["wheel", "77", "77", "200"])
    assert user.groups == [10, 77], "once each, and the primary one is not among them"


def test_only_a_newline_ends_a_row() -> None:
    """Other separators that Unicode knows are part of a field."""
    passwd = "app:x:100:200:a\x0bevil:x:0:0::/:\x85\u2028evil:x:0:0::/:/bin/sh:/srv:/bin/sh\n"
    with pytest.raises(NotFoundError):
        users.resolve("evil", passwd.encode(), None)


@given(st.text(max_size=30), st.binary(max_size=200), st.binary(max_size=200))
def test_any_file_gives_an_id_in_range_or_an_error(text: str, passwd: bytes, group: bytes) -> None:
    try:
        user = users.resolve(text, b"u:x:1:1::/h:\n" + passwd, b"g:x:1:u\n" + group, [text])
    except SampanError:
        return
    assert 0 <= user.uid <= users.HIGHEST and 0 <= user.gid <= users.HIGHEST
    assert all(0 <= gid <= users.HIGHEST for gid in user.groups)
