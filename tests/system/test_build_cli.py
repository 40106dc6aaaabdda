"""build by the installed program: what it prints, where its results go, and what is left in the store."""

from __future__ import annotations

import io
import json
import os
import pty
import stat
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest

from system_tools import BUSYBOX, Sampan

FROM = f"FROM {BUSYBOX}\n"


@pytest.fixture
def context(tmp_path: Path) -> Path:
    path = tmp_path / "context"
    path.mkdir()
    (path / "file").write_text("content")
    return path


def write(context: Path, text: str, name: str = "Dockerfile") -> str:
    (context / name).write_text(text)
    return str(context)


def ids(sampan: Sampan) -> set[str]:
    return set(sampan.text("images", "-q", "--no-trunc").split())


def test_the_last_line_is_the_id(sampan: Sampan, context: Path, tmp_path: Path) -> None:
    source = write(context, f"{FROM}LABEL a=b\nRUN echo words\n")
    files = "--iidfile", str(tmp_path / "id"), "--metadata-file", str(tmp_path / "metadata")
    done = sampan("build", "-t", "named", "-t", "h.example/other:1", *files, source)
    assert done.returncode == 0, done.stderr
    *names, digits = done.stdout.decode().splitlines()
    assert names == [
        "Successfully tagged localhost/named:latest", "Successfully tagged h.example/other:1",
    ]  # fmt: skip
    shown = json.loads(sampan.text("image", "inspect", "named"))[0]
    assert shown["Id"] == digits and shown["Labels"] == {"a": "b"}
    assert shown["RepoTags"] == ["localhost/named:latest", "h.example/other:1"]
    assert (tmp_path / "id").read_text() == f"sha256:{digits}"
    told: dict[str, Any] = json.loads((tmp_path / "metadata").read_text())
    assert told["image.name"] == "localhost/named:latest,h.example/other:1"
    assert told["containerimage.config.digest"] == f"sha256:{digits}"
    assert (
        told["containerimage.descriptor"]["digest"]
        == told["containerimage.digest"]
        == shown["Digest"]
    )
    lines = done.stderr.decode().splitlines()
    assert any(line.endswith(" words") for line in lines)
    assert any(" DONE " in line for line in lines)
    events = sampan.text("events", "--stream=false", "--since", "1m", "--filter", "event=build")
    assert events.endswith(f"image build {digits} localhost/named:latest")
    again = sampan("build", "-q", source)
    assert (again.stdout.decode(), again.stderr) == (f"sha256:{digits}\n", b""), (
        "all of it is known"
    )


def test_where_the_dockerfile_comes_from(sampan: Sampan, context: Path, tmp_path: Path) -> None:
    text = f"{FROM}COPY file /copied\n"
    source = write(context, text)
    expected = sampan.text("build", "-q", source)
    other = write(tmp_path, text, "Elsewhere")
    assert sampan.text("build", "-q", "-f", f"{other}/Elsewhere", source) == expected
    assert sampan.text("build", "-q", "-f", "-", source, input=text.encode()) == expected
    assert sampan.text("image", "build", "-q", source) == expected
    assert sampan.text("builder", "build", "-q", source) == expected
    assert sampan.text("buildx", "build", "--load", "-q", source) == expected
    assert sampan.text("build", "-q", "-f", f"{source}/Dockerfile") == expected, (
        "its directory is the context"
    )
    plain = f"{FROM}ENV a=b\n".encode()
    assert sampan.text("build", "-q", "-", input=plain) == sampan.text(
        "build", "-q", "-f", "-", input=plain
    )
    assert sampan("build").returncode == 125
    assert sampan("build", str(tmp_path / "absent")).returncode == 125


