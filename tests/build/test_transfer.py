"""COPY: where it goes, whose it is, and what stands for it, by BuildKit's rules."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from copysteps import NOW, Steps, listing, row, tree
from sampan.errors import NotFoundError, SampanError
from sampan.store.sidecar import Extra
from sampan.store.truth import Truth
from sampan_build.dockerfile import transfer


@pytest.fixture
def steps(tmp_path: Path) -> Iterator[Steps]:
    with Steps(tmp_path) as found:
        yield found


def test_destinations_are_relative_to_workdir(steps: Steps) -> None:
    tree(steps.context, "foo")
    where = {
        "./": "w/v/foo",
        "bar/baz": "w/v/bar/baz",
        "../": "w/foo",
        "/test3/": "test3/foo",
        "../../../x": "x",
    }
    for target, expected in where.items():
        assert expected in steps.run(f"COPY foo {target}", workdir="/w/v").names


def test_modes_times_and_owner_of_a_context(steps: Steps) -> None:
    tree(steps.context, "4755:suid=x", "600:secret", "700:dir/", "dir/x", "l->x")
    layer = steps.run("COPY . /new")
    assert [layer.mode(f"new/{name}") for name in ("suid", "secret", "dir")] == [
        "4755",
        "0600",
        "0700",
    ]
    assert {entry.uid for entry in layer.entries.values()} == {0}
    assert {entry.gid for entry in layer.entries.values()} == {0}
    assert layer.entries["new/suid"].mtime == 1_000_000_000
    assert layer.entries["new/dir"].mtime == (steps.context / "dir").stat().st_mtime
    assert (layer.mode("new"), layer.entries["new"].mtime) == (
        "0755",
        steps.context.stat().st_mtime,
    )
    os.utime(steps.context / "secret", ns=(0, 1_234_567_890_123_456_789))
    assert (
        steps.run("COPY secret /").entries["secret"].pax_headers["mtime"] == "1234567890.123456789"
    )


def test_made_parents(steps: Steps) -> None:
    tree(steps.context, "f")
    layer = steps.run("COPY --chown=5 f /a/b/c")
    assert layer.names == ["a", "a/b", "a/b/c"]
    assert [layer.owner(name) for name in layer.names] == ["5:5"] * 3
    assert (layer.mode("a"), layer.entries["a"].mtime) == ("0755", NOW // 10**9)


def test_parents_that_exist_keep_what_they_have(steps: Steps) -> None:
    tree(steps.context, "f", "d/x")
    tree(steps.root, "1777:tmp/", "750:usr/", "711:usr/bin/", "usr/bin/old")
    layer = steps.run("COPY --chown=7 --chmod=700 f /usr/bin/")
    assert layer.names == ["usr", "usr/bin", "usr/bin/f"]
    assert [layer.mode(name) for name in layer.names] == ["0750", "0711", "0700"]
    assert layer.owner("usr") == f"{os.getuid()}:{os.getgid()}", "as it is in the root"
    assert layer.entries["usr"].mtime == (steps.root / "usr").stat().st_mtime
    layer = steps.run("COPY --chown=7 d /tmp")
    assert (layer.mode("tmp"), layer.owner("tmp/x")) == ("1777", "7:7")


def test_a_directory_in_a_directory_takes_the_sources_metadata(steps: Steps) -> None:
    tree(steps.context, "700:d/sub/", "d/sub/f")
    tree(steps.root, "775:app/", "777:app/sub/", "app/sub/kept")
    layer = steps.run("COPY d /app")
    assert [(name, layer.mode(name)) for name in layer.names] == [
        ("app", "0775"), ("app/sub", "0755" if (steps.context / "d/sub").stat().st_mode & 0o77 else "0700"),
        ("app/sub/f", "0644"),
    ]  # fmt: skip
    assert "app/sub/kept" in listing(layer.onto(steps.root))


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("COPY f /d", None),
        ("COPY f /x/", "cannot make directory /x"),
        ("COPY f /x/y", "cannot make directory /x: /x is not a directory"),
        ("COPY d /x", "cannot copy to non-directory: /x"),
        ("COPY e /d", "cannot copy to non-directory: /d/dir"),
        ("COPY g /d", "cannot replace to directory /d/dir2 with file"),
        ("COPY e/dir /d/dir/sub", "cannot make directory /x: /x is not a directory"),
        ("COPY file /d/dir2", None),
        ("COPY link /d", None),
    ],
)
def test_files_and_directories_in_each_others_way(
    steps: Steps, text: str, error: str | None
) -> None:
    tree(steps.context, "f=new", "d/n", "e/dir/n", "g/dir2", "dir2->f", "file", "link->f")
    tree(steps.root, "x", "d/f=old", "d/dir->../x", "d/dir2/", "d/link->../x")
    if error is None:
        after = listing(steps.run(text).onto(steps.root))
        assert after["x"] == "", "a link that is replaced is not followed"
        return
    with pytest.raises(SampanError) as caught:
        steps.run(text)
    assert str(caught.value).startswith(error)


def test_a_later_source_replaces_an_earlier_one(steps: Steps) -> None:
    tree(steps.context, "a/f=one", "b/f=two", "a/d/x=x", "b/d/y=y", "l/f->d")
    layer = steps.run("COPY a b /d/")
    assert layer.names == ["d", "d/d", "d/f", "d/d/x", "d/d/y"]
    assert layer.text("d/f") == "two"
    assert steps.run("COPY a l /d/").entries["d/f"].linkname == "d"
    with pytest.raises(SampanError, match="cannot replace to directory /d/d with file"):
        tree(steps.context, "c/d=file")
        steps.run("COPY a c /d/")


def test_d13_copy_onto_links(steps: Steps) -> None:
    """kaniko's double path: what goes through a link goes where it leads, and the link stays."""
    tree(
        steps.root,
        "root/real/in/",
        "root/link->/root/real",
        "root/rel->real",
        "root/new->/made/file",
    )
    tree(steps.context, "f=1", "dir/x=2")
    for text in (
        "COPY f /root/link/f", "COPY f /root/rel/in/f", "COPY dir/ /root/link", "COPY dir /root/rel/d/",
        "COPY f /root/link", "COPY f /root/new",
    ):  # fmt: skip
        steps.run(text).onto(steps.root)
    after = listing(steps.root)
    assert after["root/link"] == "->/root/real" and after["root/new"] == "->/made/file"
    assert {name: text for name, text in after.items() if text in "12"} == {
        "root/real/f": "1", "root/real/in/f": "1", "root/real/x": "2", "root/real/d/x": "2", "made/file": "1",
    }  # fmt: skip


