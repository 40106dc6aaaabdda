"""Volumes as a user meets them: made by flags, filled from the image, shared, measured, removed."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from system_tools import BUSYBOX, Sampan, has_subordinate_ids, until

needs_subids = pytest.mark.skipif(
    not has_subordinate_ids(), reason="the user has no subordinate ids"
)
SUBIDS = has_subordinate_ids()
TIME = 1_600_000_000
MANY = 4000  # files: to copy them takes long enough to be caught in the middle
Model = dict[str, tuple[Any, ...]]


@pytest.fixture(autouse=True)
def tidy(shared: Sampan) -> Iterator[None]:
    yield
    shared("rm", "-af", "-t", "0")
    shared("volume", "rm", "-af")
    shared("volume", "prune", "-f")
    left = [name for name in os.listdir(shared.root / "volumes") if name != ".lock"]
    assert left == []


class Content:
    """A directory of an image as tar entries and as the model that a volume is compared with."""

    def __init__(self) -> None:
        self.model: Model = {}
        self._buffer = io.BytesIO()
        self._tar = tarfile.open(fileobj=self._buffer, mode="w", format=tarfile.PAX_FORMAT)

    def add(
        self,
        path: str,
        kind: bytes = tarfile.REGTYPE,
        *,
        mode: int = 0o644,
        owner: tuple[int, int] = (0, 0),
        data: bytes = b"",
        link: str = "",
        xattrs: dict[str, str] | None = None,
        expected: bool = True,
    ) -> None:
        entry = tarfile.TarInfo(path)
        entry.type, entry.mode, entry.linkname, entry.size = kind, mode, link, len(data)
        entry.uid, entry.gid = owner
        entry.mtime = TIME + len(self.model)
        entry.pax_headers = {f"SCHILY.xattr.{key}": value for key, value in (xattrs or {}).items()}
        self._tar.addfile(entry, io.BytesIO(data))
        if not expected:
            return
        name = path.removeprefix("data").strip("/") or "."
        shown = owner if SUBIDS else (0, 0)
        if not SUBIDS and owner[0]:
            mode &= ~0o4000
        self.model[name] = (
            kind, 0 if kind == tarfile.SYMTYPE else mode, *shown, entry.mtime, data, link.removeprefix("data/"),
            xattrs or {},
        )  # fmt: skip

    def bytes(self) -> bytes:
        self._tar.close()
        return self._buffer.getvalue()


def content() -> Content:
    made = Content()
    made.add("data", tarfile.DIRTYPE, mode=0o1775, owner=(33, 34), xattrs={"user.top": "yes"})
    made.add("data/a", data=b"alpha", mode=0o4755, owner=(5, 6))
    made.add("data/dir", tarfile.DIRTYPE, mode=0o700, owner=(1000, 1000))
    made.add("data/dir/attributes", data=b"x" * 100_000, xattrs={"user.k": "v"})
    made.add("data/dir/hard", tarfile.LNKTYPE, link="data/a", mode=0o4755, owner=(5, 6))
    made.add("data/absolute", tarfile.SYMTYPE, link="/etc/passwd")
    made.add("data/climbs", tarfile.SYMTYPE, link="../../../../../etc", owner=(7, 8))
    made.add("data/fifo", tarfile.FIFOTYPE, mode=0o640)
    made.add("data/none", mode=0, data=b"secret")
    made.add("data/.hidden", data=b"")
    made.add("many", tarfile.DIRTYPE, mode=0o755, expected=False)
    for number in range(MANY):
        made.add(f"many/{number}", data=b"content", expected=False)
    made.add("out", tarfile.SYMTYPE, link="/../../../../../../etc", expected=False)
    made.add("bin", tarfile.DIRTYPE, mode=0o755, expected=False)
    return made


def read(archive: bytes) -> Model:
    """An exported volume in the model's form."""
    found: Model = {}
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        for entry in tar:
            kind = tarfile.REGTYPE if entry.isfile() and not entry.islnk() else entry.type
            file = tar.extractfile(entry) if kind == tarfile.REGTYPE else None
            prefix = "SCHILY.xattr."
            xattrs = {
                k.removeprefix(prefix): v
                for k, v in entry.pax_headers.items()
                if k.startswith(prefix)
            }
            mode = 0 if kind == tarfile.SYMTYPE else entry.mode
            found[entry.name.removeprefix("./") or "."] = (
                kind, mode, entry.uid, entry.gid, entry.mtime, file.read() if file else b"", entry.linkname, xattrs,
            )  # fmt: skip
    return found