@pytest.mark.parametrize("code", [1, 7, 127, 255])
def test_it_leaves_with_the_code_of_the_command_that_failed(
    sampan: Sampan, context: Path, tmp_path: Path, code: int
) -> None:
    source = write(context, f"{FROM}RUN echo before\nRUN echo words; exit {code}\n")
    (tmp_path / "id").write_text("old")
    done = sampan("build", "-t", "failed", "--iidfile", str(tmp_path / "id"), ".", cwd=source)
    assert (done.returncode, done.stdout) == (code, b"")
    told = done.stderr.decode()
    again = told[told.index("------") :]
    assert f"exit code: {code}" in told and "words" in again and "before" not in again
    assert f'\nError: Dockerfile:3: process "/bin/sh -c echo words; exit {code}"' in told
    assert f"\n   3 | RUN echo words; exit {code}\n     | ^^^" in told
    assert not (tmp_path / "id").exists(), "no id of an earlier build"
    assert sampan("image", "exists", "failed").returncode == 1
    quiet = sampan("build", "-q", source)
    assert quiet.returncode == code and b"words" in quiet.stderr and b" DONE " not in quiet.stderr


def test_what_is_no_dockerfile(sampan: Sampan, context: Path) -> None:
    source = write(context, f"{FROM}RUNN make\x1b[2J\n")
    done = sampan("build", ".", cwd=source)
    assert done.returncode == 125
    assert (
        b"Error: Dockerfile:2: unknown instruction: RUNN; did you mean RUN?\n   2 | RUNN make"
        in done.stderr
    )
    assert b"\x1b" not in done.stderr


def test_check(sampan: Sampan, context: Path) -> None:
    before = ids(sampan)
    source = write(
        context, f"{FROM}\n\nFROM {BUSYBOX} as two\nMAINTAINER me\nRUN true\nRUN false\n"
    )
    done = sampan("build", "--check", ".", cwd=source)
    assert done.returncode == 1
    assert done.stdout.decode() == (
        "Check complete, 2 warnings have been found!\n\n"
        "WARNING: FromAsCasing - https://docs.docker.com/go/dockerfile/rule/from-as-casing/\n"
        "'as' and 'FROM' keywords' casing do not match\nDockerfile:4\n--------------------\n"
        f"   2 |     \n   3 |     \n   4 | >>> FROM {BUSYBOX} as two\n   5 |     MAINTAINER me\n   6 |     RUN true\n"
        "--------------------\n\n"
        "WARNING: MaintainerDeprecated - https://docs.docker.com/go/dockerfile/rule/maintainer-deprecated/\n"
        "Maintainer instruction is deprecated in favor of using label\nDockerfile:5\n--------------------\n"
        f"   3 |     \n   4 |     FROM {BUSYBOX} as two\n   5 | >>> MAINTAINER me\n   6 |     RUN true\n"
        "   7 |     RUN false\n--------------------\n"
    )  # fmt: skip
    write(context, f"{FROM}RUN false\n")
    assert sampan.text("build", "--call", "check", source) == "Check complete, no warnings found."
    write(context, "FROM host:sh\nRUN echo $undefined\n")
    assert sampan("build", "--check", source).returncode == 0, "what host: has is not known"
    assert ids(sampan) == before, "nothing is built"


def test_what_run_is_given(sampan: Sampan, context: Path) -> None:
    script = "ulimit -n; df -k /dev/shm | tail -1; cat /etc/hosts /etc/resolv.conf; echo proxy $http_proxy"
    source = write(context, f"{FROM}RUN {script}\n")
    words = (
        "--shm-size",
        "1m",
        "--ulimit",
        "nofile=55:66",
        "--add-host",
        "a=1.2.3.4",
        "--dns",
        "9.9.9.9",
    )
    told = sampan(
        "build", "--no-cache", *words, source, env={"http_proxy": "http://p"}
    ).stderr.decode()
    for line in (" 55\n", " 1024 ", "1.2.3.4\ta", "nameserver 9.9.9.9", "proxy http://p\n"):
        assert line in told, told
    told = sampan("build", "--no-cache", "--no-hosts", source).stderr.decode()
    assert "can't open '/etc/hosts'" in told
    assert sampan("build", "--memory", "1k", source).returncode == 125
    source = write(context, f"{FROM}RUN grep -E 'Seccomp:|CapEff' /proc/self/status\n")
    plain = sampan("build", "--no-cache", source).stderr.decode()
    loose = sampan("build", "--security-opt", "seccomp=unconfined", "--cap-drop", "ALL", source)
    assert "Seccomp:\t2" in plain and "CapEff:\t0000000000000000" not in plain
    assert b"Seccomp:\t0" in loose.stderr and b"CapEff:\t0000000000000000" in loose.stderr
    assert sampan("--runtime-flag", "odd", "build", source).returncode == 1, "as podman's build"