def test_links_of_the_root_do_not_lead_out(steps: Steps, tmp_path: Path) -> None:
    tree(steps.root, "up->../../../../..", "host->/../../tmp")
    tree(steps.context, "f")
    assert steps.run("COPY f /up/x").names == ["x"]
    assert steps.run("COPY f /host/x").names == ["tmp", "tmp/x"]


def test_link_reads_nothing_of_the_layers_below(steps: Steps) -> None:
    tree(steps.root, "bin->usr/bin", "700:usr/bin/")
    tree(steps.context, "f")
    layer = steps.run("COPY --link f /bin/")
    assert [(name, layer.mode(name)) for name in layer.names] == [
        ("bin", "0755"),
        ("bin/f", "0644"),
    ]
    assert steps.run("COPY --link f .", workdir="/var/www").names == ["var", "var/www", "var/www/f"]
    with pytest.raises(NotFoundError, match="unable to find adm: with --link"):
        steps.run("COPY --link --chown=adm f /")
    assert steps.run("COPY --link --chown=3:4 f /").owner("f") == "3:4"


PASSWD = "root:x:0:0::/root:/bin/sh\ndaemon:x:2:3::/:/bin/false\nuser01:x:1001:1001::/:/bin/sh\n"
GROUP = "root:x:0:\nnobody:x:99:\n"


@pytest.mark.parametrize(
    ("chown", "expected"),
    [
        ("daemon", "2:3"), ("1000:nobody", "1000:99"), ("1", "1:1"), ("2", "2:2"), ("10:11", "10:11"),
        ("user01:nobody", "1001:99"), ("daemon:0", "2:0"), (":nobody", "0:99"), ("daemon:", "2:3"), ("root", "0:0"),
    ],
)  # fmt: skip
def test_chown(steps: Steps, chown: str, expected: str) -> None:
    tree(steps.root, f"etc/passwd={PASSWD}", f"etc/group={GROUP}")
    tree(steps.context, "f", "d/sub")
    layer = steps.run(f"COPY --chown={chown} f d /new/")
    assert {layer.owner(name) for name in layer.names} == {expected}


