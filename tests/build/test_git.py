"""ADD and contexts of a git repository: which commit, which directory, and what of it."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from copysteps import Steps, tree
from gitserver import Repository, git
from sampan.errors import CorruptError, SampanError, UnsupportedError, UsageError
from sampan_build.dockerfile import transfer


@pytest.fixture
def steps(tmp_path: Path) -> Iterator[Steps]:
    with Steps(tmp_path) as found:
        yield found


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    found = Repository(tmp_path)
    tree(found.path, "foo=one", "755:run=x", "docs/a=a", "docs/b.md=b", "link->foo")
    found.commit("v1")
    return found


@pytest.fixture(params=["over_git", "over_http"])
def url(repository: Repository, request: pytest.FixtureRequest) -> Iterator[str]:
    with getattr(repository, request.param)() as found:
        yield found


def test_add_of_a_repository(steps: Steps, url: str) -> None:
    layer = steps.run(f"ADD {url} /r")
    assert sorted(layer.names) == [
        "r",
        "r/docs",
        "r/docs/a",
        "r/docs/b.md",
        "r/foo",
        "r/link",
        "r/run",
    ]
    assert [layer.mode(name) for name in ("r", "r/docs", "r/foo", "r/run")] == [
        "0755",
        "0755",
        "0644",
        "0755",
    ]
    assert layer.owner("r/foo") == "0:0" and layer.entries["r/link"].linkname == "foo"
    assert sorted(steps.run(f"ADD {url}#v1:docs /").names) == ["a", "b.md"]
    assert steps.run(f"ADD --exclude=*.md --chown=3 {url}#:docs /").names == ["a"]
    with pytest.raises(SampanError, match="not found"):
        steps.run(f"ADD {url}#v1:missing /")


def test_which_commit(steps: Steps, repository: Repository, url: str) -> None:
    first = git(repository.path, "rev-parse", "HEAD")
    git(repository.path, "checkout", "--quiet", "-b", "side/branch")
    tree(repository.path, "foo=side")
    repository.commit()
    git(repository.path, "checkout", "--quiet", "main")
    tree(repository.path, "foo=two")
    second = repository.commit()
    texts = {
        "": "two", "#main": "two", "#side/branch": "side", "#v1": "one", f"#{first}": "one", f"#{first[:9]}": "one",
        f"#{second}": "two", "?tag=v1": "one", "?branch=side/branch": "side", "#refs/tags/v1": "one",
    }  # fmt: skip
    for words, text in texts.items():
        assert steps.run(f"ADD {url}{words} /").text("foo") == text, words
    for words in ("#missing", f"#{'0' * 40}", "#0000000"):
        with pytest.raises(
            SampanError, match=f"cannot fetch .*: repository does not contain ref {words[1:]}"
        ):
            steps.run(f"ADD {url}{words} /")
    assert steps.identity(f"ADD {url}#v1 /") == steps.identity(f"ADD {url}#{first} /")
    assert steps.identity(f"ADD {url}#v1 /") != steps.identity(f"ADD {url} /")


def test_a_branch_goes_before_a_tag(steps: Steps, repository: Repository, url: str) -> None:
    git(repository.path, "branch", "v1")
    tree(repository.path, "foo=later")
    repository.commit()
    git(repository.path, "branch", "--force", "v1")
    git(repository.path, "tag", "--annotate", "--message", "x", "annotated")
    git(repository.path, "update-server-info")
    assert steps.run(f"ADD {url}#v1 /").text("foo") == "later"
    assert steps.run(f"ADD {url}?tag=v1 /").text("foo") == "one"
    assert steps.run(f"ADD {url}#annotated /").text("foo") == "later"


def test_a_repository_is_fetched_when_it_is_needed(
    steps: Steps, repository: Repository, url: str
) -> None:
    """Its identity is the commit's name, which the server tells."""
    found = steps.gather(f"ADD {url} /")
    assert found.parts is not None and not found.parts[0].matches
    tree(repository.path, "foo=moved")
    repository.commit()
    transfer.fetch(found)
    root = found.parts[0].matches[0].root
    assert os.read(os.open("foo", os.O_RDONLY, dir_fd=root), 9) == b"one", "that commit"
    commit = git(repository.path, "rev-parse", "HEAD")
    shutil.rmtree(repository.path)
    assert len(steps.identity(f"ADD {url}#{commit} /")) == 64, "nobody is asked"


