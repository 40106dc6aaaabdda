"""commit, diff, export and import by the installed program: the same bytes on every storage driver."""

from __future__ import annotations

import gzip
import io
import json
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from system_tools import Sampan, until

EPOCH = {"SOURCE_DATE_EPOCH": "1700000000"}
CHANGE = r"""set -e
echo changed >> /etc/issue; sed -i s/root/root/ /etc/passwd
rm -rf /usr/share/doc/apt; mkdir /usr/share/doc/apt; echo n > /usr/share/doc/apt/new
mkdir -p /srv/a/b; echo x > /srv/a/b/c; ln /srv/a/b/c /srv/a/l; ln -s c /srv/a/b/s; mkfifo /srv/p
chmod 4755 /srv/a/b/c; rm /etc/debian_version; mkdir /etc/debian_version
printf 'n' > "$(printf '/srv/caf\351')"; touch -d 2001-02-03T04:05:06.789 /srv/a/b/c
truncate -s 1M /srv/sparse; echo tail >> /srv/sparse; mv /etc/skel /etc/skel2; chmod u-w /etc/bash.bashrc
"""
LOOK = (
    "cd /; find srv etc usr/share/doc var/mail ! -path etc/hosts ! -path etc/hostname ! -path etc/resolv.conf "
    "! -path etc/mtab -printf '%P %y %m %U:%G %n %l\\n' | sort | cat -v; cat srv/a/l etc/issue"
)
DRIVERS = [
    "overlay",
    pytest.param(
        "fuse-overlayfs",
        marks=pytest.mark.skipif(not shutil.which("fuse-overlayfs"), reason="it is not installed"),
    ),
    "vfs",
]  # fmt: skip


def test_every_driver_makes_the_same_image(shared: Sampan) -> None:
    """One change, committed under three drivers: one digest; and the image has the container's tree."""
    ids: set[str] = set()
    drivers = [
        name
        for name in ("overlay", "fuse-overlayfs", "vfs")
        if name != "fuse-overlayfs" or shutil.which(name)
    ]
    for driver in drivers:
        words = ("--storage-driver", driver)
        name = f"change-{driver}"
        shared.text(
            *words, "run", "--name", name, "-i", "debian:bookworm", "sh", input=CHANGE.encode()
        )
        told = shared.text("diff", name).splitlines()
        assert "C /etc/issue" in told and "D /etc/skel" in told and "A /srv/caf\\xe9" in told, told
        assert "C /etc/hosts" not in told and "C /usr" not in told
        ids.add(
            shared.text(
                *words, "commit", "-q", "-m", "a message", name, f"committed/{driver}", env=EPOCH
            )
        )
        tree = shared.text(*words, "run", "--rm", f"committed/{driver}", "sh", "-c", LOOK)
        assert "a/b/c f 4755 0:0 2" in tree and tree.endswith("changed"), tree
        shared.text("rm", name)
    assert len(ids) == 1


def test_configuration(shared: Sampan, tmp_path: Path) -> None:
    words = [
        "--name",
        "configured",
        "-e",
        "A=b",
        "--label",
        "l=1",
        "-w",
        "/tmp",
        "debian:bookworm",
        "echo",
        "hello",
    ]
    shared.text("run", *words)
    changes = [
        'CMD ["cat", "/etc/issue"]',
        "ENV C=d",
        "EXPOSE 80",
        "USER 33",
        "ENTRYPOINT /bin/x",
        "VOLUME /v",
    ]
    options = [word for change in changes for word in ("-c", change)]
    iid = tmp_path / "iid"
    made = shared.text(
        "commit", "-q", "-a", "me", "--iidfile", str(iid), *options, "configured", "configured:1"
    )
    assert iid.read_text() == f"sha256:{made}"
    image = json.loads(shared.text("image", "inspect", "configured:1"))[0]
    inner = image["Config"]
    assert (
        inner["Cmd"] == ["cat", "/etc/issue"] and inner["User"] == "33" and "/v" in inner["Volumes"]
    )
    assert "A=b" in inner["Env"] and "C=d" in inner["Env"] and inner["Labels"] == {"l": "1"}
    assert (
        inner["WorkingDir"] == "/tmp"
        and image["Author"] == "me"
        and "80/tcp" in inner["ExposedPorts"]
    )
    assert shared("commit", "-c", "NONSENSE x", "configured").returncode == 125
    assert shared("commit", "no-such-container").returncode == 125
    shared.text("rm", "configured")
    shared.text("rmi", "configured:1")


