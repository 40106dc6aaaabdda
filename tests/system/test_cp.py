"""cp: Docker's table of destinations, owners, volumes, and links that lead out (X10)."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from system_tools import BUSYBOX, Sampan, until

DRIVERS = ["overlay", "fuse-overlayfs", "vfs"]


@pytest.fixture(params=["running", "stopped", "created"])
def state(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def start(sampan: Sampan, state: str, *words: str, script: str = "true", driver: str = "") -> None:
    """A container `c` in that state, whose script has run (in a created one it has not)."""
    flags = ["--storage-driver", driver] if driver else []
    command = ["sh", "-c", f"{script}; touch /ready; sleep 1000"]
    if state == "created":
        sampan.text(*flags, "create", "--name", "c", *words, BUSYBOX, *command)
        return
    sampan.text(*flags, "run", "-d", "--name", "c", *words, BUSYBOX, *command)
    assert until(lambda: sampan("exec", "c", "test", "-e", "/ready").returncode == 0)
    if state == "stopped":
        sampan.text("stop", "-t", "0", "c")


def content(sampan: Sampan, path: str) -> bytes:
    """A file of the container as its archive has it."""
    result = sampan("cp", f"c:{path}", "-")
    assert result.returncode == 0, result.stderr
    with tarfile.open(fileobj=io.BytesIO(result.stdout)) as archive:
        member = archive.getmembers()[0]
        data = archive.extractfile(member) if member.isfile() else None
        return data.read() if data else b""


def tree(base: Path) -> None:
    (base / "dir/sub").mkdir(parents=True)
    (base / "dir/sub/file").write_bytes(b"deep")
    (base / "dir/link").symlink_to("/etc/passwd")
    (base / "file").write_bytes(b"word")
    os.chmod(base / "file", 0o640)
    os.utime(base / "file", ns=(1_600_000_000_123_456_789, 1_600_000_000_123_456_789))


def test_where_a_copy_goes(sampan: Sampan, tmp_path: Path, state: str) -> None:
    """Source and destination as in Docker's documentation of cp."""
    tree(tmp_path)
    start(sampan, state, "-w", "/usr")
    for source, target, found in (
        ("file", "/", "/file"),
        ("file", "/tmp", "/tmp/file"),
        ("file", "/tmp/", "/tmp/file"),
        ("file", "/tmp/new", "/tmp/new"),
        ("file", "other", "/usr/other"),
        ("dir", "/tmp", "/tmp/dir/sub/file"),
        ("dir/", "/root", "/root/dir/sub/file"),
        ("dir", "/new1", "/new1/sub/file"),
        ("dir/.", "/var", "/var/sub/file"),
        ("dir/.", "/new2", "/new2/sub/file"),
    ):
        sampan.text("cp", f"{tmp_path}/{source}", f"c:{target}")
        assert content(sampan, found) == (b"deep" if "dir" in source else b"word"), (source, target)
    for source, target, why in (
        ("file", "/missing/", b'"/missing/" could not be found on container c'),
        ("file", "/missing/x", b"could not be found on container c"),
        ("nothing", "/tmp", b'/nothing" could not be found on the host'),
        ("file/", "/tmp", b"could not be found on the host"),
        ("dir", "/etc/passwd", b"destination must be a directory when copying a directory"),
    ):
        result = sampan("cp", f"{tmp_path}/{source}", f"c:{target}")
        assert result.returncode == 125 and why in result.stderr, (source, target, result.stderr)
    assert sampan("cp", f"{tmp_path}/file", "nobody:/tmp").returncode == 125
    assert sampan("cp", f"{tmp_path}/file", f"{tmp_path}/x").returncode == 125