@pytest.fixture(scope="module")
def model(shared: Sampan) -> Iterator[Model]:
    """An image `copy` (busybox below, /data and VOLUME /data/vol) is built; what /data holds."""
    made = content()
    base = tarfile.open(fileobj=io.BytesIO(_root(shared)))
    layers = io.BytesIO()
    with tarfile.open(fileobj=layers, mode="w", format=tarfile.PAX_FORMAT) as whole:
        for source in (base, tarfile.open(fileobj=io.BytesIO(made.bytes()))):
            for entry in source:
                if entry.name.strip("./") == "bin" and source is not base:
                    continue
                whole.addfile(entry, source.extractfile(entry) if entry.isfile() else None)
    result = shared(
        "import", "--change", "VOLUME /declared", "-", "copy:latest", input=layers.getvalue()
    )
    assert result.returncode == 0, result.stderr
    yield made.model
    shared("rmi", "-f", "copy:latest")


def _root(shared: Sampan) -> bytes:
    shared.text("create", "--name", "base", BUSYBOX, "true")
    result = shared("export", "base")
    assert result.returncode == 0, result.stderr
    shared.text("rm", "base")
    return result.stdout


def export(sampan: Sampan, name: str) -> Model:
    result = sampan("volume", "export", name)
    assert result.returncode == 0, result.stderr
    return read(result.stdout)


def test_a_new_volume_gets_what_the_image_has(shared: Sampan, model: Model) -> None:
    """Entry by entry: type, mode, owner, time, content, link, attributes, and the directory's own."""
    shared.text("run", "--rm", "-v", "v:/data", "copy", "true")
    found = export(shared, "v")
    hard = found.pop("dir/hard")
    wanted = dict(model)
    assert hard[0] == tarfile.LNKTYPE and hard[6] == "a", "one file with two names stays one"
    wanted.pop("dir/hard")
    assert found == wanted


def test_the_volume_keeps_what_it_has(shared: Sampan, model: Model) -> None:
    shared.text(
        "run", "--rm", "-v", "v:/data", "copy", "sh", "-c", "rm -rf /data/dir; echo new > /data/a"
    )
    assert "dir" not in shared.text("run", "--rm", "-v", "v:/data", "copy", "ls", "/data").split()
    assert shared.text("run", "--rm", "-v", "v:/data", "copy", "cat", "/data/a") == "new"


@pytest.mark.parametrize(
    "flag", [["-v", "v:/data:nocopy"], ["--mount", "type=volume,src=v,dst=/data,volume-nocopy"]]
)
def test_nocopy(shared: Sampan, model: Model, flag: list[str]) -> None:
    assert shared.text("run", "--rm", *flag, "copy", "ls", "-A", "/data") == ""


def test_a_volume_that_was_used_empty_is_filled_later(shared: Sampan, model: Model) -> None:
    shared.text("run", "--rm", "-v", "v:/nothing", "copy", "true")
    assert json.loads(shared.text("volume", "inspect", "v"))[0]["NeedsCopyUp"] is True
    shared.text("run", "--rm", "-v", "v:/data:ro", "copy", "test", "-f", "/data/a")
    assert json.loads(shared.text("volume", "inspect", "v"))[0]["NeedsCopyUp"] is False


def test_a_link_at_the_mount_point_stays_in_the_image(shared: Sampan, model: Model) -> None:
    """/out climbs to the host's /etc: it is the image's that is copied, and mounted on."""
    script = "cat /out/group; touch /out/mine; ls /etc/mine"
    told = shared.text("run", "--rm", "-v", "v:/out", "copy", "sh", "-c", script)
    assert told == shared.text("run", "--rm", "copy", "cat", "/etc/group") + "\n/etc/mine"
    assert not os.path.exists("/etc/mine")


