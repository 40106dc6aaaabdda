"""ADD: archives are extracted into their destination and stay inside it; what is behind a URL is a file."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import lzma
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from copysteps import Steps, listing, tree
from httpthread import HttpThread, Quiet
from sampan.errors import CorruptError, LimitError, SampanError, UsageError
from sampan.store import inflate
from sampan_build.dockerfile import remote, transfer
from sampan_build.dockerfile.git import Git
from tarmaker import E, d, f, h, pax, s, tar


@pytest.fixture
def steps(tmp_path: Path) -> Iterator[Steps]:
    with Steps(tmp_path) as found:
        yield found


LINKS = ["app/a->../a", "app/b->/b", "app/app->..", "app/dir2->/"]
COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    "tar": lambda data: data,
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": lambda data: zstandard.ZstdCompressor().compress(data),
}


@pytest.mark.parametrize("name", COMPRESSIONS)
def test_archives_are_known_by_their_bytes(steps: Steps, name: str) -> None:
    data = COMPRESSIONS[name](tar(d("dir"), f("dir/foo", "content0", uid=7, gid=8, mode=0o4755)))
    (steps.context / "archive").write_bytes(data)
    layer = steps.run("ADD archive /new")
    assert layer.names == ["new", "new/dir", "new/dir/foo"]
    assert layer.text("new/dir/foo") == "content0"
    assert (layer.owner("new/dir/foo"), layer.mode("new/dir/foo")) == ("7:8", "4755")
    assert (layer.owner("new"), layer.mode("new")) == ("0:0", "0755")
    assert layer.entries["new/dir/foo"].mtime == 1_000_000_000
    assert steps.run("ADD --unpack=false archive /new/").names == ["new", "new/archive"]
    assert steps.run("COPY archive /").names == ["archive"], "COPY does not extract"
    assert steps.run("ADD --chown=3:4 archive /new").owner("new/dir/foo") == "3:4"


@pytest.mark.parametrize(
    "data",
    [b"", b"text", bytes(1024), gzip.compress(b"no archive"), b"\x1f\x8bnot gzip", b"BZh9", tar(f("x"))[:300]],
)  # fmt: skip
def test_d14_not_really_an_archive(steps: Steps, data: bytes) -> None:
    (steps.context / "x.tar").write_bytes(data)
    layer = steps.run("ADD x.tar /")
    assert layer.names == ["x.tar"] and layer.entries["x.tar"].size == len(data)


def test_d14_a_link_to_an_archive(steps: Steps) -> None:
    (steps.context / "v1.tgz").write_bytes(gzip.compress(tar(f("inside"))))
    tree(steps.context, "latest.tgz->v1.tgz")
    assert steps.run("ADD latest.tgz /d").names == ["d", "d/inside"]


def test_d14_paths_through_links_stay_inside(steps: Steps) -> None:
    """testDockerfileAddArchiveThroughAbsoluteSymlink, and links that were there before."""
    tree(steps.root, "app/old->/etc", "app/up->../../..", "etc/passwd=kept")
    archive = tar(
        d("run"), d("var"), s("var/run", "/run"), f("var/run/act/HEAD", "ref"),
        h("var/run/act/link", "var/run/act/HEAD"),
        f("old/passwd", "inside"), f("up/x", "inside"), f("/abs", "inside"), f("../../climb", "inside"),
        s("out", "/../../etc"), f("out/deep", "inside"),
    )  # fmt: skip
    (steps.context / "a.tar").write_bytes(archive)
    layer = steps.run("ADD a.tar /app")
    assert layer.entries["app/run/act/link"].linkname == "app/run/act/HEAD"
    after = listing(layer.onto(steps.root))
    assert (
        after["etc/passwd"] == "kept"
        and after["app/old"] == "->/etc"
        and "app/var/run/act" not in after
    )
    inside = {name for name, text in after.items() if text == "inside"}
    assert inside == {"app/etc/passwd", "app/x", "app/abs", "app/climb", "app/etc/deep"}
    assert all(name.startswith("app") for name in layer.names)


WORDS = st.lists(st.sampled_from(["a", "b", "..", "", ".", "app"]), min_size=1, max_size=4).map(
    "/".join
)
ENTRIES = st.one_of(
    st.builds(f, WORDS, st.just("new")),
    st.builds(d, WORDS),
    st.builds(s, WORDS, WORDS.map(lambda path: path or "/")),
    st.builds(s, WORDS, WORDS.map(lambda path: f"/{path}")),
    st.builds(h, WORDS, WORDS.map(lambda path: path or "/")),
)


@settings(max_examples=100, deadline=None)
@given(st.lists(ENTRIES, min_size=1, max_size=8), st.lists(st.sampled_from(LINKS), max_size=3))
def test_no_archive_leaves_its_destination(entries: list[E], links: list[str]) -> None:
    """Whatever its names and links are, and whatever links are there: nothing but the destination is named."""
    with tempfile.TemporaryDirectory() as name, Steps(Path(name)) as steps:
        tree(steps.root, "app/dir/x", "a/kept", "b=kept", *dict.fromkeys(links))
        (steps.context / "a.tar").write_bytes(tar(*(entry for entry in entries if entry.name)))
        try:
            layer = steps.run("ADD a.tar /app", once=False)
        except SampanError:
            return  # a file in the way, a hard link to nothing
        outside = [name for name in layer.names if name != "app" and not name.startswith("app/")]
        assert outside == []
        for entry in layer.entries.values():
            assert not entry.islnk() or entry.linkname.startswith("app/")


def test_d14_the_targets_own_mode_stays(steps: Steps) -> None:
    (steps.context / "a.tar").write_bytes(tar(d(".", mode=0o700), f("./x")))
    tree(steps.root, "775:app/")
    layer = steps.run("ADD a.tar /app")
    assert (layer.names, layer.mode("app")) == (["app", "app/x"], "0775")
    assert steps.run("ADD a.tar /").names == ["x"]


def test_archives_merge_with_what_is_there(steps: Steps) -> None:
    tree(
        steps.root,
        "700:d/",
        "d/kept",
        "file=old",
        "700:way/",
        "gone/x",
        "lib->usr/lib",
        "usr/lib/so",
    )
    archive = tar(
        d("d", mode=0o750), f("d/new"), d("file"), f("file/in", "dir"), f("way/in/x"),
        f("gone", "file"), d("lib"), f("lib/y"),
    )  # fmt: skip
    (steps.context / "a.tar").write_bytes(archive)
    layer = steps.run("ADD a.tar /")
    assert layer.mode("d") == "0750" and layer.mode("way") == "0700"
    assert (layer.mode("way/in"), layer.owner("way/in")) == ("0755", "0:0"), (
        "a directory that is implied"
    )
    assert layer.entries["lib"].isdir(), "a link gives way to a directory, as with tar"
    assert layer.entries["gone"].isreg() and layer.entries["file"].isdir()
    assert "d/kept" not in layer.names


def test_a_file_on_the_way(steps: Steps) -> None:
    tree(steps.root, "file=old", "dest")
    (steps.context / "a.tar").write_bytes(tar(f("file/x")))
    with pytest.raises(SampanError, match="cannot make directory /file: /file is not a directory"):
        steps.run("ADD a.tar /")
    with pytest.raises(SampanError, match="cannot make directory /dest: /dest is not a directory"):
        steps.run("ADD a.tar /dest")


def test_hard_links(steps: Steps) -> None:
    tree(steps.root, "d/below=there", "secret")
    (steps.context / "a.tar").write_bytes(tar(h("one", "below"), f("two"), h("three", "/two")))
    layer = steps.run("ADD a.tar /d")
    assert (
        layer.entries["d/one"].linkname == "d/below"
        and layer.entries["d/three"].linkname == "d/two"
    )
    for target in ("missing", "../secret", "one", "."):
        (steps.context / "b.tar").write_bytes(tar(h("one", target)))
        with pytest.raises(CorruptError, match="a hard link to /d"):
            steps.run("ADD b.tar /d")


def test_several_sources_in_their_order(steps: Steps) -> None:
    """testDockerfileAddArchiveWildcard, and files beside archives."""
    (steps.context / "a.tar").write_bytes(
        tar(d("sub"), f("sub/one", "archive"), f("both", "archive"))
    )
    (steps.context / "b.tar").write_bytes(tar(f("bar", "content1")))
    tree(steps.context, "both=file", "sub/two=file")
    assert steps.run("ADD *.tar /dest").names == [
        "dest",
        "dest/sub",
        "dest/sub/one",
        "dest/both",
        "dest/bar",
    ]
    (steps.context / "a.tar").write_bytes(tar(d("sub"), f("sub/one", "archive")))
    layer = steps.run("ADD both a.tar b.tar /d/")
    assert (
        layer.names == ["d", "d/both", "d/sub", "d/sub/one", "d/bar"]
        and layer.text("d/both") == "file"
    )
    assert steps.run("ADD --exclude=* a.tar both /d/").names == []


def test_a_directory_with_archives_in_it_is_copied(steps: Steps) -> None:
    tree(steps.context, "dir/")
    (steps.context / "dir/a.tar").write_bytes(tar(f("x")))
    assert steps.run("ADD dir /").names == ["a.tar"]


def test_devices_fifos_sparse_files_and_attributes(steps: Steps) -> None:
    sparse = pax(
        [
            (b"GNU.sparse.size", b"100000"),
            (b"GNU.sparse.map", b"512,3,99997,3"),
            (b"GNU.sparse.name", b"s"),
        ]
    )
    archive = tar(
        E(b"null", b"3", mode=0o666, major=1, minor=3), E(b"pipe", b"6"), sparse + f("s", b"abcxyz").encode(),
        f("capable", pax=[(b"SCHILY.xattr.security.capability", b"\1\0"), (b"SCHILY.xattr.trusted.x", b"y")]),
    )  # fmt: skip
    (steps.context / "a.tar").write_bytes(archive)
    layer = steps.run("ADD a.tar /")
    assert layer.entries["null"].ischr() and layer.entries["null"].devminor == 3
    assert layer.entries["pipe"].isfifo()
    text = layer.text("s")
    assert (len(text), text[512:515], text[-3:], text.strip("\0")[:3]) == (
        100000,
        "abc",
        "xyz",
        "abc",
    )
    assert layer.entries["capable"].pax_headers == {"SCHILY.xattr.security.capability": "\1\0"}


def test_whiteouts_are_no_whiteouts(steps: Steps) -> None:
    """Such a name hides nothing; a layer cannot hold it."""
    tree(steps.root, "d/x=kept")
    (steps.context / "a.tar").write_bytes(tar(f("d/.wh.x"), f("d/.wh..wh..opq"), f("d/y")))
    assert steps.run("ADD a.tar /").names == ["d", "d/y"]


def test_bombs_are_refused(steps: Steps, monkeypatch: pytest.MonkeyPatch) -> None:
    huge = pax([(b"GNU.sparse.size", b"%d" % (1 << 38)), (b"GNU.sparse.map", b"0,1")])
    (steps.context / "a.tar").write_bytes(tar(huge + f("bomb", b"x").encode()))
    with pytest.raises(LimitError, match="almost all of them holes"):
        steps.run("ADD a.tar /")
    monkeypatch.setattr(inflate, "ALWAYS", 1 << 20)
    monkeypatch.setattr(inflate, "RATIO", 2)
    (steps.context / "a.tar").write_bytes(gzip.compress(tar(f("zeros", bytes(3 << 20)))))
    with pytest.raises(LimitError, match="bytes grow to more than"):
        steps.run("ADD a.tar /")


def test_a_broken_archive_is_an_error(steps: Steps) -> None:
    (steps.context / "a.tar").write_bytes(tar(f("x", "1" * 1000), f("y", "2" * 1000))[:-2000])
    with pytest.raises(CorruptError, match="cannot unpack the archive: y: the archive ends"):
        steps.run("ADD a.tar /")


class Files(Quiet):
    protocol_version = "HTTP/1.1"
    archive = gzip.compress(tar(f("foo", "content0")))

    def do_GET(self) -> None:
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/file")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        found = {
            "/t.tar.gz": self.archive,
            "/file": b"content",
            "/": b"root",
            "/a%20b?q=1": b"q",
        }.get(self.path)
        self.send_response(404 if found is None else 200)
        if self.path == "/file":
            self.send_header("Last-Modified", "Wed, 21 Oct 2015 07:28:00 GMT")
        self.send_header("Content-Length", str(len(found or b"")))
        self.end_headers()
        self.wfile.write(found or b"")


@pytest.fixture
def server() -> Iterator[str]:
    with HttpThread(Files) as found:
        yield f"http://{found.host}"


def test_urls(steps: Steps, server: str) -> None:
    layer = steps.run(f"ADD {server}/file /d/")
    assert layer.names == ["d", "d/file"] and layer.text("d/file") == "content"
    assert (layer.mode("d/file"), layer.owner("d/file"), layer.entries["d/file"].mtime) == (
        "0600",
        "0:0",
        1445412480,
    )
    assert steps.said == [f"downloading {server}/file"]
    layer = steps.run(f"ADD --chmod=644 --chown=5 {server}/moved /name")
    assert (layer.names, layer.mode("name"), layer.owner("name")) == (["name"], "0644", "5:5")
    assert steps.run(f"ADD {server}/a%20b?q=1 /").names == ["a b"]
    assert steps.run(f"ADD {server}/ /").names == ["__unnamed__"]
    assert steps.run(f"ADD {server}/ /").entries["__unnamed__"].mtime == 0
    assert steps.identity(f"ADD {server}/file /") == steps.identity(f"ADD {server}/file /")
    assert steps.identity(f"ADD {server}/file /") != steps.identity(f"ADD {server}/ /")


def test_d14_an_archive_of_a_url(steps: Steps, server: str) -> None:
    assert steps.run(f"ADD {server}/t.tar.gz /").names == ["t.tar.gz"]
    assert steps.run(f"ADD --unpack=true {server}/t.tar.gz /dest/").names == ["dest", "dest/foo"]
    assert steps.run(f"ADD {server}/t.tar.gz /new.tar.gz").names == ["new.tar.gz"]


def test_checksum(steps: Steps, server: str) -> None:
    """testAddChecksum."""
    right = "sha256:" + hashlib.sha256(b"content").hexdigest()
    assert steps.run(f"ADD --checksum={right} {server}/file /").names == ["file"]
    with pytest.raises(CorruptError, match=f"digest mismatch {right}: sha256:0000"):
        steps.run(f"ADD --checksum=sha256:{'0' * 64} {server}/file /")
    for wrong in ("md5:" + "0" * 32, "sha256:00", "x"):
        with pytest.raises(UsageError, match="invalid checksum"):
            steps.run(f"ADD --checksum={wrong} {server}/file /")


def test_what_has_a_checksum_is_downloaded_when_it_is_needed(steps: Steps) -> None:
    """A step that the cache has needs no network."""
    sha256 = "0" * 64
    text = f"ADD --checksum=sha256:{sha256} http://127.0.0.1:1/file /d/"
    assert (
        steps.identity(text) == steps.identity(text) != steps.identity(text.replace("0000", "0001"))
    )
    assert steps.identity(text) != steps.identity(text.replace("1/file", "1/other"))
    assert steps.said == []
    with pytest.raises(SampanError, match="cannot download"):
        transfer.fetch(steps.gather(text))


def test_urls_that_fail(steps: Steps, server: str) -> None:
    with pytest.raises(
        SampanError, match=r"cannot download http://.*/none: the server answers 404"
    ):
        steps.run(f"ADD {server}/none /")
    with pytest.raises(SampanError, match=r"cannot download http://127\.0\.0\.1:1/x") as caught:
        steps.run("ADD http://user:secret@127.0.0.1:1/x /")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("https://h/foo/bar.git#baz/qux:quux/quuz", Git("https://h/foo/bar.git", "baz/qux", "quux/quuz")),
        ("git@github.com:moby/buildkit.git#v0.14.1:docs", Git("git@github.com:moby/buildkit.git", "v0.14.1", "docs")),
        ("ssh://git@host/x", Git("ssh://git@host/x")),
        ("git://host/x#:../d/", Git("git://host/x", "", "d")),
        ("https://h/x.git?tag=v1&subdir=d", Git("https://h/x.git", "refs/tags/v1", "d")),
        ("https://h/x.git?branch=b&keep-git-dir", Git("https://h/x.git", "refs/heads/b", keep=True)),
        ("u@h:x?ref=r&submodules=0&commit=ab#r", Git("u@h:x", "r", checksum="ab", submodules=False)),
        ("https://github.com/foo/bar", None),
        ("https://h/x.git/y", None),
        ("github.com/foo/bar.git", None),
        ("./git@h:x", None),
        ("file:///x.git", None),
        ("ext::sh -c x", None),
        ("-u@h:x", None),
        ("dir/file", None),
    ],
)  # fmt: skip
def test_git_references(word: str, expected: Git | None) -> None:
    assert remote.git_reference(word) == expected
    assert remote.is_url(word) == (expected is None and word.startswith("http"))


@pytest.mark.parametrize(
    ("word", "error"),
    [
        ("https://h/x.git?other=1", 'unexpected query "other"'),
        ("https://h/x.git?ref=a#b", 'ref conflicts: "b" vs "a"'),
        ("https://h/x.git?tag=a&branch=b", "ref conflicts"),
        ("https://h/x.git?ref=a&ref=a", 'query "ref" has multiple values'),
        ("https://h/x.git?submodules=maybe", "invalid submodules value"),
    ],
)
def test_git_references_that_say_nothing(word: str, error: str) -> None:
    with pytest.raises(UsageError) as caught:
        remote.git_reference(word)
    assert str(caught.value).startswith(error)


def test_the_time_of_a_file_is_that_of_the_server() -> None:
    assert remote._moment("Thu, 01 Jan 1970 00:00:01 GMT") == 10**9
    assert remote._moment("") == remote._moment("yesterday") == 0


def test_two_builds_of_one_moment_give_one_layer(steps: Steps) -> None:
    (steps.context / "a.tar").write_bytes(tar(f("way/x")))
    tree(steps.context, "f")
    first = steps.run("ADD a.tar f <<g /d/\ntext\ng\n").data
    time.sleep(0.01)
    assert steps.run("ADD a.tar f <<g /d/\ntext\ng\n").data == first
