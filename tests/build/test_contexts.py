"""Where a build's files and its Dockerfile come from: docker build's rules, with podman's names beside them."""

from __future__ import annotations

import gzip
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from copysteps import listing, tree
from gitserver import Repository
from httpthread import HttpThread, Quiet
from sampan.engine.extract import extract
from sampan.errors import NotFoundError, SampanError, UnsupportedError, UsageError
from sampan.store import inflate
from sampan_build.dockerfile import contexts
from sampan_build.dockerfile.contexts import Contexts
from tarmaker import d, f, s, tar


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with a context `ctx` in it."""
    monkeypatch.chdir(tmp_path)
    tree(tmp_path, "ctx/Dockerfile=of ctx", "ctx/other=other", "700:work/")
    return tmp_path


def opened(word: str = "ctx", **more: Any) -> Contexts:
    stdin = more.pop("stdin", b"")
    read_end, write_end = os.pipe()
    os.write(write_end, stdin)
    os.close(write_end)
    options = {"dockerfile": "", "contexts": {}, "ignorefile": "", **more}
    try:
        return contexts.open_all(
            word, stdin=read_end, work=os.open("work", os.O_RDONLY), unpack=extract, **options
        )
    finally:
        os.close(read_end)


def files_of(found: Contexts) -> dict[str, str]:
    return listing(Path(f"/proc/self/fd/{found.main.fd}/.").resolve())


def refused(word: str = "ctx", **more: Any) -> str:
    with pytest.raises(SampanError) as caught:
        opened(word, **more)
    return str(caught.value)


def test_a_directory(here: Path) -> None:
    found = opened()
    assert (found.dockerfile, found.dockerfile_name) == (b"of ctx", "ctx/Dockerfile")
    assert files_of(found) == {"Dockerfile": "of ctx", "other": "other"}
    assert found.main.name == "ctx" and found.main.ignore.patterns == ()
    os.chdir("ctx")
    os.mkdir("work")
    assert opened(".").dockerfile_name == "Dockerfile"


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ("Dockerfile", "Dockerfile"), ("Containerfile", "Containerfile"), ("dockerfile", "dockerfile"),
        ("Dockerfile Containerfile dockerfile", "Dockerfile"), ("Containerfile dockerfile", "Containerfile"),
    ],
)  # fmt: skip
def test_names_of_a_dockerfile(here: Path, names: str, expected: str) -> None:
    tree(here, "new/x", *(f"new/{name}={name}" for name in names.split()))
    found = opened("new")
    assert (found.dockerfile.decode(), found.dockerfile_name) == (expected, f"new/{expected}")


def test_a_linked_dockerfile(here: Path) -> None:
    """testSymlinkedDockerfile; a link of a context cannot lead out of it."""
    tree(
        here,
        "new/Dockerfile->sub/real",
        "new/sub/real=linked",
        "out/Dockerfile->../secret",
        "secret=x",
    )
    assert opened("new").dockerfile == b"linked"
    assert refused("out").startswith(
        "cannot read the Dockerfile: Dockerfile, Containerfile, dockerfile in out: no such file or directory"
    )


def test_where_the_file_of_an_option_is(here: Path) -> None:
    tree(here, "mine=own", "sub/mine=sub", "ctx/inside=inside", "ctx/both=ctx", "both=own")
    assert opened(dockerfile="mine").dockerfile == b"own"
    assert opened(dockerfile="sub/mine").dockerfile_name == "sub/mine"
    assert opened(dockerfile=str(here / "mine")).dockerfile == b"own"
    assert opened(dockerfile="inside").dockerfile == b"inside", "podman looks in the context, too"
    assert opened(dockerfile="both").dockerfile == b"own", "docker's place first"
    assert (
        refused(dockerfile="missing")
        == "cannot read the Dockerfile: missing: no such file or directory; name it with -f"
    )
    assert refused(dockerfile="sub").startswith("cannot read the Dockerfile sub: Is a directory")


def test_a_dockerfile_from_a_pipe(here: Path) -> None:
    read_end, write_end = os.pipe()
    os.write(write_end, b"FROM pipe")
    os.close(write_end)
    assert opened(dockerfile=f"/dev/fd/{read_end}").dockerfile == b"FROM pipe"
    os.close(read_end)


def test_standard_input(here: Path) -> None:
    found = opened("-", stdin=b"FROM x\n")
    assert (found.dockerfile, found.dockerfile_name, found.main.fd) == (b"FROM x\n", "-", -1)
    found = opened("ctx", dockerfile="-", stdin=b"FROM y\n")
    assert found.dockerfile == b"FROM y\n" and "other" in files_of(found)
    assert "can't use stdin for both build context and dockerfile" in refused("-", dockerfile="-")
    assert refused("-", dockerfile="x", stdin=b"FROM x").startswith("ambiguous Dockerfile source")
    with pytest.raises(UsageError, match="there is no standard input"):
        contexts.open_all(
            "-", dockerfile="", stdin=-1, contexts={}, ignorefile="", work=-1, unpack=extract
        )


@pytest.mark.parametrize("compress", [bytes, gzip.compress])
def test_an_archive_on_standard_input(here: Path, compress: Any) -> None:
    archive = tar(
        d(".", mode=0o700), f("Dockerfile", "of tar"), f("sub/x", "x", uid=12345, mode=0o600), s("l", "/etc"),
        f("l/inside", "x"), f(".dockerignore", "sub"),
    )  # fmt: skip
    found = opened("-", stdin=compress(archive))
    assert found.dockerfile == b"of tar" and found.main.ignore.ignores("sub/x")
    files = files_of(found)
    assert (files["sub/x"], files["etc/inside"], files["l"]) == ("x", "x", "->/etc")
    assert os.stat("sub/x", dir_fd=found.main.fd).st_uid == os.getuid()
    assert opened("-", stdin=compress(archive), dockerfile="sub/x").dockerfile == b"x"
    assert not (here / "etc").exists()


def test_an_archive_that_is_broken(here: Path) -> None:
    assert refused("-", stdin=gzip.compress(b"no archive")).startswith(
        "cannot unpack the build context standard input"
    )
    assert "climbs out" in refused("-", stdin=tar(f("../x")))


def test_an_archive_that_is_a_bomb(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inflate, "ALWAYS", 1 << 20)
    monkeypatch.setattr(inflate, "RATIO", 2)
    bomb = gzip.compress(tar(f("Dockerfile"), f("zeros", bytes(3 << 20))))
    told = refused("-", stdin=bomb)
    assert (
        told.startswith("cannot unpack the build context standard input: its ")
        and "grow to more than" in told
    )


def test_where_patterns_are(here: Path) -> None:
    def ignores(**more: Any) -> str:
        found = opened("ctx", **more).main.ignore
        return " ".join(pattern.text for pattern in found.patterns)

    assert ignores() == ""
    for name in (
        ".dockerignore",
        ".containerignore",
        "Dockerfile.containerignore",
        "Dockerfile.dockerignore",
    ):
        tree(here, f"ctx/{name}={name}")
        assert ignores() == name, "the later ones go first"
    tree(here, "mine=x", "mine.dockerignore=beside", "own=pattern")
    assert ignores(dockerfile="mine") == "beside"
    assert ignores(dockerfile="-", stdin=b"x") == ".containerignore"
    assert ignores(ignorefile="own") == "pattern"
    assert refused(ignorefile="missing").startswith("cannot read missing")
    tree(here, "ctx/Dockerfile.dockerignore=[")
    assert "Dockerfile.dockerignore:1" in refused()


class Files(Quiet):
    def do_GET(self) -> None:
        archive = gzip.compress(tar(f("Dockerfile", "of url"), f("x", "y")))
        found = {"/a.tgz": archive, "/Dockerfile": b"FROM url"}[self.path]
        self.send_response(200)
        self.send_header("Content-Length", str(len(found)))
        self.end_headers()
        self.wfile.write(found)


@pytest.fixture
def server() -> Iterator[str]:
    with HttpThread(Files) as found:
        yield f"http://{found.host}"


def test_urls(here: Path, server: str) -> None:
    found = opened(f"{server}/a.tgz")
    assert found.dockerfile == b"of url" and files_of(found)["x"] == "y"
    found = opened(f"{server}/Dockerfile")
    assert (found.dockerfile, found.main.fd) == (b"FROM url", -1)
    assert found.dockerfile_name == f"{server}/Dockerfile"
    assert opened("ctx", dockerfile=f"{server}/Dockerfile").dockerfile == b"FROM url"
    assert "it is no tar archive" in refused(f"{server}/Dockerfile", dockerfile="x")


def test_repositories(here: Path) -> None:
    (here / "git").mkdir()
    repository = Repository(here / "git")
    tree(
        repository.path,
        "Dockerfile=of git",
        "sub/Dockerfile=of sub",
        "sub/.dockerignore=x",
        "up->../..",
    )
    repository.commit("v1")
    with repository.over_git() as url:
        found = opened(url)
        assert found.dockerfile == b"of git" and ".git" not in os.listdir(found.main.fd)
        found = opened(f"{url}#v1:sub")
        assert found.dockerfile == b"of sub" and found.main.ignore.ignores("x")
        assert opened(url, dockerfile="sub/Dockerfile").dockerfile == b"of sub"
        tree(here, "sub/Dockerfile=own")
        assert opened(url, dockerfile="sub/Dockerfile").dockerfile == b"of sub", (
            "not that of the caller"
        )
        assert "missing of the repository" in refused(f"{url}#:missing")
        named = opened(contexts={"g": f"{url}#:sub"}).named("g")
        assert isinstance(named, contexts.Context) and "Dockerfile" in os.listdir(named.fd)


def test_contexts_with_names(here: Path) -> None:
    tree(here, "lib/a", "lib/.dockerignore=a")
    words = {
        "lib": "lib",
        "img": "docker-image://alpine:3",
        "oci": "oci-layout:///x@sha256:0",
        "none": "missing",
    }
    found = opened(contexts=words)
    lib = found.named("lib")
    assert (
        isinstance(lib, contexts.Context) and lib.ignore.ignores("a") and found.named("lib") is lib
    )
    assert found.named("img") == "alpine:3" and found.named("other") is None
    with pytest.raises(UnsupportedError, match="cannot take the build context oci from oci-layout"):
        found.named("oci")
    with pytest.raises(
        NotFoundError, match="cannot open the build context none: path missing not found"
    ):
        found.named("none")


def test_what_is_no_context(here: Path) -> None:
    assert (
        refused("missing")
        == "cannot open the build context: path missing not found; give a directory, a URL or -"
    )
    with pytest.raises(UsageError, match="ctx/other is not a directory"):
        opened("ctx/other")
    tree(here, "000:closed/")
    assert refused("closed") == "cannot open the build context: closed: Permission denied"