def test_kinds_of_progress(sampan: Sampan, context: Path, tmp_path: Path) -> None:
    source = write(context, f"{FROM}RUN echo words\n")
    raw = sampan("build", "--no-cache", "--progress", "rawjson", source)
    rows = [json.loads(line) for line in raw.stderr.splitlines()]
    assert {key for row in rows for key in row} >= {"vertexes", "logs"} and raw.returncode == 0
    quiet = sampan("build", source, env={"BUILDKIT_PROGRESS": "quiet"})
    assert quiet.stderr == b"" and quiet.stdout
    log = tmp_path / "log"
    logged = sampan("build", "--no-cache", "--logfile", str(log), source)
    assert logged.stderr == b"" and " words\n" in log.read_text()
    assert sampan("build", "--progress", "tty", source).returncode == 125
    assert sampan("build", "--progress", "fancy", source).returncode == 125
    assert sampan("build", "--builder", "absent", source).returncode == 125


def test_on_a_terminal(sampan: Sampan, context: Path) -> None:
    source = write(context, f"{FROM}RUN for n in 1 2 3 4; do echo row $n; sleep 0.2; done\n")
    ours, theirs = pty.openpty()
    process = sampan.spawn(
        "build", "--no-cache", "-t", "shown", source, stderr=theirs, stdout=subprocess.PIPE
    )
    os.close(theirs)
    data = b""
    try:
        while chunk := os.read(ours, 1 << 16):
            data += chunk
    except OSError:  # the program has ended
        pass
    os.close(ours)
    out, _ = process.communicate()
    assert process.returncode == 0 and out.startswith(
        b"Successfully tagged localhost/shown:latest\n"
    )
    assert b"FINISHED" in data and b" => => # row 2" in data and data.count(b"[+] Building") > 4


TREE = f"""{FROM}RUN mkdir -p /t/d && echo one > /t/d/one && ln /t/d/one /t/two && ln -s /etc/passwd /t/link \\
 && mkfifo /t/pipe && chmod 4711 /t/d/one && chmod 2770 /t/d && touch -d '2001-02-03 04:05:06' /t/d/one \\
 && mkdir /t/empty
FROM scratch
COPY --from=0 /t /t
"""


def test_output_of_a_directory(sampan: Sampan, context: Path, tmp_path: Path) -> None:
    before = ids(sampan)
    source, out, outside = write(context, TREE), tmp_path / "out", tmp_path / "outside"
    (out / "t").mkdir(parents=True)
    outside.mkdir()
    (out / "kept").write_text("kept")
    (out / "t/two").write_text("old")
    (out / "t/d").symlink_to(outside)
    done = sampan("build", "--output", str(out), source)
    assert done.returncode == 0, done.stderr
    assert os.listdir(outside) == [], "no link leads out of the directory"
    one = (out / "t/d/one").stat()
    assert stat.S_IMODE(one.st_mode) == 0o711, "what belongs to somebody else now is not set-id"
    assert (one.st_uid, int(one.st_mtime)) == (os.getuid(), 981173106)
    assert (out / "t/two").stat().st_ino == one.st_ino and (out / "t/two").read_text() == "one\n"
    assert os.readlink(out / "t/link") == "/etc/passwd" and stat.S_ISFIFO(
        (out / "t/pipe").stat().st_mode
    )
    assert sorted(os.listdir(out / "t")) == ["d", "empty", "link", "pipe", "two"]
    assert (out / "kept").read_text() == "kept"
    assert ids(sampan) == before, "it was built for the directory alone"
    assert sampan("build", "-o", f"{tmp_path}/outside/x", source).returncode == 0
    assert sampan("build", "-o", "/proc/none", source).returncode == 125


