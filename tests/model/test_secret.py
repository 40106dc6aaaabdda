"""The words of `--secret`."""

from __future__ import annotations

import pytest

from sampan.errors import UsageError
from sampan.model import secret


def test_words() -> None:
    assert secret.parse("s") == {
        "name": "s", "id": "", "type": "mount", "target": "/run/secrets/s", "uid": 0, "gid": 0, "mode": 0o444,
    }  # fmt: skip
    asked = secret.parse("source=s,target=/etc/../etc/pw,uid=7,gid=8,mode=0400,type=mount")
    assert (asked["target"], asked["uid"], asked["gid"], asked["mode"]) == ("/etc/pw", 7, 8, 0o400)
    assert secret.parse("s,type=env")["target"] == "s"
    assert secret.parse("s,type=env,target=PW")["target"] == "PW"
    assert secret.parse("s,target=/run/secrets/t")["target"] == "/run/secrets/t"


@pytest.mark.parametrize(
    "word",
    ["", ",type=env", "type=env", "s,type=file", "s,mode=8", "s,mode=01000", "s,uid=-1", "s,uid=x", "s,uid=4294967296",
     "s,type=env,mode=0400", "s,type=env,uid=1", "s,type=env,target=A=B", "s,other=1", "s,target", "s,target=/",
     "s,target=a/b", "s,target=/run/secrets", "s,target=../secrets/a/b", "s,target=/a/"],
)  # fmt: skip
def test_words_that_are_refused(word: str) -> None:
    with pytest.raises(UsageError):
        secret.parse(word)


@pytest.mark.parametrize("name", ["", "a/b", "-a", ".a", "a=b", "a,b", "a b", "\u00e4", "a" * 254])
def test_names_that_are_refused(name: str) -> None:
    with pytest.raises(UsageError):
        secret.check_name(name)


def test_a_relative_target_may_climb_but_names_one_file() -> None:
    assert secret.parse("s,target=../x")["target"] == "/run/x"
    rows = secret.oci([secret.parse("a"), secret.parse("b,target=/x"), secret.parse("c,type=env")])
    assert [(row["destination"], row["source"]) for row in rows] == [
        ("/run/secrets", "secrets/run"),
        ("/x", "secrets/files/1"),
    ]
