"""commit and export where something is odd: kinds of files, kills, stopped processes, old hard links."""

from __future__ import annotations

import io
import json
import os
import signal
import tarfile
import time
from pathlib import Path

import pytest

from system_tools import Sampan, until
from tarmaker import f, h, tar

# Every kind of change, made by the shell and perl of the image.
CHANGE = r"""set -e
mkdir /t; cd /t; echo a > a; ln a b; ln a c; mkfifo fifo; mkdir sticky sg; chmod 1777 sticky; chmod 2775 sg
printf x > "$(printf 'n\377\nl')"; ln -s "$(printf '/\376')" sl; cp /bin/true prog; chmod 6755 prog
perl -e 'use Socket; socket(S,AF_UNIX,SOCK_STREAM,0); bind(S, sockaddr_un("/t/sock"))'
truncate -s 10M sparse; echo end >> sparse; touch -d '1969-12-31 23:59:58.25 UTC' old
long=$(printf 'x%.0s' $(seq 200)); mkdir -p $long/$long; echo l > $long/$long/$long
rm -rf /usr/share/doc/bash /etc/skel; echo file > /etc/skel; rm /etc/issue; mkdir /etc/issue
touch /etc/issue/in /var/mail/x; mkdir d0; chmod 000 d0; chmod 0500 /root; echo ready > /t/ready
"""
# The root and /etc get another time whenever the engine puts its own files there.
LOOK = r"""cd /; find . -xdev \( -path ./proc -o -path ./dev -o -path ./sys -o -path ./run -o -path ./etc/hosts \
-o -path ./etc/hostname -o -path ./etc/resolv.conf -o -path ./etc/mtab \) -prune -o \( -type s -o -path . \) -o \
\( -path ./etc -printf '%p %y %m %U:%G\0' -o -printf '%p %y %m %U:%G %n %l %T@\0' \) | sort -z | tr '\0' '\1'"""


def look(sampan: Sampan, *words: str) -> list[bytes]:
    """An entry a row. The number of links of a directory tells how the driver counts."""
    rows = sampan(*words, "sh", "-c", LOOK).stdout.split(b"\1")[:-1]
    assert len(rows) > 5000
    return [row for row in rows if b" d " not in row] + [
        b" ".join(row.split(b" ")[:4] + row.split(b" ")[-1:]) for row in rows if b" d " in row
    ]


@pytest.mark.parametrize("options", [[], ["--squash"], ["--format", "docker"]])
def test_the_image_is_the_containers_tree(sampan: Sampan, options: list[str]) -> None:
    sampan.text("run", "-d", "--name", "all", "debian:bookworm", "sh", "-c", f"{CHANGE}\nsleep 100")
    assert until(lambda: sampan("exec", "all", "test", "-e", "/t/ready").returncode == 0)
    seen = look(sampan, "exec", "all")
    result = sampan("commit", *options, "all", "all:1")
    assert result.returncode == 0 and b"1 sockets were left out" in result.stderr
    assert look(sampan, "run", "--rm", "all:1") == seen
    inspected = json.loads(sampan.text("image", "inspect", "all:1"))[0]
    assert ("docker" in inspected["ManifestType"]) == ("docker" in options)
    layers = len(inspected["RootFS"]["Layers"])
    base = json.loads(sampan.text("image", "inspect", "debian:bookworm"))[0]["RootFS"]["Layers"]
    assert layers == (1 if "--squash" in options else len(base) + 1)
    sampan.text("rm", "-f", "-t", "0", "all")
    sampan.text("rmi", "all:1")


def test_owners(sampan: Sampan) -> None:
    """What the disk cannot hold with one uid is written as the image has it."""
    script = "touch /var/mail/x"
    sampan.text("run", "--name", "own", "debian:bookworm", "sh", "-c", script)
    sampan.text("commit", "-q", "own", "own:1")
    store = Path(sampan.environment["SAMPAN_ROOT"])
    index = json.loads((store / "index.json").read_text())["manifests"]
    digest = next(
        one["digest"]
        for one in index
        if one["annotations"].get("org.opencontainers.image.ref.name") == "localhost/own:1"
    )
    manifest = json.loads((store / "blobs/sha256" / digest[7:]).read_text())
    with tarfile.open(store / "blobs/sha256" / manifest["layers"][-1]["digest"][7:]) as layer:
        mail = layer.getmember("var/mail")
        assert (mail.uid, mail.gid, mail.mode) == (0, 8, 0o2775)
        for member in layer.getmembers():
            assert not any("overlay" in key for key in member.pax_headers)
    sampan.text("rm", "own")
    sampan.text("rmi", "own:1")


