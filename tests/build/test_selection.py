"""What the sources of a COPY match: BuildKit's own cases, and the examples of its reference."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from copysteps import Steps, row, tree
from sampan.errors import NotFoundError, SampanError, UsageError
from sampan_build.dockerfile import transfer


@pytest.fixture
def steps(tmp_path: Path) -> Iterator[Steps]:
    with Steps(tmp_path) as found:
        yield found


def wildcards(top: Path) -> None:
    """BuildKit's testCopyWildcards."""
    tree(
        top,
        "Dockerfile",
        "foo.go=foo",
        "bar.go=bar",
        "sub/",
        "sub/dir1/",
        "sub/dir1/dir2/",
        "sub/dir1/dir2/foo=foo",
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("COPY *.go /gofiles/", "gofiles gofiles/bar.go gofiles/foo.go"),
        ("COPY f*.go foo2.go", "foo2.go"),
        ("COPY sub/* /subdest/", "subdest subdest/dir2 subdest/dir2/foo"),
        ("COPY sub/*/dir2/foo /subdest2/", "subdest2 subdest2/foo"),
        ("COPY sub/*/dir2/foo /subdest3/bar", "subdest3 subdest3/bar"),
        ("COPY sub/**/dir2/foo /s/", "s s/foo"),
        ("COPY ** /s/", "s s/Dockerfile s/bar.go s/dir1 s/dir1/dir2 s/dir1/dir2/foo s/foo.go"),
        ("COPY ba[a-r].go foo.[^c]o /s/", "s s/bar.go s/foo.go"),
        ("COPY . all/", "all all/Dockerfile all/bar.go all/foo.go all/sub all/sub/dir1 all/sub/dir1/dir2 "
            "all/sub/dir1/dir2/foo"),
        ("COPY sub/dir1/ subdest4", "subdest4 subdest4/dir2 subdest4/dir2/foo"),
        ("COPY sub/dir1/. subdest5", "subdest5 subdest5/dir2 subdest5/dir2/foo"),
        ("COPY sub/dir1 subdest6", "subdest6 subdest6/dir2 subdest6/dir2/foo"),
        ("COPY ../../foo.go /sub/../x", "x"),
        ("COPY foo.go nomatch* /", "foo.go"),
        ("COPY nomatch* /new/", ""),
        ("COPY foo.go ./", "foo.go"),
        ("COPY foo.go .", "foo.go"),
        ('COPY foo.go ""', "foo.go"),
        ("COPY foo.go new/.", "new new/foo.go"),
    ],
)  # fmt: skip
def test_sources(steps: Steps, text: str, expected: str) -> None:
    wildcards(steps.context)
    layer = steps.run(text)
    assert sorted(layer.names) == expected.split()
    assert steps.said == (["nomatch* matches nothing"] if "nomatch" in text else [])


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("COPY missing /", '"/missing" not found'),
        ("COPY sub/missing/x /", '"/sub/missing/x" not found'),
        ("COPY foo.go/ missing /x/", '"/missing" not found'),
        ("COPY foo.go/x /", '"/foo.go/x" not found'),
        ("COPY --parents sub/missing /", '"/sub/missing" not found'),
        ("COPY --parents missing/./x /", '"/missing/x" not found'),
        ("COPY dangling /", '"/dangling" not found'),
        ("COPY around /", "cannot reach /around: too many links"),
        ("COPY [ /", "cannot read the source ["),
        ("COPY https://127.0.0.1/x /", "source can't be a URL for COPY"),
        ("COPY git@h:x.git /", "source can't be a git ref for COPY"),
    ],
)
def test_missing_sources(steps: Steps, text: str, error: str) -> None:
    wildcards(steps.context)
    tree(steps.context, "dangling->nowhere", "around->around")
    with pytest.raises(SampanError) as caught:
        steps.run(text)
    assert str(caught.value).startswith(error)


