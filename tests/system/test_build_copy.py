"""COPY and ADD in whole builds: what the image has in the end, as a container sees it."""

from __future__ import annotations

import gzip
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from copysteps import tree
from gitserver import Repository
from system.test_build_steps import build, shell
from system_tools import Sampan, has_subordinate_ids
from tarmaker import d, f, h, s, tar


@pytest.fixture
def context(tmp_path: Path) -> Path:
    place = tmp_path / "context"
    place.mkdir()
    return place


def test_where_copies_go(sampan: Sampan, context: Path) -> None:
    """D13, and what is copied onto what."""
    tree(context, "f=one", "dir/x=two", "600:secret=s", "4755:suid=s", "l->f")
    built = build(
        sampan, context,
        "FROM busybox\nRUN mkdir -p /root/real/in && ln -s /root/real /root/link && mkdir -m 1777 /sticky\n"
        "COPY f /root/link/f\nCOPY f /root/link/in/f\nCOPY dir/ /root/link\nCOPY dir /root/link/d/\n"
        "COPY l secret suid /sticky/\nWORKDIR /w\nCOPY f dir/x ./\n",
    )  # fmt: skip
    show = "cd /root; find . -type f | sort; readlink link; cat link/f real/d/x /w/f /w/x; ls /root"
    assert shell(sampan, built.id, show).split() == [
        "./real/d/x", "./real/f", "./real/in/f", "./real/x", "/root/real", "onetwoonetwolink", "real",
    ]  # fmt: skip
    told = shell(
        sampan, built.id, "stat -c '%a %u:%g %F' /sticky /sticky/secret /sticky/suid /sticky/l"
    )
    assert told.splitlines() == [
        "1777 0:0 directory", "600 0:0 regular file", "4755 0:0 regular file", "644 0:0 regular file",
    ]  # fmt: skip


def test_owners_and_modes(sampan: Sampan, context: Path) -> None:
    """D15, as a machine with many ids shows them, and one with a single one keeps them."""
    tree(context, "f")
    built = build(
        sampan, context,
        "FROM busybox AS made\nRUN echo name:x:5:6::/: >> /etc/passwd; mkdir /d; touch /d/suid; chmod 4755 /d/suid\n"
        "COPY --chown=name --chmod=4555 f /own\n"
        "FROM busybox\nCOPY --from=made /own /kept\nCOPY --from=made --chown=1:2 /d /d\n",
    )  # fmt: skip
    owners = {"/kept": ("5:6", "4555"), "/d": ("1:2", "755"), "/d/suid": ("1:2", "4755")}
    if has_subordinate_ids():
        told = shell(sampan, built.id, "stat -c '%n %u:%g %a' " + " ".join(owners))
        assert told.splitlines() == [
            f"{name} {owner} {mode}" for name, (owner, mode) in owners.items()
        ]
    data = sampan("build", "-q", "-o", "-", str(context)).stdout
    told = subprocess.run(
        ["tar", "--numeric-owner", "-tv"], input=data, capture_output=True, check=True
    ).stdout.decode()
    rows = {row.split()[-1].rstrip("/"): row.split()[:2] for row in told.splitlines()}
    assert rows["d/suid"] == ["-rwsr-xr-x", "1/2"] and rows["kept"] == ["-r-sr-xr-x", "5/6"]
    failed = build(sampan, context, "FROM busybox\nCOPY --chown=nobody-here f /\n")
    assert failed.status == 125 and "Dockerfile:2: unable to find user nobody-here" in failed.err


def test_archives_and_repositories(sampan: Sampan, context: Path, tmp_path: Path) -> None:
    """D14."""
    archive = tar(
        d(".", mode=0o700), d("run"), s("var", "/run"), f("var/inside", "in"), h("again", "run/inside"),
        f("../up", "in"),
    )  # fmt: skip
    (context / "v1.tgz").write_bytes(gzip.compress(archive))
    tree(context, "latest.tgz->v1.tgz", "not.tar=text")
    (tmp_path / "git").mkdir()
    repository = Repository(tmp_path / "git")
    tree(repository.path, "g=from git")
    repository.commit()
    with repository.over_git() as url:
        rows = (
            "FROM busybox\nRUN mkdir -m 711 /app; touch /app/kept\nADD latest.tgz /app\nADD not.tar /\n"
            f"ADD --unpack=false v1.tgz /\nADD {url} /git\n"
        )
        built = build(sampan, context, rows)
        show = "cd /app; stat -c %a .; cat run/inside again up /git/g /not.tar; ls -d kept /v1.tgz var; ls -a /git"
        told = shell(sampan, built.id, show).split()
        assert told == ["711", "inininfrom", "gittext/v1.tgz", "kept", "var", ".", "..", "g"]
        assert not build(sampan, context, None).done
        tree(repository.path, "g=moved")
        repository.commit()
        assert build(sampan, context, None).done == [f"ADD {url} /git"]


def test_an_owner_that_changed_is_copied_anew(sampan: Sampan, context: Path) -> None:
    """With one id no disk shows it."""
    tree(context, "f=same", "g=same")
    rows = "FROM scratch AS made\nCOPY --chown=%s /out\nFROM scratch\nCOPY --from=made /out /out\n"
    last = "COPY --from=made /out /out"
    assert last in build(sampan, context, rows % "3 f").done
    assert last in build(sampan, context, rows % "4 f").done
    again = build(sampan, context, rows % "4 g")
    assert again.done == ["COPY --chown=4 g /out"] and again.cached == [last]


def test_a_build_that_is_killed_leaves_its_context_alone(sampan: Sampan, context: Path) -> None:
    """D02."""
    for number in range(300):
        tree(context, f"d{number % 10}/f{number}={number}")
    tree(
        context, ".dockerignore=d1\n*.tmp\n", "Dockerfile=FROM busybox\nCOPY . /all\nRUN sleep 60\n"
    )
    context.chmod(0o555)

    def state() -> list[tuple[str, int, int, int]]:
        paths = [context, *sorted(context.rglob("*"))]
        found = [(str(path), path.lstat()) for path in paths]
        return [(name, one.st_mode, one.st_mtime_ns, one.st_ctime_ns) for name, one in found]

    before = state()
    for wait in (0.2, 0.6, 1.5):
        process = sampan.spawn("build", str(context))
        time.sleep(wait)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert state() == before
    assert os.access(context / "d1/f1", os.R_OK)