def test_a_chown_that_names_nobody(steps: Steps) -> None:
    tree(steps.context, "f")
    for has_files in (False, True):
        if has_files:
            tree(steps.root, f"etc/passwd={PASSWD}", f"etc/group={GROUP}")
        with pytest.raises(NotFoundError, match="unable to find user other"):
            steps.run("COPY --chown=other f /")
        with pytest.raises(NotFoundError, match="unable to find group other"):
            steps.run("COPY --chown=0:other f /")


def test_d15_modes_and_owners(steps: Steps) -> None:
    tree(steps.stage, "4755:suid=x", "700:d/", "d/f")
    tree(steps.context, "4755:own=x")
    assert steps.run("COPY --from=s suid /").mode("suid") == "4755"
    assert steps.run("COPY --from=s --chown=1:2 suid /").mode("suid") == "4755"
    assert steps.run("COPY --from=s --chown=1:2 suid /").owner("suid") == "1:2"
    assert steps.run("COPY --chmod=4555 own /").mode("own") == "4555"
    assert steps.run("COPY own /").owner("own") == "0:0", "the files of a context are root's"
    with pytest.raises(NotFoundError):
        steps.run("COPY --chown=missing own /")


def test_chmod_octal(steps: Steps) -> None:
    """testCopyChmod: directories that are made for it have it as well."""
    tree(steps.context, "foo", "700:bar", "d/x", "d/l->x")
    modes = {
        "0644 foo /": "0644",
        "777 bar /baz": "0777",
        "0 foo /foobis": "0000",
        "4755 foo /s": "4755",
    }
    for words, expected in modes.items():
        layer = steps.run(f"COPY --chmod={words}")
        assert layer.mode(layer.names[-1]) == expected
    layer = steps.run("COPY --chmod=770 foo /parent/sub/foo")
    assert [layer.mode(name) for name in layer.names] == ["0770"] * 3
    layer = steps.run("COPY --chmod=640 d /d")
    assert [layer.mode(name) for name in layer.names] == ["0640", "0777", "0640"]


@pytest.mark.parametrize(
    "mode", ["+x", "u=rwX,go=rX", "g=u", "go-w", "u=rw,g=r,o=r", "a+X", "u+rw,g+r,o-x,o+w"]
)
def test_chmod_symbolic_is_that_of_the_program(steps: Steps, mode: str) -> None:
    """testChmodNonOctal, and the reference's examples."""
    tree(steps.context, "666:in/file", "640:in/plain", "750:in/exec", "524:in/dir/", "755:in/top/")
    layer = steps.run(f"COPY --chmod={mode} in /out")
    assert layer.mode("out") == "0755"
    for path in (steps.context / "in").iterdir():
        os.system(f"umask 0; chmod {mode} {path}")
        assert layer.mode(f"out/{path.name}") == f"{stat.S_IMODE(path.stat().st_mode):04o}", (
            path.name
        )


def test_hard_links_stay(steps: Steps) -> None:
    tree(steps.context, "d/a=text", "d/sub/")
    os.link(steps.context / "d/a", steps.context / "d/sub/b")
    layer = steps.run("COPY d /x")
    assert layer.entries["x/sub/b"].linkname == "x/a" and layer.entries["x/sub/b"].islnk()


def test_sockets_are_left_out_and_fifos_are_not(steps: Steps) -> None:
    tree(steps.context, "f")
    os.mkfifo(steps.context / "pipe", 0o640)
    with socket.socket(socket.AF_UNIX) as listener:
        os.chdir(steps.context)
        listener.bind("sock")
    layer = steps.run("COPY . /")
    assert sorted(layer.names) == ["f", "pipe"] and layer.entries["pipe"].isfifo()
    assert layer.mode("pipe") == "0640"
    assert steps.run("COPY sock /").names == []


def test_attributes_are_kept(steps: Steps) -> None:
    tree(steps.context, "f")
    os.setxattr(steps.context / "f", "user.note", b"\0value")
    found = steps.run("COPY f /").entries["f"].pax_headers["SCHILY.xattr.user.note"]
    assert found == "\0value"