def test_links_in_a_source_are_followed_inside_the_context(steps: Steps, tmp_path: Path) -> None:
    """testCopyThroughSymlinkContext, testCopySymlinks: a link that is named is what it leads to."""
    tree(tmp_path, "outside=secret")
    tree(
        steps.context, "bar=bar-contents", "foo->bar", "sub/lfile=lfile", "sub/l0->subfile", "sub/subfile=subfile",
        "sub/l1->second", "sub/second->baz", "sub/baz=baz", "link->sub", "abs->/sub/baz", "up->../outside",
        "out->../../../../sub",
    )  # fmt: skip
    assert steps.run("COPY foo /").text("foo") == "bar-contents"
    assert steps.run("COPY link/baz .").text("baz") == "baz"
    assert steps.run("COPY abs /").text("abs") == "baz"
    assert steps.run("COPY out /o").text("o/baz") == "baz"
    layer = steps.run("COPY sub/l* alllinks/")
    texts = {name: layer.text(f"alllinks/{name}") for name in ("l0", "l1", "lfile")}
    assert texts == {"l0": "subfile", "l1": "baz", "lfile": "lfile"}
    with pytest.raises(NotFoundError, match="/up"):
        steps.run("COPY up /")
    whole = steps.run("COPY . /")
    assert whole.entries["link"].linkname == "sub" and whole.entries["up"].linkname == "../outside"


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        ("**\n!./source.txt", "source.txt"),
        ("*\n!**/*.py", "sub sub/deep sub/deep/x.py top.py"),
        ("*\n!dir*/file1\n!dir/file2", "dir dir/file1 dir/file2"),
        ("*\n!foo/**/etc", "foo foo/bar foo/bar/etc foo/bar/etc/x"),
        ("*\r\n# all\r\n\r\n!top.py  \r\n", "top.py"),
        ("\ufeff*\n!top.py", "top.py"),
        ("sub\ndir\nfoo\n*.py\nsource.txt", ""),
    ],
)
def test_d01_ignore_files(steps: Steps, patterns: str, expected: str) -> None:
    tree(
        steps.context, "source.txt", "top.py", "sub/deep/x.py", "sub/deep/x.c", "dir/file1", "dir/file2", "dir/file3",
        "foo/bar/etc/x", "foo/bar/usr/y",
    )  # fmt: skip
    assert sorted(steps.run("COPY . /", patterns).names) == expected.split()


def test_what_is_ignored_is_not_there(steps: Steps) -> None:
    tree(steps.context, "a/b/c", "a/b/d", "secret", "link->secret", "hidden->a", "part/x", "part/y")
    patterns = "secret\nhidden\na/b/c\npart/*\n!part/y"
    with pytest.raises(NotFoundError, match='"/secret" not found: the context leaves it out'):
        steps.run("COPY secret /", patterns)
    for text in ("COPY link /", "COPY hidden/b/d /", "COPY a/b/c /", "COPY part/x /"):
        with pytest.raises(NotFoundError, match="not found"):
            steps.run(text, patterns)
    assert steps.run("COPY a/b /n", patterns).names == ["n", "n/d"]
    assert steps.run("COPY part /n", patterns).names == ["n", "n/y"]
    assert steps.run("COPY part* s* /n/", patterns).names == ["n", "n/y"]
    assert steps.said == ["s* matches nothing"]
    with pytest.raises(NotFoundError):
        steps.run("COPY part /n", "part")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("COPY --parents ./x/a.txt ./y/a.txt /parents/", "parents parents/x parents/x/a.txt parents/y parents/y/a.txt"),
        ("COPY ./x/a.txt ./y/a.txt /no_parents/", "no_parents no_parents/a.txt"),
        ("COPY --parents ./x/./y/*.txt /parents/", "parents parents/y parents/y/a.txt parents/y/b.txt"),
        (
            "COPY --parents ./src/**/*.txt /parents/",
            "parents parents/src parents/src/a.txt parents/src/x parents/src/x/b.txt parents/src/x/y "
            "parents/src/x/y/c.txt",
        ),
        ("COPY --parents x/y /new", "new new/x new/x/y new/x/y/a.txt new/x/y/b.txt"),
        ("COPY --parents x/nothing* /new/", "new"),
        ("COPY --parents --exclude=**/b.txt x/y /n", "n n/x n/x/y n/x/y/a.txt"),
    ],
)  # fmt: skip
def test_parents_as_the_reference_has_it(steps: Steps, text: str, expected: str) -> None:
    tree(
        steps.context,
        "x/a.txt",
        "y/a.txt",
        "x/y/a.txt",
        "x/y/b.txt",
        "src/a.txt",
        "src/x/b.txt",
        "src/x/y/c.txt",
    )
    tree(steps.context, "src/x/z/d.c")
    assert sorted(steps.run(text).names) == expected.split()


