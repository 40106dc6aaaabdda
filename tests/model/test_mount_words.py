"""-v, --mount and --tmpfs."""

from __future__ import annotations

import os

import pytest

from sampan.errors import SampanError, UnsupportedError, UsageError
from sampan.model import mount_words, mounts


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
    "word",
    ["/a:b", "/a:/", "/a:/b/..", "/a:", "/a:/b:bogus", "/a://", "/a:/b:size=1", ":/b", "name", "n:b", "n:/", "/",
     "/a:/b:ro,rw", "n:/b:nocopy,copy", "/a:/b:z,Z", "/a:/b:rslave,rprivate", "/a:/b:nocopy"],
)  # fmt: skip
def test_bad_volumes(word: str) -> None:
    with pytest.raises(UsageError, match="invalid mount"):
        mount_words.volume(word)


@pytest.mark.parametrize("name", ["a/b", "-a", "_a", "a b", "é", "a\n", "a" * 256])
def test_bad_names(name: str) -> None:
    with pytest.raises(UsageError, match="invalid volume name"):
        mount_words.volume(f"{name}:/b")


@pytest.mark.parametrize("option", ["idmap", "idmap=uids=0-1-1", "O", "upperdir=/x"])
def test_what_an_unprivileged_user_cannot_have(option: str) -> None:
    with pytest.raises(UnsupportedError, match="is not supported"):
        mount_words.volume(f"/a:/b:{option}")


def test_named_and_anonymous_volumes() -> None:
    made = mount_words.volume("data.1_x-y:/b:ro,nocopy,noexec,U,z")
    assert made["type"] == "volume" and made["name"] == "data.1_x-y" and made["destination"] == "/b"
    assert made["options"] == ["ro", "noexec", "nosuid", "nodev", "rprivate"]
    assert (made["copy"], made["chown"], made["relabel"]) == (False, True, "z")
    anonymous = mount_words.volume("/b", "other")
    assert (anonymous["name"], anonymous["driver"], anonymous["copy"]) == ("", "other", True)


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
     "type=tmpfs,target=/b,source=/a", "type=volume,target=/b,subpath=x", "type=bind,source=/a,target=/", "",
     "type=glusterfs,target=/b", "type=volume,src=a,target=/b,subpath=../x", "type=volume,src=a,target=/b,subpath=/x",
     "type=volume,src=/a,target=/b", "type=volume,src=a,dst=/b,target=/c", "type=image,target=/b",
     "type=volume,src=a,dst=/b,ro,rw", "type=bind,src=/a,dst=/b,ro=maybe", 'type=volume,"src=a,dst=/b',
     "type=tmpfs,dst=/b,tmpfs-mode=rwx", "type=devpts,dst=/b,gid=tty", "type=volume,src=,dst=/b",
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


def test_every_key_of_a_volume() -> None:
    word = (
        "type=volume,src=a,dst=/b,readonly,volume-nocopy,volume-subpath=x/y,volume-driver=d,volume-label=k=v,"
        '"volume-opt=o=size=1m,mode=700",volume-opt=type=tmpfs,U,relabel=private,noexec,bind-propagation=rslave'
    )
    assert mount_words.mount(word) == {
        "destination": "/b", "type": "volume", "name": "a", "driver": "d", "copy": False, "subpath": "x/y",
        "labels": {"k": "v"}, "driver_options": {"o": "size=1m,mode=700", "type": "tmpfs"}, "chown": True,
        "relabel": "Z", "options": ["ro", "noexec", "rslave", "nosuid", "nodev"],
    }  # fmt: skip


def test_images_and_terminals() -> None:
    made = mount_words.mount("type=image,src=i,dst=/b,image-subpath=etc")
    assert made["type"] == "image" and "ro" in made["options"] and made["subpath"] == "etc"
    assert "ro" not in mount_words.mount("type=image,src=i,dst=/b,rw=true")["options"]
    assert "gid=5" in mount_words.mount("type=devpts,dst=/dev/x,gid=5")["options"]


def test_what_the_monitor_mounts_is_bound_from_the_bundle() -> None:
    wanted = [
        mount_words.volume("v:/a/b"),
        mount_words.bind("/h", "/a", []),
        mount_words.tmpfs("/t:size=1m,tmpcopyup"),
    ]
    made = mounts.oci(wanted)
    assert [m["destination"] for m in made] == ["/a", "/t", "/a/b"], (
        "a directory before what lies in it"
    )
    assert (
        made[2]["source"] == "mounts/0"
        and made[2]["type"] == "bind"
        and made[2]["options"][0] == "rbind"
    )
    assert made[1]["source"] == "mounts/2" and not any(
        "=" in option for option in made[1]["options"]
    )
    assert all(set(m) == {"destination", "type", "source", "options"} for m in made), (
        "nothing that OCI does not know"
    )