def test_out_again(sampan: Sampan, tmp_path: Path, state: str) -> None:
    """To the host: names as there, the caller's owner, mode and time to the nanosecond."""
    tree(tmp_path)
    start(sampan, state)
    sampan.text("cp", f"{tmp_path}/dir", "c:/data")
    sampan.text("cp", f"{tmp_path}/file", "c:/data/file")
    (tmp_path / "out").mkdir()
    for source, target, found in (
        ("/data/file", "out", "out/file"),
        ("/data/file", "out/renamed", "out/renamed"),
        ("/data", "out", "out/data/sub/file"),
        ("/data/.", "out/flat", "out/flat/sub/file"),
        ("data/sub/", "out/", "out/sub/file"),
    ):
        sampan.text("cp", f"c:{source}", str(tmp_path / target))
        assert (tmp_path / found).exists(), (source, target)
    status = (tmp_path / "out/file").stat()
    assert (status.st_uid, status.st_gid) == (os.getuid(), os.getgid())
    assert status.st_mode & 0o777 == 0o640 and status.st_mtime_ns == 1_600_000_000_123_456_789
    assert os.readlink(tmp_path / "out/data/link") == "/etc/passwd"
    result = sampan("cp", "c:/nothing", str(tmp_path / "out"))
    assert (
        result.returncode == 125
        and b'"/nothing" could not be found on container c' in result.stderr
    )
    assert (
        b"must be a directory or a regular file"
        in sampan("cp", "c:/data/file", "/dev/stdout").stderr
    )


def test_owners_in_the_container(sampan: Sampan, tmp_path: Path, state: str) -> None:
    """What is copied belongs to the container's user; -a=false keeps what the archive says."""
    (tmp_path / "file").write_bytes(b"x")
    single = f"{os.environ.get('USER')}:" not in Path("/etc/subuid").read_text()
    start(
        sampan, state, *([] if single else ["-u", "1000:1000"]), script="cd /tmp"
    ) if state == "created" else start(sampan, state, script="true")
    sampan.text("cp", f"{tmp_path}/file", "c:/tmp")
    with tarfile.open(fileobj=io.BytesIO(sampan("cp", "c:/tmp/file", "-").stdout)) as archive:
        member = archive.getmembers()[0]
    wanted = 1000 if state == "created" and not single else 0
    assert (member.uid, member.gid) == (wanted, wanted)
    if not single:
        data = io.BytesIO()
        with tarfile.open(fileobj=data, mode="w") as archive:
            info = tarfile.TarInfo("theirs")
            info.uid, info.gid = 1042, 1043
            archive.addfile(info)
        assert sampan("cp", "-a=false", "-", "c:/tmp", input=data.getvalue()).returncode == 0
        with tarfile.open(fileobj=io.BytesIO(sampan("cp", "c:/tmp/theirs", "-").stdout)) as archive:
            assert (archive.getmembers()[0].uid, archive.getmembers()[0].gid) == (1042, 1043)


def test_between_containers_and_through_archives(
    sampan: Sampan, tmp_path: Path, state: str
) -> None:
    tree(tmp_path)
    start(sampan, state)
    sampan.text("cp", f"{tmp_path}/dir", "c:/dir")
    sampan.text("create", "--name", "d", BUSYBOX, "true")
    sampan.text("cp", "c:/dir", "d:/copied")
    sampan.text("cp", "d:/copied/sub/file", f"{tmp_path}/back")
    assert (tmp_path / "back").read_bytes() == b"deep"
    archive = sampan("cp", "c:/dir", "-").stdout
    for packed in (
        archive,
        subprocess.run(["gzip"], input=archive, capture_output=True, check=True).stdout,
    ):
        assert sampan("cp", "-", "c:/tmp", input=packed).returncode == 0
        assert content(sampan, "/tmp/dir/sub/file") == b"deep"
    for target, data, why in (
        ("/tmp", b"no archive at all", b"source must be a (compressed) tar archive"),
        ("/etc/passwd", archive, b"destination must be a directory when copying from stdin"),
        ("/absent", archive, b"destination must be a directory when copying from stdin"),
    ):
        result = sampan("cp", "-", f"c:{target}", input=data)
        assert result.returncode == 125 and why in result.stderr, result.stderr