@pytest.mark.parametrize(
    ("words", "there", "not_there"),
    [
        ("/test/a/b/./c/d", "c/d/e c/d/foo", "a e"),
        ("/test/a/b/c/d/.", "test/a/b/c/d/e test/a/b/c/d/foo", "e"),
        ("./test/a/b/c/d", "test/a/b/c/d/e test/a/b/c/d/foo", ""),
        ("/test/a/./b/./c", "b/c/d/e b/c/d/foo", "b/c2"),
        ("/test/a/./*/c", "b/c/d/e b2/c/d/e/bar", "b/c2"),
        ("/test/a/b*/./c/**/e", "c/d/e c/d/e/bay c/d/e/bar", "c/d/foo"),
        ("/test/a/b/c*/./d/**/baz /test/a/b*/./c/**/bar", "d/e/baz d/e2/baz c/d/e/bar", "d/e/bay"),
    ],
)  # fmt: skip
def test_parents_of_another_stage(steps: Steps, words: str, there: str, not_there: str) -> None:
    """testCopyRelativeParents."""
    tree(
        steps.stage, "test/a/b/c/d/foo", "test/a/b/c/d/e/bay", "test/a/b2/c/d/e/bar", "test/a/b/c2/d/e/baz",
        "test/a/b/c2/d/e2/baz",
    )  # fmt: skip
    names = steps.run(f"COPY --from=base --parents {words} /out/").names
    assert {f"out/{name}" for name in there.split()} <= set(names)
    assert not {f"out/{name}" for name in not_there.split()} & set(names)


def test_parents_keep_their_modes(steps: Steps) -> None:
    tree(steps.context, "a/b/f", "700:a/", "711:a/b/")
    layer = steps.run("COPY --parents --chown=3 a/b/f /")
    assert [(name, layer.mode(name), layer.owner(name)) for name in layer.names] == [
        ("a", "0700", "3:3"), ("a/b", "0711", "3:3"), ("a/b/f", "0644", "3:3"),
    ]  # fmt: skip
    tree(steps.root, "1755:a/")
    assert steps.run("COPY --parents a/b/f /").mode("a") == "1755", (
        "one that is there stays as it is"
    )


@pytest.mark.parametrize(
    ("text", "there", "not_there"),
    [
        ("COPY --exclude=*.txt hom* /mydir/", "home.c", "hom.txt homes.md/x"),
        ("COPY --exclude=*.txt --exclude=*.md hom* /mydir/", "home.c", "hom.txt hom.md"),
        ("COPY --exclude=*/*.png --exclude=*/*.jpeg . /mydir", "dir1/102.txt dir2/201.pdf hom.txt",
            "dir1/101.png dir2/202.jpeg"),
        ("COPY --exclude=*/*.pdf --exclude=*/*.txt . /mydir", "dir1/101.png dir2/202.jpeg hom.txt",
            "dir2/201.pdf dir1/102.txt"),
        ("ADD --exclude=*.png dir1/ /mydir/", "102.txt", "101.png"),
        ("COPY --exclude=*.png --exclude=*.jpeg --exclude=*.pdf dir* /mydir/", "102.txt", "101.png 201.pdf"),
        ("ADD --exclude=* dir* /mydir", "", "101.png dir1"),
        ("COPY --exclude=dir1 --exclude=!dir1/102.txt . /mydir", "dir1/102.txt hom.md", "dir1/101.png"),
        ("COPY --exclude=*.txt hom.txt home.c /mydir/", "home.c", "hom.txt"),
    ],
)  # fmt: skip
def test_exclude(steps: Steps, text: str, there: str, not_there: str) -> None:
    """The reference's examples, and testExcludedFilesOnCopy."""
    tree(
        steps.context,
        "hom.txt",
        "home.c",
        "hom.md",
        "dir1/101.png",
        "dir1/102.txt",
        "dir2/201.pdf",
        "dir2/202.jpeg",
    )
    names = steps.run(text).names
    assert "mydir" in names
    assert {f"mydir/{name}" for name in there.split()} <= set(names)
    assert not {f"mydir/{name}" for name in not_there.split()} & set(names)


def test_no_context(steps: Steps, tmp_path: Path) -> None:
    from sampan_build.dockerfile import ignore
    from sampan_build.dockerfile.contexts import Context

    nothing = Context(-1, ignore.Ignore(()), "-")
    with pytest.raises(NotFoundError, match='"/f" not found: there is no build context'):
        transfer.gather(row("COPY ./f /"), nothing, -1, None, steps.said.append)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="checksum requires HTTP"):
        steps.run("ADD --checksum=sha256:00 f /")


def test_names_of_any_bytes(steps: Steps) -> None:
    tree(steps.context, "test-äöü.txt=foo", "test-%C3%A4.txt=bar", "test+aou.txt=baz")
    (steps.context / os.fsdecode(b"\xff\n")).write_text("raw")
    assert steps.run("COPY test-äöü.txt /").text("test-äöü.txt") == "foo"
    layer = steps.run("COPY . /")
    assert os.fsdecode(b"\xff\n") in layer.names and len(layer.names) == 4