def test_heredocs(steps: Steps) -> None:
    """testCopyHeredoc."""
    layer = steps.run("COPY <<EOF single\nsingle file\nEOF\n", workdir="/dest")
    assert layer.text("dest/single") == "single file\n"
    assert (layer.mode("dest/single"), layer.owner("dest/single")) == ("0644", "0:0")
    assert layer.entries["dest/single"].mtime == NOW // 10**9
    layer = steps.run("COPY <<EOF <<EOF2 double/\nfirst file\nEOF\nsecond file\nEOF2\n")
    assert (
        layer.text("double/EOF") == "first file\n" and layer.text("double/EOF2") == "second file\n"
    )
    assert (
        steps.run("COPY --chmod=777 <<EOF /permfiles/all\nx\nEOF\n").mode("permfiles/all") == "0777"
    )
    assert steps.run("COPY --chmod=u+x <<EOF /f\nx\nEOF\n").mode("f") == "0744"
    assert steps.run("COPY --chown=3 <<EOF /f\nx\nEOF\n").owner("f") == "3:3"
    tree(steps.context, "f=file")
    layer = steps.run("COPY f <<g /d/\ntext\ng\n")
    assert (layer.text("d/f"), layer.text("d/g")) == ("file", "text\n")


def test_d03_heredocs_and_variables(steps: Steps) -> None:
    assert 'a b"' in row('COPY <<EOF /f\na $V"\nEOF\n', {"V": "b"}).contents[0].text()
    assert row("COPY <<'EOF' /f\na $V\nEOF\n", {"V": "b"}).contents[0].text() == "a $V\n"
    assert steps.run("COPY <<'EOF' /f\na $V\nEOF\n").text("f") == "a $V\n"
    tabs = "COPY <<-EOF /f\n\ta\n\t\tb\n\tEOF\n"
    assert steps.run(tabs).text("f") == "a\nb\n"


def test_d05_line_ends(steps: Steps) -> None:
    layer = steps.run("\ufeffCOPY <<EOF /tmp/o\r\na\r\nEOF\r\n")
    assert layer.names == ["tmp", "tmp/o"]


def test_a_stage_keeps_its_owners(steps: Steps) -> None:
    tree(steps.stage, "dir/sub/f", "dir/g")
    notes = {
        b"dir": Extra("d", 100, 200, 0o755, 0, 0, {}), b"dir/sub": Extra("d", 101, 201, 0o755, 0, 0, {}),
        b"dir/sub/f": Extra("f", 102, 202, 0o6755, 0, 0, {b"user.x": b"y"}),
        b"dir/null": Extra("c", 0, 5, 0o666, 1, 3, {}),
    }  # fmt: skip
    (steps.stage / "dir/sub/f").chmod(0o755)
    (steps.stage / "dir/sub/f").chmod(0o755)
    below = {b"old": Extra("d", 7, 8, 0o755, 0, 0, {})}
    tree(steps.root, "old/")
    truths: dict[str, Any] = {"source": Truth(notes, True), "below": Truth(below, True)}
    layer = steps.run("COPY --from=s /dir /old/new", **truths)
    assert layer.owner("old") == "7:8"
    assert layer.owner("old/new") == "0:0", "a directory that is made is root's"
    assert layer.owner("old/new/sub") == "101:201"
    assert (layer.owner("old/new/sub/f"), layer.mode("old/new/sub/f")) == ("102:202", "6755")
    null = layer.entries["old/new/null"]
    assert null.ischr() and (null.devmajor, null.devminor, layer.owner("old/new/null")) == (
        1,
        3,
        "0:5",
    )
    layer = steps.run("COPY --from=s --chown=300:400 /dir /old/new", **truths)
    assert layer.owner("old/new/sub/f") == "300:400" and layer.owner("old") == "7:8"


def test_d02_a_context_is_never_written_to(steps: Steps) -> None:
    tree(steps.context, "foo.go", "bar.go", "sub/dir1/foo", "link->foo.go")
    steps.context.chmod(0o555)
    (steps.context / "sub").chmod(0o555)
    before = [(str(path), path.lstat()) for path in sorted(steps.context.rglob("*"))]
    steps.run("COPY . /", "foo.go")
    steps.run("ADD sub /x/")
    after = [(str(path), path.lstat()) for path in sorted(steps.context.rglob("*"))]
    for (name, one), (other, two) in zip(before, after, strict=True):
        assert name == other
        assert (one.st_mtime_ns, one.st_ctime_ns, one.st_mode) == (
            two.st_mtime_ns,
            two.st_ctime_ns,
            two.st_mode,
        )