def test_volumes_and_paths_of_the_host(sampan: Sampan, tmp_path: Path, state: str) -> None:
    """A copy lands where the container would see it: in the volume, in the bind mount, in what lies deeper."""
    (tmp_path / "host").mkdir()
    os.chmod(tmp_path, 0o755)
    (tmp_path / "file").write_bytes(b"word")
    sampan.text("volume", "create", "one")
    sampan.text("volume", "create", "two")
    start(
        sampan,
        state,
        "-v",
        "one:/vol",
        "-v",
        "two:/vol/inner",
        "-v",
        f"{tmp_path}/host:/vol/host",
        "-v",
        f"{tmp_path}/host:/fixed:ro",
    )
    for target in ("/vol", "/vol/inner", "/vol/host"):
        sampan.text("cp", f"{tmp_path}/file", f"c:{target}")
    points = [
        sampan.text("volume", "inspect", "--format", "{{.Mountpoint}}", name)
        for name in ("one", "two")
    ]
    assert sorted(os.listdir(points[0])) == ["file", "host", "inner"]
    assert os.listdir(points[1]) == ["file"] and os.listdir(tmp_path / "host") == ["file"]
    (tmp_path / "tree/inner").mkdir(parents=True)
    (tmp_path / "tree/inner/second").write_bytes(b"x")
    sampan.text("cp", f"{tmp_path}/tree/.", "c:/vol")
    assert sorted(os.listdir(points[1])) == ["file", "second"], (
        "a tree goes on into what is mounted below"
    )
    assert sampan("cp", f"{tmp_path}/file", "c:/fixed/x").returncode == 125
    assert os.listdir(tmp_path / "host") == ["file"]
    (tmp_path / "out").mkdir()
    sampan.text("cp", "c:/vol/.", f"{tmp_path}/out")
    assert sorted(p.name for p in (tmp_path / "out").rglob("*")) == [
        "file",
        "file",
        "file",
        "host",
        "inner",
        "second",
    ]
    sampan.text("rm", "-f", "-t", "0", "c")
    sampan.text("volume", "rm", "one", "two")


def test_a_directory_and_a_file_do_not_replace_each_other(sampan: Sampan, tmp_path: Path) -> None:
    tree(tmp_path)
    start(sampan, "running", script="mkdir /tmp/file; touch /tmp/dir")
    for name in ("file", "dir"):
        result = sampan("cp", f"{tmp_path}/{name}", "c:/tmp")
        assert (result.returncode == 125 and b"file exists" in result.stderr) or name == "dir"
    assert sampan("cp", f"{tmp_path}/dir", "c:/tmp").returncode == 125
    for name in ("file", "dir"):
        sampan.text("cp", "--overwrite", f"{tmp_path}/{name}", "c:/tmp")
    assert (
        content(sampan, "/tmp/file") == b"word" and content(sampan, "/tmp/dir/sub/file") == b"deep"
    )


LINKS = (
    "ln -s /tmp /t; echo star > '/tmp/file*'; ln -s 'file*' /tmp/star; ln -s {secret} /tmp/out; "
    "ln -s /nowhere/at/all /tmp/lost; ln -s /tmp/later /tmp/soon; ln -s {base} /tmp/outdir; echo x > /tmp/filex"
)


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("state", ["running", "stopped"])
def test_links_stay_inside(sampan: Sampan, tmp_path: Path, driver: str, state: str) -> None:
    """X10: links of the container are the container's; names are not patterns; no host file is read or written."""
    os.chmod(tmp_path, 0o755)
    secret = tmp_path / "secret"
    secret.write_bytes(b"of the host")
    (tmp_path / "mine").write_bytes(b"mine")
    start(sampan, state, driver=driver, script=LINKS.format(secret=secret, base=tmp_path))
    out = tmp_path / "out"
    out.mkdir()
    sampan.text("cp", "c:/tmp/file*", str(out))
    sampan.text("cp", "c:/tmp/star", str(out))
    assert (out / "file*").read_bytes() == b"star\n" and os.readlink(out / "star") == "file*"
    assert sorted(os.listdir(out)) == ["file*", "star"]
    sampan.text("cp", "-L", "c:/tmp/star", str(out / "followed"))
    assert (out / "followed").read_bytes() == b"star\n" and not (out / "followed").is_symlink()
    sampan.text("cp", "c:/tmp/out", str(out))
    assert os.readlink(out / "out") == str(secret), "a link is copied as a link"
    for source in ("/tmp/out", "/tmp/lost"):
        result = sampan("cp", "-L", f"c:{source}", str(out / "never"))
        assert result.returncode == 125 and b"could not be found on container c" in result.stderr
    assert not (out / "never").exists()

    sampan.text("cp", str(tmp_path / "mine"), "c:/t")
    assert content(sampan, "/tmp/mine") == b"mine"
    sampan.text("cp", str(tmp_path / "mine"), "c:/tmp/soon")
    assert content(sampan, "/tmp/later") == b"mine", "a link to nothing: what it names is made"
    for target in ("/tmp/lost", "/tmp/lost/", "/tmp/soon2/", "/tmp/outdir/x", "/tmp/out"):
        assert sampan("cp", str(tmp_path / "mine"), f"c:{target}").returncode == 125, target
    assert secret.read_bytes() == b"of the host"
    assert sorted(os.listdir(tmp_path)) == ["mine", "out", "secret"]

    (tmp_path / "hostlink").symlink_to(secret)
    sampan.text("cp", str(tmp_path / "hostlink"), "c:/tmp/aslink")
    sampan.text("cp", "-L", str(tmp_path / "hostlink"), "c:/tmp/asfile")
    assert (
        content(sampan, "/tmp/asfile") == b"of the host" and content(sampan, "/tmp/aslink") == b""
    )
    flags = ["--storage-driver", driver]
    sampan(*flags, "rm", "-f", "-t", "0", "c")


