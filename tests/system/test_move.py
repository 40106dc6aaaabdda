"""container move: between two stores of one user, over a real sshd on the loopback interface."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import sshserver
from system_tools import BUSYBOX, Sampan, has_subordinate_ids, until

pytestmark = pytest.mark.skipif(not sshserver.is_there(), reason="openssh-server is not installed")
LOOK = "stat -c %a /etc/motd; ls /bin/vi; echo $A; hostname"
BIG = 60 << 20  # bytes that take long enough to be interrupted


class Pair:
    """Two stores: `here` moves to `there`."""

    def __init__(
        self, here: Sampan, there: Sampan, server: sshserver.SshServer, script: Path
    ) -> None:
        self.here, self.there, self.server, self.script = here, there, server, script

    def words(self, *words: str, host: str = "127.0.0.1") -> list[str]:
        program = ["--remote-program", str(self.script)]
        return ["container", "move", *self.server.words(), *program, *words, host]

    def move(self, *words: str) -> Any:
        return self.here(*self.words(*words))

    def state(self) -> list[list[str]]:
        """What is in the store over there."""
        root = self.there.root
        return [
            self.there.text("ps", "-aq").split(),
            self.there.text("volume", "ls", "-q").split(),
            sorted(path.name for path in (root / "blobs/sha256").glob("*")),
            sorted(path.name for path in (root / "layers").rglob("*.json")),
            self.there.leftovers(),
        ]


@pytest.fixture(scope="module")
def base() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="sampan-move-", dir="/var/tmp"))
    yield made
    subprocess.run(
        ["unshare", "-r", "rm", "-rf", str(made)], check=False, stderr=subprocess.DEVNULL
    )


@pytest.fixture(scope="module")
def server(base: Path) -> Iterator[sshserver.SshServer]:
    place = base / "ssh"
    place.mkdir()
    server = sshserver.SshServer(place)
    yield server
    server.close()


@pytest.fixture
def pair(
    shared: Sampan, base: Path, server: sshserver.SshServer, registries_conf: str
) -> Iterator[Pair]:
    place = Path(tempfile.mkdtemp(dir=base))
    there = Sampan(shared.program, place / "root", place / "run", registries_conf)
    names = ("SAMPAN_ROOT", "SAMPAN_RUN_DIR", "CONTAINERS_REGISTRIES_CONF")
    script = sshserver.remote_program(
        place, shared.program, {name: there.environment[name] for name in names}
    )
    yield Pair(shared, there, server, script)
    for sampan in (shared, there):
        sampan("rm", "-af", "-t", "0")
        sampan("volume", "rm", "-af")
        sampan("image", "prune", "-f")
    there("rmi", "-af")
    assert there.leftovers() == []


def changed(sampan: Sampan, name: str, *options: str) -> None:
    """A running container that has written a file, and says what it finds there when it starts."""
    script = "cat /etc/motd 2>/dev/null; trap exit TERM; while :; do sleep 0.05; done"
    sampan.text("run", "-d", "--name", name, *options, BUSYBOX, "sh", "-c", script)
    sampan.text("exec", name, "sh", "-c", "echo moved > /etc/motd; chmod 640 /etc/motd; rm /bin/vi")


def test_it_arrives_with_its_changes_and_runs(pair: Pair) -> None:
    options = ["-e", "A=b c\nd", "-l", "k=v", "--stop-signal", "TERM", "--restart", "on-failure:3",
               "--hostname", "box", "--ulimit", "nofile=100:200", "--add-host", "db:10.0.0.1", "--dns", "10.0.0.2",
               "--cap-drop", "MKNOD", "--read-only=false", "--tmpfs", "/scratch:size=1m", "--workdir", "/tmp",
               "--health-cmd", "test -e /etc/motd", "--health-interval", "1h", "--shm-size", "1m",
               "--security-opt", "no-new-privileges", "--mount", "type=tmpfs,target=/t,tmpfs-mode=700"]  # fmt: skip
    changed(pair.here, "web", *options)
    before = json.loads(pair.here.text("inspect", "web"))[0]
    result = pair.move("-q", "web")
    assert result.returncode == 0, result.stderr
    assert pair.here("container", "exists", "web").returncode == 1
    after = json.loads(pair.there.text("inspect", "web"))[0]
    assert after["Id"] == result.stdout.decode().strip() != before["Id"]
    assert after["State"]["Status"] == "running"
    assert until(lambda: pair.there.text("logs", "web") == "moved")
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    text = pair.there.text("exec", "web", "sh", "-c", LOOK, **streams)
    assert (
        text.splitlines()[0] == "640"
        and "No such file" in text
        and "b c" in text
        and text.endswith("box")
    )
    for key in ("Config", "HostConfig"):
        left, right = (dict(one[key]) for one in (before, after))
        for one in (left, right):
            for place in ("Image", "ImageName", "LogConfig"):  # of each store
                one.pop(place, None)
        assert left == right


def test_what_does_not_run_is_not_started(pair: Pair) -> None:
    pair.here.text("create", "--name", "idle", BUSYBOX, "true")
    assert pair.move("-q", "idle").returncode == 0
    assert pair.there.state("idle")["Status"] == "created"


def sent_bytes(errors: bytes) -> int:
    """What ssh says that it has sent."""
    found = re.search(rb"Transferred: sent (\d+),", errors)
    assert found, errors
    return int(found[1])


def test_the_second_move_sends_only_its_own_layer(pair: Pair) -> None:
    sent: list[int] = []
    for name in ("one", "two"):
        pair.here.text("run", "--name", name, BUSYBOX, "sh", "-c", f"echo {name} > /own")
        result = pair.move("--ssh-option", "LogLevel=VERBOSE", name)
        assert result.returncode == 0, result.stderr
        assert result.stderr.count(b"Copying blob") == (2 if name == "one" else 1)
        sent.append(sent_bytes(result.stderr))
    base = int(json.loads(pair.here.text("image", "inspect", BUSYBOX))[0]["Size"])
    assert sent[0] > base / 4 and sent[1] < 32 << 10, (sent, base)


def test_it_comes_back(pair: Pair) -> None:
    changed(pair.here, "roamer")
    assert pair.move("roamer").returncode == 0
    names = ("SAMPAN_ROOT", "SAMPAN_RUN_DIR", "CONTAINERS_REGISTRIES_CONF")
    back = sshserver.remote_program(
        pair.there.root.parent,
        pair.here.program,
        {name: pair.here.environment[name] for name in names},
    )
    home = Pair(pair.there, pair.here, pair.server, back)
    result = home.move("roamer")
    assert result.returncode == 0, result.stderr
    assert result.stderr.count(b"Copying blob") == 2  # its own two layers; the image is known here
    assert pair.here.text("exec", "roamer", "cat", "/etc/motd") == "moved"


def test_keep(pair: Pair) -> None:
    changed(pair.here, "kept")
    assert pair.move("--keep", "kept").returncode == 0
    assert pair.here.state("kept")["Status"] == "exited"
    assert pair.there.state("kept")["Status"] == "running"


def test_a_taken_name_leaves_it_running(pair: Pair) -> None:
    changed(pair.here, "twice")
    pid = pair.here.state("twice")["Pid"]
    pair.there.text("create", "--name", "twice", BUSYBOX, "true")
    before = pair.state()
    result = pair.move("twice")
    assert result.returncode == 125 and b"already in use" in result.stderr, result.stderr
    assert pair.here.state("twice")["Pid"] == pid  # it was never stopped
    assert pair.state() == before


def other(pair: Pair, move: int, who: str) -> int:
    """The pid of the ssh, or of the receiver."""
    if who == "ssh":
        children = Path(f"/proc/{move}/task/{move}/children").read_text().split()
        return next(
            int(pid) for pid in children if Path(f"/proc/{pid}/comm").read_text() == "ssh\n"
        )
    for place in Path("/proc").glob("[0-9]*"):
        try:
            words, environment = (place / "cmdline").read_bytes(), (place / "environ").read_bytes()
        except OSError:
            continue  # somebody else's, or gone
        if b"container\0receive" in words and os.fsencode(pair.there.root) in environment:
            return int(place.name)
    raise AssertionError("no receiver")


KILLS = {  # what gets which signal, and the status of the command
    "ssh": ("ssh", signal.SIGKILL, 125),
    "terminated": ("move", signal.SIGTERM, 143),
    "interrupted": ("move", signal.SIGINT, 130),
    "receiver": ("receiver", signal.SIGTERM, 125),
}


@pytest.mark.parametrize("victim", KILLS)
def test_killed_in_the_middle(pair: Pair, victim: str) -> None:
    """ssh is killed, or one of the two commands gets a signal, while the layer is on its way."""
    who, number, status = KILLS[victim]
    changed(pair.here, "cut")
    pair.here.text("exec", "cut", "sh", "-c", f"head -c {BIG} /dev/urandom > /big")
    before = pair.state()
    process = pair.here.spawn(*pair.words("cut"), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    ingest = pair.there.root / "ingest"
    assert until(lambda: any(p.stat().st_size > 1 << 20 for p in ingest.glob("*.partial")), 30)
    os.kill(process.pid if who == "move" else other(pair, process.pid, who), number)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == status, errors
    assert until(lambda: pair.state() == before), (pair.state(), before)
    assert pair.here.state("cut")["Status"] == "running"
    assert pair.here.text("exec", "cut", "cat", "/etc/motd") == "moved"
    pair.here.text("rm", "-f", "-t", "0", "cut")


PROXY = """#!{python}
import os, select, subprocess, sys
words = [{script!r}, *sys.argv[1:]]
child = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
ways = {{0: child.stdin, child.stdout.fileno(): sys.stdout.buffer.raw}}
while True:
    for fd in select.select(list(ways), [], [])[0]:
        data = os.read(fd, 65536)
        if not data or {word!r} in data:
            child.stdin.close()
            child.wait()
            sys.exit(0)
        while data:
            data = data[ways[fd].write(data):]