def test_old_hard_links_in_an_export(sampan: Sampan, tmp_path: Path) -> None:
    """A link whose partner a later layer replaced or removed keeps the old data."""
    below = tar(f("t2", "123"), h("t1", "t2"), h("t3", "t1"), f("a", "x"), h("b", "a"))
    (tmp_path / "below.tar").write_bytes(below)
    sampan.text("import", "-q", str(tmp_path / "below.tar"), "links:1")
    sampan.text("create", "--name", "links", "links:1", "none")
    data = sampan("export", "links").stdout
    found = contents(data)
    assert {n: found[n] for n in ("t1", "t2", "t3", "a", "b")} == {
        "t1": b"123", "t2": b"123", "t3": b"123", "a": b"x", "b": b"x",
    }  # fmt: skip
    assert data == sampan("export", "links").stdout
    sampan.text("rm", "links")
    sampan.text("rmi", "links:1")
    sampan.text(
        "run",
        "--name",
        "one",
        "busybox",
        "sh",
        "-c",
        "cd /; echo 123 > t2; ln t2 t1; ln t1 t3; echo x > a; ln a b",
    )
    sampan.text("commit", "-q", "one", "links:2")
    sampan.text("run", "--name", "two", "links:2", "sh", "-c", "cd /; rm t1 a; echo 456 > t1")
    found = contents(sampan("export", "two").stdout)
    assert (found["t1"], found["t2"], found["t3"], found["b"]) == (
        b"456\n",
        b"123\n",
        b"123\n",
        b"x\n",
    )
    assert "a" not in found
    sampan.text("rm", "one", "two")
    sampan.text("rmi", "links:2")


def contents(data: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        found: dict[str, bytes] = {}
        for member in archive.getmembers():
            if member.isreg() or member.islnk():
                file = archive.extractfile(member)
                assert file is not None
                found[member.name] = file.read()
        return found


def test_an_export_that_fails_leaves_no_file(sampan: Sampan, tmp_path: Path) -> None:
    sampan.text("run", "--name", "holes", "busybox", "truncate", "-s", "100G", "/holes")
    target = tmp_path / "out.tar"
    result = sampan("export", "-o", str(target), "holes")
    assert result.returncode == 125 and b"holes" in result.stderr and not target.exists()
    before = sampan.text("images", "-q")
    assert sampan("commit", "holes", "holes:1").returncode == 125
    assert sampan.text("images", "-q") == before
    assert sampan("export", "-o", "/nowhere/at/all", "holes").returncode == 125


def test_a_killed_commit_leaves_nothing(fresh: Sampan) -> None:
    fresh.text("pull", "-q", "busybox")
    script = "dd if=/dev/urandom of=/big bs=1M count=150 2>/dev/null"
    fresh.text("run", "--name", "big", "busybox", "sh", "-c", script)
    before = fresh.text("images", "-q")
    for delay in (0.1, 0.25, 0.45):
        process = fresh.spawn("commit", "-q", "big", "big:1")
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert fresh.text("images", "-q") in (before, before + "\n" + fresh.text("images", "-q", "big"))
    fresh("rmi", "big:1")
    fresh.text("image", "prune", "-f")
    left = set(os.listdir(fresh.root / "ingest")) | set(os.listdir(fresh.root / "leases"))
    assert not left
    fresh.text("commit", "-q", "big", "big:1")
    assert fresh.text("run", "--rm", "big:1", "stat", "-c", "%s", "/big") == str(150 << 20)


def test_pause_leaves_stopped_what_was_stopped(sampan: Sampan) -> None:
    script = "sleep 1000 & kill -STOP $!; echo $! > /pid; while :; do sleep 0.1; done"
    sampan.text("run", "-d", "--name", "p", "busybox", "sh", "-c", script)
    assert until(lambda: sampan("exec", "p", "test", "-s", "/pid").returncode == 0)
    state = "cut -d' ' -f3 /proc/$(cat /pid)/stat; cut -d' ' -f3 /proc/1/stat"
    assert sampan.text("exec", "p", "sh", "-c", state).split()[0] == "T"
    sampan.text("commit", "-q", "--pause", "p", "p:1")
    assert sampan.text("exec", "p", "sh", "-c", state).split() == ["T", "S"]
    sampan.text("rm", "-f", "-t", "0", "p")
    sampan.text("rmi", "p:1")