SWAP = (
    "mkdir -p /w/real; echo inside > /w/real/file; ln -s real /w/a; ln -s {base} /w/b; "
    "while :; do mv -T /w/a /w/c; mv -T /w/b /w/a; mv -T /w/c /w/b; done & while :; do "
    "rm -rf /w/d; ln -s {base} /w/d; rm -f /w/d; mkdir /w/d; done &"
)


def test_a_container_that_swaps_links(sampan: Sampan, tmp_path: Path) -> None:
    """While it copies both ways for some seconds, nothing of the host is read or written."""
    os.chmod(tmp_path, 0o777)
    (tmp_path / "file").write_bytes(b"secret")
    source = tmp_path / "source"
    source.mkdir()
    (source / "file").write_bytes(b"planted")
    (source / "more").mkdir()
    (source / "more/file").write_bytes(b"planted")
    sampan.text(
        "run", "-d", "--name", "c", BUSYBOX, "sh", "-c", SWAP.format(base=tmp_path) + " sleep 1000"
    )
    assert until(lambda: sampan("exec", "c", "test", "-e", "/w/b").returncode in (0, 1))
    until_then = time.monotonic() + 4
    turns = 0
    while time.monotonic() < until_then:
        turns += 1
        archive = sampan("cp", "c:/w/a/file", "-").stdout
        assert b"secret" not in archive
        assert b"secret" not in sampan("cp", "-L", "c:/w/a", "-").stdout
        sampan("cp", f"{source}/.", "c:/w/a")
        sampan("cp", f"{source}/.", "c:/w/d")
        sampan("cp", f"{source}/file", "c:/w/b/planted")
    assert turns > 1
    assert sorted(os.listdir(tmp_path)) == ["file", "source"]
    assert (tmp_path / "file").read_bytes() == b"secret"


def test_an_archive_that_climbs(sampan: Sampan, tmp_path: Path) -> None:
    """.. and links of its own lead nowhere, neither in the container nor on the host."""
    start(sampan, "running")
    outside = tmp_path / "outside"
    outside.mkdir()
    os.chmod(tmp_path, 0o755)
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        link = tarfile.TarInfo("way")
        link.type, link.linkname = tarfile.SYMTYPE, str(outside)
        archive.addfile(link)
        archive.addfile(tarfile.TarInfo("way/planted"))
    sampan("cp", "-", "c:/tmp", input=data.getvalue())
    assert os.listdir(outside) == []
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("../../etc/planted"))
    result = sampan("cp", "-", "c:/tmp", input=data.getvalue())
    assert result.returncode == 125 and b"climbs out" in result.stderr
    assert sampan("exec", "c", "test", "-e", "/etc/planted").returncode == 1


def test_a_new_volume_has_the_image_s_files_too(sampan: Sampan, tmp_path: Path) -> None:
    """Copied into before the container ever ran: the volume gets what the image has there first, as with Docker."""
    (tmp_path / "file").write_bytes(b"x")
    sampan.text("create", "--name", "c", "-v", "full:/etc", BUSYBOX, "true")
    sampan.text("cp", f"{tmp_path}/file", "c:/etc")
    point = Path(sampan.text("volume", "inspect", "--format", "{{.Mountpoint}}", "full"))
    assert {"file", "passwd", "group"} <= set(os.listdir(point))
    sampan.text("rm", "c")
    sampan.text("volume", "rm", "full")