"""


@pytest.mark.parametrize("word", [b'"kind": "created"', b'"kind": "keep"'])
def test_cut_at_the_last_words(pair: Pair, word: bytes) -> None:
    """Whatever the last message is that gets through, the container is in one place, whole."""
    changed(pair.here, "last")
    before = pair.state()
    proxy = pair.script.parent / "proxy"
    proxy.write_text(PROXY.format(python=sys.executable, script=str(pair.script), word=word))
    proxy.chmod(0o755)
    result = pair.here(
        "container",
        "move",
        *pair.server.words(),
        "--remote-program",
        str(proxy),
        "last",
        "127.0.0.1",
    )
    assert result.returncode == 125, result.stderr
    assert pair.state() == before
    if b"created" in word:
        assert pair.here.state("last")["Status"] == "running"
    else:  # this side cannot know, and does not start what may run there
        assert b"is not known" in result.stderr and pair.here.state("last")["Status"] == "exited"
        pair.here.text("start", "last")
    assert pair.here.text("exec", "last", "cat", "/etc/motd") == "moved"


def test_a_limit_that_is_not_delivered_there(pair: Pair) -> None:
    made = pair.here(
        "create",
        "--name",
        "tight",
        "--memory",
        "64m",
        BUSYBOX,
        "true",
        env={"SAMPAN_LIMITS": "best-effort"},
    )
    assert made.returncode == 0, made.stderr
    if pair.there("info", "--format", "{{json .}}").stdout.find(b'"memory"') >= 0:
        pytest.skip("this machine delivers limits of memory")
    result = pair.move("tight")
    assert result.returncode == 125 and b"memory" in result.stderr, result.stderr
    assert b"127.0.0.1: " in result.stderr and pair.there.text("ps", "-aq") == ""


def test_a_map_of_its_own(pair: Pair) -> None:
    pair.here.text("run", "-d", "--name", "mapped", "--userns", "keep-id", BUSYBOX, "sleep", "100")
    pair.here.text("exec", "mapped", "sh", "-c", "echo moved > /tmp/x")
    look = [
        "exec",
        "mapped",
        "sh",
        "-c",
        "id -u; stat -c %u /tmp/x; cat /proc/self/uid_map; cat /tmp/x",
    ]
    before = pair.here.text(*look)
    result = pair.move("mapped")
    assert result.returncode == 0, result.stderr
    assert pair.there.text(*look) == before and before.startswith(f"{os.getuid()}\n")


def test_volumes_with_files_of_several_owners(pair: Pair) -> None:
    many = has_subordinate_ids()
    owners = "chown 5:6 /data/a; chown 7:8 /data/b" if many else "true"
    pair.here.text("volume", "create", "--label", "k=v", "store")
    script = f"echo 1 > /data/a; echo 2 > /data/b; chmod 600 /data/b; {owners}; ln -s a /data/l; echo 3 > /anon/x"
    pair.here.text(
        "run", "--name", "db", "-v", "store:/data", "-v", "/anon", BUSYBOX, "sh", "-c", script
    )
    refused = pair.move("db")
    assert refused.returncode == 125 and b"it has volumes: store, " in refused.stderr
    assert b"--volumes" in refused.stderr
    result = pair.move("--volumes", "db")
    assert result.returncode == 0, result.stderr
    look = [
        "run",
        "--rm",
        "--volumes-from",
        "db",
        BUSYBOX,
        "sh",
        "-c",
        "stat -c %u:%g:%a /data/a /data/b; cat /data/l /anon/x",
    ]
    found = pair.there.text(*look).split()
    expected = ["5:6:644", "7:8:600"] if many else ["0:0:644", "0:0:600"]
    assert found == [*expected, "1", "3"]
    volumes = json.loads(pair.there.text("volume", "inspect", "store"))
    assert volumes[0]["Labels"] == {"k": "v"}
    assert pair.here.text("volume", "ls", "-q") == "store"  # the anonymous one went along
    pair.here.text("create", "--name", "db2", "-v", "store:/data", BUSYBOX, "true")
    again = pair.move("--volumes", "db2")
    assert again.returncode == 125 and b"already exists" in again.stderr
    assert pair.move("--volumes-into-existing", "db2").returncode == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["-v", "/var/tmp:/host"], b"paths of this machine: /var/tmp"),
        (["--secret", "token"], b"secrets are not moved: token"),
        (["--pid", "container:donor"], b"--pid is the namespace of container"),
        (["--rm"], b"made with --rm"),
        (["--hostuser", "root"], b"--hostuser"),
    ],
)
def test_refused(pair: Pair, options: list[str], words: bytes) -> None:
    pair.here.text("run", "-d", "--name", "donor", BUSYBOX, "sleep", "100")
    pair.here("secret", "create", "token", "-", input=b"x")
    try:
        pair.here.text("create", "--name", "bound", *options, BUSYBOX, "true")
        result = pair.move("bound")
        assert result.returncode == 125 and words in result.stderr, result.stderr
        assert result.stderr.count(b"\n") == 1
        assert pair.there.text("ps", "-aq") == ""
    finally:
        pair.here("secret", "rm", "token")


def test_a_paused_container_and_a_donor_stay(pair: Pair) -> None:
    pair.here.text("run", "-d", "--name", "donor", BUSYBOX, "sleep", "100")
    pair.here.text("create", "--name", "joins", "--pid", "container:donor", BUSYBOX, "true")
    result = pair.move("donor")
    assert result.returncode == 125 and b"other containers join" in result.stderr
    pair.here.text("rm", "joins")
    pair.here.text("pause", "donor")
    result = pair.move("donor")
    assert result.returncode == 125 and b"it is paused" in result.stderr


def test_kept_binds(pair: Pair, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("on both")
    pair.here.text("create", "--name", "bound", "-v", f"{tmp_path}:/h:ro", BUSYBOX, "cat", "/h/f")
    assert pair.move("--keep-binds", "bound").returncode == 0
    assert pair.there.text("start", "-a", "bound") == "on both"
    gone = tmp_path / "gone"
    gone.mkdir()
    pair.here.text("create", "--name", "lost", "-v", f"{gone}:/h", BUSYBOX, "true")
    gone.rmdir()
    result = pair.move("--keep-binds", "lost")
    assert result.returncode == 125 and b"no such file" in result.stderr.lower()


def test_dry_run(pair: Pair) -> None:
    pair.here.text("create", "--name", "plan", "-v", "store:/data", BUSYBOX, "true")
    refused = pair.here(*pair.words("--dry-run", "plan"))
    assert refused.returncode == 125 and b"refused:" in refused.stdout
    document = json.loads(
        pair.here.text(*pair.words("--dry-run", "--format", "json", "--volumes", "plan"))
    )
    assert [layer["sent"] for layer in document["layers"]] == [True]
    assert document["volumes"][0]["name"] == "store" and document["refused"] == []
    pair.there.text("pull", "-q", BUSYBOX)
    document = json.loads(
        pair.here.text(*pair.words("--dry-run", "--format", "json", "--volumes", "plan"))
    )
    assert [layer["sent"] for layer in document["layers"]] == [False]
    assert pair.there.text("ps", "-aq") == ""


@pytest.mark.parametrize(
    "host", ["-oProxyCommand=touch /tmp/x", "-l@h", "u@-h", "", "u@", "@h", "a b"]
)
def test_hosts_that_are_options(pair: Pair, host: str) -> None:
    result = pair.here("container", "move", "--", "x", host)
    assert result.returncode == 125 and b"invalid host" in result.stderr


def test_a_program_that_is_not_there(pair: Pair) -> None:
    pair.here.text("create", "--name", "x", BUSYBOX, "true")
    words = [
        "container",
        "move",
        *pair.server.words(),
        "--remote-program",
        "/no; touch x",
        "x",
        "127.0.0.1",
    ]
    result = pair.here(*words)
    assert result.returncode == 125 and b"has ended the connection" in result.stderr
    assert pair.here.state("x")["Status"] == "created"


def message(**fields: object) -> bytes:
    data = json.dumps(fields).encode()
    return struct.pack(">I", len(data)) + data


HELLO = message(kind="hello", protocol=1, sampan="0")
NAME = "--name=evil"


def offer(options: list[str], **more: Any) -> bytes:
    fields = {"command": [], "layers": [], "volumes": [], "into_existing": False, **more}
    return HELLO + message(kind="offer", options=options, **fields)


def with_manifest(data: bytes, *blobs: bytes, digest: str = "") -> bytes:
    import hashlib

    selector = digest or f"sha256:{hashlib.sha256(data).hexdigest()}"
    told = offer([NAME]) + message(kind="go", manifest=selector, start=True)
    for one in (data, *blobs):
        told += message(kind="blob", size=len(one)) + one
    return told


LYING = json.dumps(
    {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": "sha256:" + "1" * 64,
            "size": 2,
        },
        "layers": [],
    }
).encode()
GO = message(kind="go", manifest=f"sha256:{'0' * 64}", start=True)
OUTSIDE = {"name": "../x", "driver": "local", "labels": {}, "anonymous": False}
HOSTILE = {
    "huge": (b"\xff\xff\xff\xff", b"does not speak"),
    "a banner": (b"Welcome to this machine\n", b"Welcome"),
    "bad JSON": (struct.pack(">I", 5) + b"{{{{{", b"no JSON object"),
    "nested": (struct.pack(">I", 200_000) + b"[" * 200_000, b"no JSON object"),
    "no kind": (message(a=1), b"no JSON object with a kind"),
    "too old": (message(kind="hello", protocol=0, sampan="0.0"), b"too old"),
    "too new": (message(kind="hello", protocol=2, sampan="9"), b"this one is too old"),
    "a text as protocol": (message(kind="hello", protocol="1", sampan="9"), b"wrong type"),
    "another kind": (HELLO + message(kind="go"), b"is due"),
    "a file of the receiver": (offer([NAME, "--env-file=/etc/passwd"]), b"none that is moved"),
    "a variable of the receiver": (offer([NAME, "--env=HOME"]), b"no value"),
    "a file to write": (offer([NAME, "--cidfile=/var/tmp/x"]), b"none that is moved"),
    "another store": (offer([NAME, "--root=/var/tmp/x"]), b"none that is moved"),
    "a container to replace": (offer([NAME, "--replace=true"]), b"none that is moved"),
    "a name that is a path": (offer(["--name=../../x"]), b"name"),
    "no name": (offer([]), b"no name"),
    "a sysctl of the host": (offer([NAME, "--sysctl=kernel.panic=1"]), b"refused"),
    "a namespace of another": (offer([NAME, "--pid=container:x"]), b"namespaces"),
    "an image to pull": (offer([NAME, "--mount=type=image,source=busybox,target=/x"]), b"mounts an image"),
    "a volume that is there": (offer([NAME, "--mount=type=volume,source=v,target=/x"]), b"not sent"),
    "volumes by the thousand": (offer([NAME], volumes=[{}] * 5000), b"more than"),
    "a volume that is a path": (offer([NAME], volumes=[OUTSIDE]), b"volume name"),
    "a network": (offer([NAME, "--network=nowhere"]), b"nowhere"),
    "a manifest that lies": (with_manifest(b"{}", digest="sha256:" + "0" * 64), b"have the digest"),
    "a manifest without end": (
        offer([NAME]) + GO + message(kind="blob", size=1 << 50),
        b"bytes",
    ),
    "a config that lies": (with_manifest(LYING, b"{}", b"{}"), b"have the digest"),
    "a blob of another size": (with_manifest(LYING, b"{}{}{}"), b"its descriptor says 2"),
    "a digest that is a path": (with_manifest(LYING.replace(b"1" * 64, b"../../../x")), b"digest"),
}  # fmt: skip


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_sender(fresh: Sampan, case: str) -> None:
    data, words = HOSTILE[case]
    fresh.text("volume", "create", "v")
    begun = time.monotonic()
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    receiver = fresh.spawn("container", "receive", **pipes)
    assert receiver.stdin and receiver.stdout and receiver.stderr
    try:
        receiver.stdin.write(data)  # and it is left open: the receiver must not wait for more
        receiver.stdin.flush()
    except BrokenPipeError:
        pass
    answer = receiver.stdout.read() + receiver.stderr.read()
    assert receiver.wait(10) == 125
    assert time.monotonic() - begun < 2
    assert words in answer, answer
    assert fresh.leftovers() == []
    assert list((fresh.root / "blobs/sha256").glob("*")) == []
    assert fresh.text("ps", "-aq") == "" and fresh.text("volume", "ls", "-q") == "v"
    fresh.text("volume", "rm", "v")


def test_people_are_told_what_receive_is(fresh: Sampan) -> None:
    result = subprocess.run(
        ["script", "-qec", f"{fresh.program} container receive", "/dev/null"],
        env=fresh.environment, capture_output=True, stdin=subprocess.DEVNULL, timeout=20, check=False,
    ) if shutil.which("script") else pytest.skip("no script(1)")  # fmt: skip
    assert b"it speaks with a program" in result.stdout