def test_two_containers_start_with_the_same_new_volume(shared: Sampan, model: Model) -> None:
    for turn in range(5):
        name = f"v{turn}"
        words = (
            "run",
            "--rm",
            "-v",
            f"{name}:/data",
            "copy",
            "sh",
            "-c",
            "ls -A /data | wc -l; cat /data/a",
        )
        running = [
            shared.spawn(*words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(4)
        ]
        for process in running:
            out, err = process.communicate(timeout=60)
            assert process.returncode == 0, err
            assert out.decode().split() == ["7", "alpha"], "nobody sees half of a copy"


def test_a_copy_that_was_killed_is_made_again(shared: Sampan, model: Model) -> None:
    """What a killed monitor leaves: a part of the content, and the note that it is one."""
    shared.text("volume", "create", "v")
    place = shared.root / "volumes/v"
    (place / "_data/half").write_text("of it")
    (place / "copying").touch()
    listed = shared.text("run", "--rm", "-v", "v:/data", "copy", "ls", "-A", "/data").split()
    assert "half" not in listed and "a" in listed
    assert not (place / "copying").exists()


def test_a_monitor_that_is_killed_while_it_copies(shared: Sampan, model: Model) -> None:
    caught = 0
    for turn in range(4):
        process = shared.spawn("run", "--name", f"c{turn}", "-v", f"v{turn}:/many", "copy", "true",
                               stderr=subprocess.DEVNULL)  # fmt: skip
        note = shared.root / f"volumes/v{turn}/copying"
        while not note.exists() and process.poll() is None:
            pass
        for child in _children(process.pid):
            os.kill(child, signal.SIGKILL)
        process.wait(30)
        caught += note.exists()
        told = shared.text(
            "run", "--rm", "-v", f"v{turn}:/many", "copy", "sh", "-c", "ls /many | wc -l"
        )
        assert int(told) == MANY and not note.exists()
    assert caught, "at least one copy was interrupted"


def test_what_a_container_swaps_leads_nowhere(shared: Sampan, tmp_path: Path) -> None:
    """One container turns a directory into a link to the host's and back, while others mount at and below it."""
    (tmp_path / "canary").write_text("host")
    script = f"cd /v; mkdir -p real s; while :; do mv s t; ln -s {tmp_path} s; rm s; mv t s; done"
    shared.text("run", "-d", "--name", "swapper", "-v", "v:/v", BUSYBOX, "sh", "-c", script)
    for _ in range(15):
        part = shared(
            "run", "--rm", "--mount", "type=volume,src=v,dst=/s,subpath=s", BUSYBOX, "ls", "/s"
        )
        assert part.returncode in (0, 125) and b"canary" not in part.stdout
        below = shared(
            "run", "--rm", "-v", "v:/v", "-v", "w:/v/s/deep", BUSYBOX, "touch", "/v/s/deep/x"
        )
        assert below.returncode in (0, 1, 125)
        exported = shared("volume", "export", "v").stdout
        assert b"canary" not in exported
    assert [path.name for path in tmp_path.iterdir()] == ["canary"]


@pytest.mark.parametrize("delay", [0.0, 0.02, 0.04, 0.06, 0.08, 0.1, 0.15])
def test_kill_9_of_run_and_monitor(shared: Sampan, model: Model, delay: float) -> None:
    """Whenever it is killed, the next run is right, and prune takes the rest away."""
    process = shared.spawn("run", "--rm", "-v", "v:/data", "-v", "/anonymous", "copy", "true",
                           stderr=subprocess.DEVNULL, start_new_session=True)  # fmt: skip
    until(lambda: False, delay)
    for child in _children(process.pid):
        try:
            os.kill(child, signal.SIGKILL)
        except ProcessLookupError:
            pass
    process.kill()
    process.wait()
    assert until(lambda: shared.text("ps", "-q") == "")
    told = shared.text(
        "run", "--rm", "-v", "v:/data", "copy", "sh", "-c", "ls -A /data | wc -l; cat /data/a"
    )
    assert told.split() == ["7", "alpha"]
    shared.text("rm", "-af")
    shared.text("volume", "prune", "-f")
    assert shared.text("volume", "ls", "-q") == ""


def _children(pid: int) -> list[int]:
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def test_anonymous_volumes_go_with_their_container(shared: Sampan, model: Model) -> None:
    shared.text(
        "run", "--rm", "-v", "/x", "copy", "sh", "-c", "echo 1 > /x/f; echo 2 > /declared/f"
    )
    assert shared.text("volume", "ls", "-q") == ""
    shared.text("run", "--name", "c", "-v", "/x", "copy", "true")
    names = shared.text("volume", "ls", "-q").split()
    assert len(names) == 2 and all(len(name) == 64 for name in names)
    shared.text("rm", "c")
    assert shared.text("volume", "ls", "-q").split() == names, (
        "rm alone leaves them, as Docker does"
    )
    assert sorted(shared.text("volume", "prune", "-f").split()) == sorted(names)
    shared.text("run", "-d", "--name", "c", "-v", "/x", "-v", "named:/y", "copy", "sleep", "100")
    shared.text("rm", "-f", "-v", "-t", "0", "c")
    assert shared.text("volume", "ls", "-q") == "named"


def test_the_kinds_of_an_image_volume(shared: Sampan, model: Model) -> None:
    def kind(*flags: str) -> str:
        return shared.text(
            "run",
            "--rm",
            *flags,
            "copy",
            "sh",
            "-c",
            "grep ' /declared ' /proc/mounts | cut -d' ' -f3",
        )

    assert kind("--image-volume", "tmpfs") == "tmpfs"
    assert kind("--image-volume", "ignore") == ""
    assert kind("--image-volume", "bind") == kind() not in ("", "tmpfs")
    assert kind("--tmpfs", "/declared") == "tmpfs", "the user's flag wins"
    assert shared("run", "--image-volume", "x", "copy", "true").returncode == 125


def test_volumes_from(shared: Sampan, model: Model, tmp_path: Path) -> None:
    shared.text(
        "create",
        "--name",
        "donor",
        "-v",
        "v:/v",
        "-v",
        f"{tmp_path}:/h:ro",
        "-v",
        "/anon",
        "copy",
        "true",
    )
    shared.text(
        "run",
        "--rm",
        "--volumes-from",
        "donor",
        BUSYBOX,
        "sh",
        "-c",
        "echo x > /v/f; echo y > /anon/g",
    )
    told = shared(
        "run",
        "--rm",
        "--volumes-from",
        "donor:ro",
        BUSYBOX,
        "sh",
        "-c",
        "cat /v/f /anon/g; touch /v/n",
    )
    assert told.stdout == b"x\ny\n" and b"Read-only" in told.stderr and told.returncode == 1
    told = shared("run", "--rm", "--volumes-from", "donor", BUSYBOX, "touch", "/h/f")
    assert told.returncode == 1 and b"Read-only" in told.stderr, "what is ro there is ro here"
    mounts = shared.text(
        "run", "--rm", "--volumes-from", "donor", "--tmpfs", "/v", BUSYBOX, "cat", "/proc/mounts"
    )
    assert "tmpfs /v tmpfs" in mounts, "the user's flag wins"
    assert b"no such container" in shared("run", "--volumes-from", "nobody", BUSYBOX, "true").stderr
    assert shared("run", "--volumes-from", "donor:bogus", BUSYBOX, "true").returncode == 125
    assert len(shared.text("volume", "ls", "-q").split()) == 3, (
        "--rm does not take what the donor has"
    )


def test_inspect_tells_both_dialects(shared: Sampan, tmp_path: Path) -> None:
    shared.text("create", "--name", "c", "-v", "v:/v:ro", "-v", f"{tmp_path}:/h", BUSYBOX, "true")
    document = json.loads(shared.text("inspect", "c"))[0]
    volume, bind = document["Mounts"]
    path = json.loads(shared.text("volume", "inspect", "v"))[0]["Mountpoint"]
    assert path == str(shared.root / "volumes/v/_data")
    assert volume.items() >= {
        "Type": "volume", "Name": "v", "Source": path, "Destination": "/v", "Driver": "local", "RW": False,
        "Propagation": "rprivate",
    }.items()  # fmt: skip
    assert bind["Type"] == "bind" and bind["Source"] == str(tmp_path) and "Name" not in bind
    assert document["HostConfig"]["Binds"][0].startswith("v:/v:ro")
    assert shared.text("ps", "-aq", "--filter", "volume=v") == document["Id"][:12]
    assert shared.text("ps", "-aq", "--filter", "volume=other") == ""


def test_a_volume_in_use(shared: Sampan) -> None:
    cid = shared.text("run", "-d", "-v", "v:/v", BUSYBOX, "sleep", "100")
    result = shared("volume", "rm", "v")
    assert result.returncode == 2
    assert result.stderr.decode() == (
        f"Error: volume v is being used by the following container(s): {cid}: volume is being used\n"
    )
    assert json.loads(shared.text("volume", "inspect", "v"))[0]["MountCount"] == 1
    assert shared.text("volume", "rm", "-f", "-t", "0", "v") == "v"
    assert shared.text("ps", "-aq") == ""


def test_the_verbs(shared: Sampan) -> None:
    assert shared.text("volume", "create", "-l", "k=v", "one") == "one"
    assert len(shared.text("volume", "create")) == 64
    assert shared("volume", "create", "one").stderr == (
        b"Error: volume with name one already exists: volume already exists\n"
    )
    assert shared.text("volume", "create", "--ignore", "one") == "one"
    assert shared.text("volume", "ls", "--filter", "label=k=v").splitlines() == [
        "DRIVER      VOLUME NAME",
        "local       one",
    ]
    assert shared.text("volume", "ls", "-q", "--filter", "name=^on.$") == "one"
    assert (
        shared.text("volume", "ls", "--format", "{{.Name}} {{.Labels.k}}", "--filter", "label=k")
        == "one v"
    )
    rows = json.loads(shared.text("volume", "ls", "--format", "json"))
    assert {
        "Name",
        "Driver",
        "Mountpoint",
        "CreatedAt",
        "Labels",
        "Scope",
        "Options",
        "Anonymous",
    } <= set(rows[0])
    assert (
        shared("volume", "exists", "one").returncode == 0
        and shared("volume", "exists", "two").returncode == 1
    )
    assert shared.text("volume", "inspect", "-f", "{{.Driver}}", "one") == "local"
    assert shared.text("inspect", "-f", "{{.Driver}}", "one") == "local"
    assert shared("inspect", "--type", "container", "one").returncode == 125
    missing = shared("volume", "rm", "two")
    assert missing.returncode == 1
    assert missing.stderr == b'Error: no volume with name "two" found: no such volume\n'
    assert shared.text("volume", "rm", "-f", "two") == ""
    for words in (["volume"], ["volume", "bogus"], ["volume", "rm"], ["volume", "inspect"], ["volume", "create", "a/b"],
                  ["volume", "mount", "one"], ["volume", "ls", "--filter", "x=y"]):  # fmt: skip
        assert shared(*words).returncode == 125, words
    told = shared("volume", "prune", input=b"N\n").stdout.decode()
    assert told.startswith("WARNING! ") and "one" in told.splitlines()
    assert shared("volume", "exists", "one").returncode == 0


def test_export_and_import(shared: Sampan, model: Model, tmp_path: Path) -> None:
    shared.text("run", "--rm", "-v", "v:/data", "copy", "touch", "/data/.wh.a")
    first = shared("volume", "export", "v").stdout
    assert shared("volume", "export", "v").stdout == first, "the same bytes for the same content"
    (tmp_path / "v.tar").write_bytes(first)
    shared.text("volume", "create", "w")
    shared.text("volume", "import", "w", str(tmp_path / "v.tar"))
    shared.text("volume", "import", "w", "-", input=first)
    assert shared("volume", "export", "w").stdout == first
    assert shared("volume", "import", "nosuch", "-", input=first).returncode == 125
    assert shared("volume", "import", "w", "-", input=b"rubbish" * 1000).returncode == 125


def test_an_archive_cannot_leave_the_volume(shared: Sampan, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        link = tarfile.TarInfo("out")
        link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path)
        tar.addfile(link)
        entry = tarfile.TarInfo("out/file")
        entry.size = 4
        tar.addfile(entry, io.BytesIO(b"evil"))
    shared.text("volume", "create", "v")
    shared("volume", "import", "v", "-", input=buffer.getvalue())
    assert list(tmp_path.iterdir()) == []
    climbing = io.BytesIO()
    with tarfile.open(fileobj=climbing, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("../../../../climbed"))
    assert shared("volume", "import", "v", "-", input=climbing.getvalue()).returncode == 125


def test_a_subpath_cannot_leave_the_volume(shared: Sampan, tmp_path: Path) -> None:
    (tmp_path / "canary").write_text("host")
    script = f"mkdir -p /v/sub/deep; echo in > /v/sub/f; ln -s {tmp_path} /v/out; ln -s ../../../../.. /v/up"
    shared.text("run", "--rm", "-v", "v:/v", BUSYBOX, "sh", "-c", script)

    def run(subpath: str, *words: str) -> Any:
        return shared(
            "run",
            "--rm",
            "--mount",
            f"type=volume,src=v,dst=/s,volume-subpath={subpath}",
            BUSYBOX,
            *words,
        )

    assert run("sub", "cat", "/s/f").stdout == b"in\n"
    assert run("sub/f", "cat", "/s").stdout == b"in\n"
    assert run("out", "ls", "/s").returncode == 125
    assert run("up", "ls", "/s").stdout.split() == [b"out", b"sub", b"up"], (
        "the volume is the link's root"
    )
    assert run("nosuch", "true").returncode == 125


def test_an_image_as_a_mount(shared: Sampan) -> None:
    mount = f"type=image,src={BUSYBOX},dst=/i"
    told = shared(
        "run", "--rm", "--mount", mount, BUSYBOX, "sh", "-c", "cmp /bin/sh /i/bin/sh && touch /i/x"
    )
    assert told.returncode == 1 and b"Read-only" in told.stderr
    shared.text(
        "run",
        "--name",
        "c",
        "--mount",
        f"{mount},rw=true",
        BUSYBOX,
        "sh",
        "-c",
        "ls /i/x; touch /i/x",
    )
    assert shared.text("start", "-a", "c") == "/i/x", "it is the container's own, and kept with it"
    assert json.loads(shared.text("inspect", "c"))[0]["Mounts"][0]["Type"] == "image"
    shared.text("rm", "c")
    assert shared.leftovers() == []
    assert shared.text(
        "run", "--rm", "--mount", f"{mount},image-subpath=etc", BUSYBOX, "ls", "/i/passwd"
    )


@needs_subids
def test_u_gives_the_volume_to_the_user(shared: Sampan, model: Model, tmp_path: Path) -> None:
    script = "stat -c %u:%g /data /data/a /data/absolute; stat -L -c %u /etc/passwd"
    told = shared.text(
        "run", "--rm", "-u", "1000:2000", "-v", "v:/data:U", "copy", "sh", "-c", script
    )
    assert told.split() == ["1000:2000"] * 3 + ["0"], "a link is changed, not what it names"
    (tmp_path / "f").touch()
    told = shared.text(
        "run", "--rm", "-u", "7:8", "-v", f"{tmp_path}:/h:U", BUSYBOX, "stat", "-c", "%u:%g", "/h/f"
    )
    assert told == "7:8"
    shared.text("run", "--rm", "-v", f"{tmp_path}:/h:U", BUSYBOX, "true")


@needs_subids
def test_a_container_with_another_id_map(shared: Sampan, model: Model) -> None:
    """What the image's files are to the container, they are in the volume; U is the container's user."""
    ids = ("--userns", "keep-id")
    script = "stat -c %u:%g /data/a /data/dir; touch /data/new 2>/dev/null; ls /v; touch /v/mine && stat -c %u /v/mine"
    words = ("-v", "v:/data", "-v", "w:/v", "copy", "sh", "-c", script)
    told = shared("--storage-driver", "vfs", "run", "--rm", *ids, *words)
    assert told.returncode == 0, told.stderr
    assert told.stdout.decode().split() == ["5:6", "1000:1000", str(os.getuid())]
    told = shared("--storage-driver", "vfs", "run", "--rm", *ids, "-u", "44:45", "-v", "u:/data:U", "copy",
                  "stat", "-c", "%u:%g", "/data/a", "/data")  # fmt: skip
    assert told.stdout.decode().split() == ["44:45", "44:45"], told.stderr


@pytest.mark.skipif(SUBIDS, reason="the user has subordinate ids")
def test_u_with_one_uid(shared: Sampan) -> None:
    result = shared("run", "--rm", "-u", "1000", "-v", "v:/v:U", BUSYBOX, "true")
    assert result.returncode == 125 and b"no such ids" in result.stderr


@pytest.mark.parametrize("place", ["/", "/usr", "/etc", "HOME"])
@pytest.mark.parametrize("option", ["z", "Z", "U"])
def test_places_of_others_are_not_changed(shared: Sampan, place: str, option: str) -> None:
    place = os.environ["HOME"] if place == "HOME" else place
    result = shared("run", "--rm", "-v", f"{place}:/x:{option}", BUSYBOX, "true")
    assert result.returncode == 125 and b"is not allowed" in result.stderr


def test_a_label_of_somebody_elses_file_is_a_warning(shared: Sampan) -> None:
    result = shared("run", "--rm", "-v", "/usr/bin:/x:z", BUSYBOX, "true")
    assert result.returncode == 0 and b"belongs to another user" in result.stderr


def test_one_target_twice(shared: Sampan, tmp_path: Path) -> None:
    shared.text("run", "--rm", "-v", "v:/x", "-v", "v:/x", BUSYBOX, "true")
    different = [
        ["-v", "v:/x", "-v", "w:/x"],
        ["-v", "v:/x", "--tmpfs", "/x"],
        ["-v", f"{tmp_path}:/x/", "-v", "v:/x"],
        ["--tmpfs", "/x", "--tmpfs", "/x:ro"],
    ]
    for words in different:
        result = shared("run", "--rm", *words, BUSYBOX, "true")
        assert (
            result.returncode == 125
            and result.stderr == b"Error: /x: duplicate mount destination\n"
        ), words
    assert "w" not in shared.text("volume", "ls", "-q").split(), (
        "nothing is made for what is refused"
    )


def test_a_failed_create_leaves_no_anonymous_volume(shared: Sampan, model: Model) -> None:
    shared.text("create", "--name", "taken", BUSYBOX, "true")
    assert shared("create", "--name", "taken", "-v", "/x", "copy", "true").returncode == 125
    assert shared("run", "--rm", "-v", "/x", "copy", "/no/such").returncode == 127
    assert (
        shared(
            "create", "-v", "/x", "--mount", "type=image,src=host:/no/such,dst=/i", BUSYBOX
        ).returncode
        != 0
    )
    assert shared.text("volume", "ls", "-q") == ""


def test_options_of_the_local_driver(shared: Sampan, tmp_path: Path) -> None:
    shared.text("volume", "create", "-o", "type=tmpfs", "-o", "o=size=1m,mode=0700", "t")
    told = shared.text(
        "run", "--rm", "-v", "t:/t", BUSYBOX, "sh", "-c", "df -k /t | tail -1; stat -c %a /t"
    ).split()
    assert told[0] == "tmpfs" and told[1] == "1024" and told[-1] == "700"
    (tmp_path / "f").write_text("host")
    shared.text(
        "volume", "create", "-o", "type=none", "-o", f"device={tmp_path}", "-o", "o=bind,ro", "b"
    )
    bound = shared("run", "--rm", "-v", "b:/b", BUSYBOX, "sh", "-c", "cat /b/f; touch /b/g")
    assert bound.stdout == b"host" and b"Read-only" in bound.stderr
    result = shared("volume", "create", "-o", "type=bind", "-o", "device=/bogus", "x")
    assert (
        b"invalid volume option device for driver 'local': stat /bogus: no such file or directory"
        in result.stderr
    )
    shared.text("volume", "rm", "b")
    assert (tmp_path / "f").read_text() == "host", "what is the host's stays"


def test_flags_of_the_mount(shared: Sampan) -> None:
    shared.text("run", "--rm", "-v", "v:/v", BUSYBOX, "sh", "-c", "cp /bin/busybox /v/echo")
    assert shared.text("run", "--rm", "-v", "v:/v", BUSYBOX, "/v/echo", "hi") == "hi"
    assert shared("run", "--rm", "-v", "v:/v:noexec", BUSYBOX, "/v/echo", "hi").returncode == 126
    flags = shared.text(
        "run", "--rm", "-v", "v:/v:ro,noexec", BUSYBOX, "grep", " /v ", "/proc/self/mountinfo"
    ).split()
    assert {"ro", "nosuid", "nodev", "noexec"} <= set(flags[5].split(","))


def test_tmpfs_with_the_images_content(shared: Sampan, model: Model) -> None:
    """podman's default; notmpcopyup is Docker's."""
    empty = ("run", "--rm", "--tmpfs", "/data:notmpcopyup", "copy", "ls", "-A", "/data")
    assert shared.text(*empty) == ""
    told = shared.text("run", "--rm", "--tmpfs", "/data:size=4m", "copy", "sh", "-c",
                       "cat /data/a; df -k /data | tail -1")  # fmt: skip
    assert told.startswith("alpha") and told.split()[-1] == "/data" and " 4096 " in told


def test_a_volume_that_vanished_is_an_error(shared: Sampan) -> None:
    shared.text("create", "--name", "c", "-v", "v:/v", BUSYBOX, "true")
    os.rename(shared.root / "volumes/v", shared.root / "volumes/w")
    result = shared("start", "-a", "c")
    assert result.returncode == 125 and b'no volume with name "v" found' in result.stderr
    os.rename(shared.root / "volumes/w", shared.root / "volumes/v")
    shared.text("start", "-a", "c")