def test_output_of_a_tar(sampan: Sampan, context: Path, tmp_path: Path) -> None:
    source = write(context, TREE)
    done = sampan("build", "-o", "-", source)
    assert done.returncode == 0
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        assert archive.getmember("t/two").mode == 0o4711 and archive.getmember("t/d").uid == 0
        assert (
            archive.getmember("t/d/one").linkname == "t/two" and archive.getmember("t/link").issym()
        )
    assert sampan("build", "-q", "-o", f"type=tar,dest={tmp_path}/a.tar", source).returncode == 0
    assert (tmp_path / "a.tar").read_bytes() == done.stdout
    nothing = write(context, "FROM scratch\nENV a=b\n", "Empty")
    with tarfile.open(
        fileobj=io.BytesIO(sampan("build", "-f", f"{nothing}/Empty", "-o", "-", nothing).stdout)
    ) as archive:
        assert archive.getnames() == []


def test_output_of_archives(fresh: Sampan, context: Path, tmp_path: Path) -> None:
    source = write(context, f"{FROM}RUN echo it > /it\n")
    for kind, name in (("oci", "named:1"), ("docker", "localhost/named:1")):
        path = tmp_path / f"{kind}.tar"
        fresh.text("build", "-o", f"type={kind},name={name},dest={path}", source)
        assert all(
            "named" not in name for name in fresh.text("images", "--format", "{{.Names}}").split()
        )
        assert "localhost/named:1" in fresh.text("load", "-q", "-i", str(path))
        assert fresh.text("run", "--rm", "named:1", "cat", "/it") == "it"
        fresh.text("rmi", "-f", "named:1")
    fresh.text("build", "-o", f"type=oci,tar=false,dest={tmp_path}/layout", source)
    index = json.loads((tmp_path / "layout/index.json").read_text())
    assert len(index["manifests"]) == 1
    with tarfile.open(
        fileobj=io.BytesIO(fresh("build", "-o", "type=oci", source).stdout)
    ) as archive:
        assert "oci-layout" in archive.getnames()


def test_which_images_stay(fresh: Sampan, context: Path, tmp_path: Path) -> None:
    source = write(context, f"{FROM}ENV a=b\n")
    fresh.text("pull", "-q", BUSYBOX)
    before = ids(fresh)
    to_file = "-o", f"type=docker,dest={tmp_path}/a.tar"
    fresh.text("build", *to_file, source)
    fresh.text("build", "-o", "type=cacheonly", source)
    assert ids(fresh) == before
    fresh.text("build", "-o", "type=image,name=x/one,name=ignored", source)
    fresh.text("build", "--output", '"type=image","name=two,x/three"', *to_file, source)
    assert fresh.text("images", "--format", "{{.Names}}", "two").count("x/three") == 1
    fresh.text("untag", "two")
    fresh.text("build", *to_file, source)
    assert len(ids(fresh)) == len(before) + 1, "it was there before, without a name"
    fresh.text("rmi", "-f", fresh.text("build", "-q", source))
    fresh.text("build", "-t", "four", *to_file, source)
    assert fresh("image", "exists", "four").returncode == 0, "it was given a name"
    for words in (
        ["type=local"], ["type=nfs,dest=x"], ["type=local,dest=x,color=red"], ["type=registry"],
        ["type=docker,tar=false,dest=x"], ["type=image,push=true"],
    ):  # fmt: skip
        done = fresh("build", "-o", *words, source)
        assert (done.returncode, done.stdout) == (125, b""), words
        assert b"#1" not in done.stderr, "that is said before anything is built"


def test_push(fresh: Sampan, context: Path, registry: str) -> None:
    source = write(context, f"{FROM}LABEL pushed=yes\n")
    name = f"{registry}/built/{os.urandom(4).hex()}"
    assert fresh("build", "--push", source).returncode == 125, "it has no name"
    done = fresh("build", "--push", "-t", f"{name}:1", "--tls-verify=false", source)
    assert done.returncode == 0, done.stderr
    fresh("build", "-q", "-o", f"type=image,name={name}:2,push=true", "--tls-verify=false", source)
    for tag in "12":
        fresh.text("rmi", f"{name}:{tag}")
        fresh.text("pull", "-q", "--tls-verify=false", f"{name}:{tag}")
        assert "pushed" in fresh.text("inspect", "--format", "{{.Labels}}", f"{name}:{tag}")
