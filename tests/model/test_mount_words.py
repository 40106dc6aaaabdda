"""-v, --mount and --tmpfs."""

from __future__ import annotations

import os

import pytest

from sampan.errors import SampanError, UsageError
from sampan.model import mount_words


@pytest.mark.parametrize(
    ("word", "source", "wanted"),
    [
        ("/a:/b", "/a", ["rbind", "nosuid", "nodev", "rprivate"]),
        ("/a:/b:ro,Z", "/a", ["rbind", "ro", "nosuid", "nodev", "rprivate"]),
        ("/a:/b:bind,suid,dev,rslave", "/a", ["bind", "suid", "dev", "rslave"]),
        (".:/b", os.getcwd(), ["rbind", "nosuid", "nodev", "rprivate"]),
    ],
)
def test_volumes(word: str, source: str, wanted: list[str]) -> None:
    made = mount_words.volume(word)
    assert made["source"] == source and made["destination"] == "/b" and made["options"] == wanted


@pytest.mark.parametrize(
    "word", ["/a:b", "/a:/", "/a:/b/..", "/a:", "/a:/b:bogus", "/a://", "/a:/b:size=1"]
)
def test_bad_volumes(word: str) -> None:
    with pytest.raises(UsageError, match="invalid mount"):
        mount_words.volume(word)


@pytest.mark.parametrize(
    ("word", "kind", "wanted"),
    [
        ("type=bind,src=/a,target=/b,readonly", "bind", ["rbind", "ro", "nosuid", "nodev", "rprivate"]),
        ("type=bind,source=/a,dst=/b,ro=false,bind-propagation=rslave", "bind",
         ["rbind", "rw", "rslave", "nosuid", "nodev"]),
        ("type=tmpfs,destination=/b,tmpfs-size=1k,tmpfs-mode=700", "tmpfs",
         ["size=1024", "mode=700", "nosuid", "nodev", "noexec"]),
    ],
)  # fmt: skip
def test_mounts(word: str, kind: str, wanted: list[str]) -> None:
    made = mount_words.mount(word)
    assert made["type"] == kind and set(made["options"]) == set(wanted)


@pytest.mark.parametrize(
    "word",
    ["type=bind,target=/b", "type=bind,source=/a", "type=bind,source=/a,target=b", "type=bind,source=/a,target=/b,x",
     "type=tmpfs,target=/b,source=/a", "type=volume,target=/b", "target=/b", "type=bind,source=/a,target=/", "",
     "type=bind,source=/a,target=/b,bind-propagation=evil", "type=tmpfs,target=/b,tmpfs-size=x"],
)  # fmt: skip
def test_bad_mounts(word: str) -> None:
    with pytest.raises(SampanError):
        mount_words.mount(word)


def test_tmpfs_has_a_closed_set_of_options() -> None:
    assert mount_words.tmpfs("/t:exec,size=1m")["options"] == ["exec", "size=1m", "nosuid", "nodev"]
    for word in ("t", "/t:bogus", "/t:lowerdir=/", "/t:size=1,context=x"):
        with pytest.raises(UsageError, match="invalid tmpfs"):
            mount_words.tmpfs(word)