def test_what_is_not_copied_stays_as_it_is(sampan: Sampan, tmp_path: Path, state: str) -> None:
    """The directories on the way and the one that is copied into: modes, owners, times, on both sides."""
    tree(tmp_path)
    start(sampan, state)
    before = _described(sampan, "/tmp"), _described(sampan, "/etc")
    sampan.text("cp", f"{tmp_path}/file", "c:/tmp")
    sampan.text("cp", f"{tmp_path}/file", "c:/etc/file")
    assert (_described(sampan, "/tmp"), _described(sampan, "/etc")) == before
    (tmp_path / "tmp").mkdir(mode=0o700)  # a tree that names a directory of the container
    (tmp_path / "tmp/more").write_bytes(b"x")
    sampan.text("cp", f"{tmp_path}/tmp", "c:/")
    assert _described(sampan, "/tmp") == before[0]
    shared = (
        Path("/var/tmp") / f"cp-{os.getpid()}"
    )  # a directory of somebody else's: /var/tmp is root's
    try:
        sampan.text("cp", "c:/tmp/file", str(shared))
        assert shared.read_bytes() == b"word"
    finally:
        shared.unlink(missing_ok=True)


def _described(sampan: Sampan, path: str) -> tuple[int, int, int]:
    with tarfile.open(fileobj=io.BytesIO(sampan("cp", f"c:{path}", "-").stdout)) as archive:
        member = archive.getmembers()[0]
    return member.mode, member.uid, member.gid


def test_half_a_file_is_none(sampan: Sampan, tmp_path: Path) -> None:
    start(sampan, "running", "--tmpfs", "/small:size=1m")
    (tmp_path / "big").write_bytes(b"x" * (3 << 20))
    result = sampan("cp", f"{tmp_path}/big", "c:/small")
    assert result.returncode == 125 and b"no space left at small/big" in result.stderr
    assert sampan.text("exec", "c", "ls", "-A", "/small") == ""
    assert b"it is a device" in sampan("cp", "c:/dev/null", str(tmp_path)).stderr


def test_with_ids_of_its_own(sampan: Sampan, tmp_path: Path) -> None:
    """--userns keep-id: in the container the copy belongs to its user, on the host to the caller."""
    (tmp_path / "file").write_bytes(b"x")
    result = sampan("run", "-d", "--name", "c", "--userns", "keep-id", BUSYBOX, "sleep", "1000")
    if result.returncode:
        pytest.skip(result.stderr.decode())
    sampan.text("cp", f"{tmp_path}/file", "c:/tmp")
    assert sampan.text("exec", "c", "stat", "-c", "%u", "/tmp/file") == str(os.getuid())
    sampan.text("stop", "-t", "0", "c")
    sampan.text("cp", f"{tmp_path}/file", "c:/tmp/second")
    sampan.text("start", "c")
    assert sampan.text("exec", "c", "stat", "-c", "%u", "/tmp/second") == str(os.getuid())
    sampan.text("cp", "c:/tmp/file", f"{tmp_path}/back")
    assert (tmp_path / "back").stat().st_uid == os.getuid()


@pytest.fixture
def big(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "big"
    with path.open("wb") as file:
        file.truncate(1 << 30)
        file.seek(1 << 29)
        file.write(b"middle")
    yield path
    path.unlink()


def test_a_big_file_in_constant_memory(sampan: Sampan, big: Path, tmp_path: Path) -> None:
    start(sampan, "running")
    script = "import resource,subprocess,sys; r = subprocess.run(sys.argv[1:]).returncode; print(r, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"  # noqa: E501
    done = subprocess.run(
        ["/usr/bin/python3", "-c", script, sampan.program, "cp", str(big), "c:/big"],
        env=sampan.environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    status, kilobytes = map(int, done.stdout.split())
    assert status == 0 and kilobytes < 80_000
    sampan.text("cp", "c:/big", str(tmp_path / "back"))
    assert subprocess.run(["cmp", str(big), str(tmp_path / "back")], check=False).returncode == 0
    (tmp_path / "back").unlink()


def test_what_the_kernel_mounts_is_left_out(sampan: Sampan, tmp_path: Path) -> None:
    """The whole root of a running container: its data, not /proc and /sys, which are copied when they are named."""
    start(sampan, "running")
    sampan.text("cp", "c:/", str(tmp_path / "all"))
    assert (tmp_path / "all/ready").exists() and (tmp_path / "all/etc/passwd").exists()
    assert os.listdir(tmp_path / "all/proc") == [] and os.listdir(tmp_path / "all/sys") == []