def test_checksums_of_commits(steps: Steps, repository: Repository, url: str) -> None:
    commit = git(repository.path, "rev-parse", "HEAD")
    for part in (commit, commit[:7], commit[:1]):
        assert "foo" in steps.run(f"ADD --checksum={part} {url}#v1 /").names
    wrong = "0" * 7 if commit[0] != "0" else "1" * 7
    with pytest.raises(CorruptError, match=f"expected checksum to match {wrong}, got {commit}"):
        steps.run(f"ADD --checksum={wrong} {url}#v1 /")
    with pytest.raises(UsageError, match="checksum mismatch"):
        steps.run(f"ADD --checksum=ab {url}?commit=cd /")
    with pytest.raises(UsageError, match="invalid checksum"):
        steps.run(f"ADD --checksum=sha256:{'0' * 64} {url} /")


def test_the_repository_itself(steps: Steps, url: str) -> None:
    assert "r/.git/HEAD" in steps.run(f"ADD --keep-git-dir=true {url} /r").names
    assert "r/.git/HEAD" in steps.run(f"ADD {url}?keep-git-dir=1 /r").names
    kept = f"ADD --keep-git-dir {url} /r"
    assert steps.identity(kept) == steps.identity(kept) != steps.identity(f"ADD {url} /r")
    with pytest.raises(UsageError, match="inconsistent keep-git-dir configuration"):
        steps.run(f"ADD --keep-git-dir=false {url}?keep-git-dir=1 /r")


def test_submodules(steps: Steps, tmp_path: Path, repository: Repository) -> None:
    (tmp_path / "outer").mkdir()
    outer = Repository(tmp_path / "outer")
    with repository.over_git() as inner, outer.over_git() as url:
        git(outer.path, "submodule", "--quiet", "add", inner, "sub")
        outer.commit()
        names = steps.run(f"ADD {url} /").names
        assert "sub/foo" in names and not any(name.endswith(".git") for name in names)
        assert "sub/foo" not in steps.run(f"ADD {url}?submodules=false /").names


def test_what_git_must_not_do(
    steps: Steps, repository: Repository, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Options in references, protocols that run programs, a repository of the environment, hooks."""
    monkeypatch.setenv("GIT_DIR", str(repository.path / ".git"))
    hooks = tmp_path / "template" / "hooks"
    hooks.mkdir(parents=True)
    (hooks / "post-checkout").write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    (hooks / "post-checkout").chmod(0o755)
    monkeypatch.setenv("GIT_TEMPLATE_DIR", str(tmp_path / "template"))
    with repository.over_git() as url:
        assert steps.run(f"ADD {url} /").text("foo") == "one"
        with pytest.raises(UsageError, match="it begins with -"):
            steps.run(f"ADD {url}#--upload-pack=touch /")
        git(repository.path, "config", "--file", ".gitmodules", "submodule.x.path", "x")
        git(
            repository.path,
            "config",
            "--file",
            ".gitmodules",
            "submodule.x.url",
            f"ext::touch {tmp_path}/ran",
        )
        git(repository.path, "update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},x")
        git(repository.path, "add", ".gitmodules")
        git(repository.path, "commit", "--quiet", "--message", "x")
        with pytest.raises(SampanError, match="cannot fetch"):
            steps.run(f"ADD {url} /")
    assert not (tmp_path / "ran").exists()


def test_without_git(steps: Steps, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(UnsupportedError, match="there is no git program; install git"):
        steps.run("ADD git://127.0.0.1/x /")


def test_the_umask_counts_nothing(steps: Steps, url: str) -> None:
    before = os.umask(0o077)
    try:
        layer = steps.run(f"ADD {url} /r")
    finally:
        os.umask(before)
    assert [stat.filemode(layer.entries[name].mode)[1:] for name in ("r", "r/foo", "r/docs")] == [
        "rwxr-xr-x", "rw-r--r--", "rwxr-xr-x",
    ]  # fmt: skip