def test_a_file_that_changes_is_refused(steps: Steps) -> None:
    """What is in the layer is what its identity says."""

    tree(steps.context, "f=one")
    found = steps.gather("COPY f /")
    (steps.context / "f").write_text("other")
    with pytest.raises(
        SampanError, match="cannot copy f: it changed while the build read it; build again"
    ):
        steps._written(
            lambda tar: transfer.write(found, row("COPY f /"), "/", [-1, -1], tar), found, {}
        )


def test_a_file_that_cannot_be_read(steps: Steps) -> None:
    tree(steps.context, "000:d/closed=x", "000:e/")
    told = "cannot read . of the build context: d/closed: Permission denied"
    with pytest.raises(SampanError, match=told):
        steps.run("COPY . /", "e")
    with pytest.raises(SampanError, match="Permission denied"):
        steps.run("COPY e /")
    assert steps.run("COPY . /", "e\nd/closed").names == ["d"]


def test_identity(steps: Steps) -> None:
    tree(steps.context, "f=x", "g=y", "d/a=1", "d/l->a")
    first = steps.identity("COPY f /")
    assert len(first) == 64 and first == steps.identity("COPY f /") == steps.identity(
        "COPY ./d/../f /"
    )
    others = [
        "COPY g /", "COPY f /x", "COPY --chown=1 f /", "COPY --chmod=1 f /", "COPY --link f /", "COPY f g /x/",
        "COPY --parents f /", "ADD f /", "COPY d /", "COPY --exclude=a d /", "COPY <<f /\nx\nf\n", "COPY <<f /\ny\nf\n",
    ]  # fmt: skip
    found = [steps.identity(text) for text in others]
    assert len({first, *found}) == len(others) + 1
    os.utime(steps.context / "f", (5, 5))
    assert steps.identity("COPY f /") == first
    assert steps.identity("COPY d /", "d/a") != steps.identity("COPY d /")
    (steps.context / "f").chmod(0o600)
    assert steps.identity("COPY f /") != first


def test_identity_of_another_stage(steps: Steps) -> None:
    tree(steps.stage, "f=x", "d/a=1")
    assert steps.gather("COPY --from=s f /").parts is None
    first = steps.identity_in("COPY --from=s f /")
    assert first == steps.identity_in("COPY --from=s f /") != steps.identity_in("COPY --from=s d /")
    owned = steps.identity_in("COPY --from=s f /", f=Extra("f", 5, 5, 0o644, 0, 0, {}))
    attributed = steps.identity_in(
        "COPY --from=s f /", f=Extra("f", 0, 0, 0o644, 0, 0, {b"security.x": b"y"})
    )
    device = steps.identity_in("COPY --from=s / /", null=Extra("c", 0, 0, 0o666, 1, 3, {}))
    assert len({first, owned, attributed, device, steps.identity_in("COPY --from=s / /")}) == 5
    chown = "COPY --from=s --chown=1 f /"
    assert steps.identity_in(chown) == steps.identity_in(chown, f=Extra("f", 5, 5, 0o644, 0, 0, {}))
    os.setxattr(steps.stage / "f", "user.x", b"y")
    assert steps.identity_in("COPY --from=s f /") != first, "a capability is one, too"
    with pytest.raises(NotFoundError, match='"/missing" not found'):
        steps.identity_in("COPY --from=s missing /")


def test_workdir(steps: Steps) -> None:
    """testWorkdirUser, testWorkdirExists."""
    tree(steps.root, "700:home/", "link->home", "file", f"etc/passwd={PASSWD}")
    assert (
        steps.workdir("/home").names
        == steps.workdir("/").names
        == steps.workdir("/link").names
        == []
    )
    layer = steps.workdir("/link/a/b")
    assert [(name, layer.mode(name)) for name in layer.names] == [
        ("home", "0700"),
        ("home/a", "0755"),
        ("home/a/b", "0755"),
    ]
    assert layer.owner("home/a") == "0:0"
    layer = steps.workdir("/my/dir", "user01")
    assert [layer.owner(name) for name in layer.names] == ["1001:1001"] * 2
    layer = steps.workdir("/my/dir", "later:group")
    assert [layer.owner(name) for name in layer.names] == ["0:0"] * 2, (
        "a user that is still to come"
    )
    with pytest.raises(SampanError, match="cannot make directory /file: a file is there"):
        steps.workdir("/file")
