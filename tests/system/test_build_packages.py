"""Packages are installed in a RUN, with subordinate ids and with one id alone (D22)."""

from __future__ import annotations

import shutil
import subprocess
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


def test_apt_installs_a_package_with_a_user(sampan: Sampan, context: Path) -> None:
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


def test_ids_are_not_pretended_where_there_are_others(sampan: Sampan, context: Path) -> None:
    (context / "Dockerfile").write_text("FROM debian:bookworm\nRUN chown 4000000000 /tmp\n")
    done = sampan("build", "--no-cache", "--progress", "plain", str(context))
    assert (done.returncode != 0) == has_subordinate_ids()
    assert sampan("run", "--rm", "debian:bookworm", "chown", "4000000000", "/tmp").returncode != 0
