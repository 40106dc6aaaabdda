"""Packages are installed in a RUN, with subordinate ids and with one id alone (D22)."""

from __future__ import annotations

import json
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from system_tools import Sampan, has_subordinate_ids

CONTROL = """Package: owned
Version: 1
Architecture: all
Maintainer: nobody <nobody@example.org>
Depends: adduser
Description: a directory that belongs to a user of its own
"""
POSTINST = """#!/bin/sh
set -e
adduser --system --group --home /var/lib/owned --no-create-home owned
chown owned:mail /var/lib/owned
chmod 2750 /var/lib/owned
"""
LOOK = (
    "stat -c '%a %U:%G' /var/lib/owned; dpkg-query -W -f '${Status}\\n' owned; id -un owned; "
    "ls /etc/apt/apt.conf.d"
)


@pytest.fixture
def context(tmp_path: Path) -> Path:
    if not shutil.which("dpkg-deb"):
        pytest.skip("this machine makes no Debian packages")
    tree = tmp_path / "owned"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "DEBIAN" / "control").write_text(CONTROL)
    (tree / "DEBIAN" / "postinst").write_text(POSTINST)
    (tree / "DEBIAN" / "postinst").chmod(0o755)
    (tree / "var/lib/owned").mkdir(parents=True)
    (tmp_path / "context").mkdir()
    made = tmp_path / "context" / "owned.deb"
    words = ["dpkg-deb", "--root-owner-group", "-b", str(tree), str(made)]
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
    return tmp_path / "context"


def test_apt_installs_a_package_with_a_user(sampan: Sampan, context: Path, tmp_path: Path) -> None:
    (context / "Dockerfile").write_text(
        "FROM debian:bookworm\nCOPY owned.deb /\n"
        "RUN apt-get install -y /owned.deb && rm /owned.deb\n"
    )
    done = sampan("build", "--no-cache", "-t", "packages", str(context), timeout=120)
    assert done.returncode == 0, done.stderr.decode()
    told = sampan.text("run", "--rm", "packages", "sh", "-c", LOOK).split("\n")
    owner = "owned:mail" if has_subordinate_ids() else "root:root"
    assert told[:3] == [f"2750 {owner}", "install ok installed", "owned"]
    assert "99one-id" not in told
    assert owners(sampan, tmp_path)["var/lib/owned"] != (0, 0)


def owners(sampan: Sampan, place: Path) -> dict[str, tuple[int, int]]:
    """What the topmost layer with packages says of owners, as others will read it."""
    sampan.text("save", "-q", "--format", "docker-dir", "-o", str(place / "saved"), "packages")
    manifest = json.loads((place / "saved" / "manifest.json").read_text())
    blob = place / "saved" / manifest["layers"][-1]["digest"].removeprefix("sha256:")
    with tarfile.open(blob) as archive:
        return {member.name: (member.uid, member.gid) for member in archive}


def test_owners_are_noted_whatever_way_they_are_given(sampan: Sampan, tmp_path: Path) -> None:
    if has_subordinate_ids():
        pytest.skip("the disk has them")
    (tmp_path / "Dockerfile").write_text(
        "FROM debian:bookworm\nWORKDIR /w\n"
        "RUN touch a b c && chown 5:6 a && chown 7 b && chgrp 8 c && ln -s a l && chown -h 9:9 l "
        "&& mkdir d && chown -R 10:11 d && mv a moved && touch gone && chown 12 gone && rm gone && touch new "
        "&& chown 13 /etc/hostname /bin/bash && cd d && touch ../deep && chown 14:14 ../deep "
        "&& ! chown 15 missing\n"
    )
    done = sampan("build", "--no-cache", "-t", "packages", str(tmp_path))
    assert done.returncode == 0, done.stderr.decode()
    found = owners(sampan, tmp_path)
    assert {name: ids for name, ids in found.items() if ids != (0, 0)} == {
        "w/moved": (5, 6), "w/b": (7, 0), "w/c": (0, 8), "w/l": (9, 9), "w/d": (10, 11),
        "usr/bin/bash": (13, 0), "w/deep": (14, 14),
    }  # fmt: skip
    assert "w/new" in found


def test_ids_are_not_pretended_where_there_are_others(sampan: Sampan, context: Path) -> None:
    (context / "Dockerfile").write_text("FROM debian:bookworm\nRUN chown 4000000000 /tmp\n")
    done = sampan("build", "--no-cache", "--progress", "plain", str(context))
    assert (done.returncode != 0) == has_subordinate_ids()
    assert sampan("run", "--rm", "debian:bookworm", "chown", "4000000000", "/tmp").returncode != 0