def test_others_read_what_is_committed(shared: Sampan, tmp_path: Path) -> None:
    """The layers below keep their own blobs; skopeo and umoci take the image as it is."""
    if not (shutil.which("skopeo") and shutil.which("umoci")):
        pytest.skip("skopeo or umoci is not installed")
    shared.text("run", "--name", "read", "busybox", "sh", "-c", "echo hi > /new; rm /bin/ls")
    shared.text("commit", "-q", "read", "read:1")
    source = f"oci:{shared.environment['SAMPAN_ROOT']}:localhost/read:1"
    subprocess.run(
        ["skopeo", "copy", "-q", "--insecure-policy", source, f"oci:{tmp_path}/o:1"], check=True
    )
    subprocess.run(
        ["umoci", "unpack", "--rootless", "--image", f"{tmp_path}/o:1", f"{tmp_path}/b"], check=True
    )
    assert (tmp_path / "b/rootfs/new").read_text() == "hi\n"
    assert not os.path.lexists(tmp_path / "b/rootfs/bin/ls")
    layers = [
        json.loads(shared.text("image", "inspect", name))[0]["RootFS"]["Layers"]
        for name in ("busybox", "read:1")
    ]
    assert layers[1][:-1] == layers[0]
    shared.text("rm", "read")
    shared.text("rmi", "read:1")


def test_a_running_container(shared: Sampan) -> None:
    """What it has written so far; with --pause it stands still meanwhile, and goes on."""
    script = "i=0; while :; do i=$((i+1)); echo $i > /c; mv /c /count; done"
    name = shared.text("run", "-d", "debian:bookworm", "sh", "-c", script)
    try:
        assert until(lambda: "A /count" in shared.text("diff", name))
        shared.text("commit", "-q", "--pause", name, "running:1")
        first = shared.text("run", "--rm", "running:1", "cat", "/count")
        later = shared.text("exec", name, "sh", "-c", "cat /count; sleep 0.2; cat /count").split()
        assert first.isdigit() and len(later) == 2 and later[0] != later[1]
    finally:
        shared.text("rm", "-f", "-t", "0", name)
        shared("rmi", "running:1")


@pytest.mark.parametrize("driver", DRIVERS)
def test_export_and_import(shared: Sampan, driver: str, tmp_path: Path) -> None:
    words = ("--storage-driver", driver)
    script = "echo x > /tmp/a; ln /tmp/a /tmp/b; ln -s a /tmp/c; rm /bin/ls"
    shared.text(*words, "run", "--name", f"e-{driver}", "busybox", "sh", "-c", script)
    archive = tmp_path / "flat.tar"
    shared.text("export", "-o", str(archive), f"e-{driver}")
    data = shared(*words, "export", f"e-{driver}").stdout
    assert data == archive.read_bytes()
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        names = tar.getnames()
        assert len(names) == len(set(names)) and "bin/ls" not in names
        link = tar.getmember("tmp/b")
        assert link.islnk() and link.linkname == "tmp/a" and tar.getmember("tmp/c").issym()
        assert not any(os.path.basename(found).startswith(".wh.") for found in names)
    packed = tmp_path / "flat.tar.gz"
    packed.write_bytes(gzip.compress(data))
    for source, sent in ((str(archive), None), (str(packed), None), ("-", data)):
        made = shared.text(
            *words,
            "import",
            "-q",
            "-m",
            "imported",
            "-c",
            "CMD cat /tmp/b",
            source,
            "flat:1",
            input=sent,
        )
        assert made.startswith("sha256:")
        assert shared.text(*words, "run", "--rm", "flat:1") == "x"
    shared.text("rm", f"e-{driver}")
    shared.text("rmi", "-f", "flat:1")


def test_what_is_no_archive_leaves_nothing(shared: Sampan, tmp_path: Path) -> None:
    before = shared.text("images", "-a", "-q")
    evil = io.BytesIO()
    with tarfile.open(fileobj=evil, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("../../evil"), io.BytesIO())
    for content in (b"", b"no archive at all", gzip.compress(b"x" * 5000)[:-9], evil.getvalue()):
        path = tmp_path / "bad"
        path.write_bytes(content)
        result = shared("import", "-q", str(path), "bad:1")
        assert result.returncode == 125 and len(result.stderr.splitlines()) == 1, result.stderr
    assert shared("import", "/no/such/file").returncode == 125
    assert shared("image", "exists", "bad:1").returncode == 1
    assert shared.text("images", "-a", "-q") == before


def test_diff_of_images(shared: Sampan) -> None:
    shared.text("run", "--name", "d", "busybox", "sh", "-c", "echo hi > /new; rm /bin/ls")
    shared.text("commit", "-q", "d", "d:1")
    assert {"A /new", "D /bin/ls"} <= set(shared.text("diff", "d:1").splitlines())
    told = json.loads(shared.text("image", "diff", "--format", "json", "d:1", "busybox"))
    assert told["added"] == ["/new"] and told["deleted"] == ["/bin/ls"]
    assert shared("diff", "nothing-of-the-name").returncode == 125
    shared.text("rm", "d")
    shared.text("rmi", "d:1")
