"""Secrets: kept in the store and in a container, shown to nobody else."""

from __future__ import annotations

import json
import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from system_tools import BUSYBOX, Sampan

CONTENT = b"hunter2-\xff-canary\n"


@pytest.fixture(autouse=True)
def none_left(sampan: Sampan) -> Iterator[None]:
    yield
    sampan("rm", "-fa", "-t", "0")
    sampan.text("secret", "rm", "--all")


def create(sampan: Sampan, name: str, content: bytes, *options: str) -> str:
    process = sampan.spawn(
        "secret", "create", *options, name, "-", stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    out = process.communicate(content, timeout=20)[0]
    assert process.returncode == 0
    return out.decode().strip()


def places(sampan: Sampan, canary: bytes) -> list[str]:
    """Where in store and run directory the bytes are, by the names of their directories."""
    found: list[str] = []
    for top in (sampan.root, sampan.run_dir):
        for base, _, names in os.walk(top):
            for name in names:
                path = Path(base, name)
                try:
                    if path.is_file() and canary in path.read_bytes():
                        found.append(f"{path.relative_to(top).parts[0]}/{name}")
                except PermissionError:  # of a subordinate id
                    continue
    return found


def test_files_and_variables(sampan: Sampan) -> None:
    create(sampan, "s", CONTENT)
    create(sampan, "t", b"variable")
    script = "cat /run/secrets/s /etc/pw; stat -c '%a %u %g' /run/secrets/s /etc/pw; echo $V $t; ls /run/secrets"
    words = ["--secret", "s", "--secret", "source=s,target=/etc/pw,mode=0400", "--secret", "t,type=env"]  # fmt: skip
    result = sampan("run", "--rm", *words, "--secret", "t,type=env,target=V", "-e", "V=before", BUSYBOX, "sh", "-c",
                    script)  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert result.stdout == CONTENT * 2 + b"444 0 0\n400 0 0\nvariable variable\ns\n"
    inside = sampan.text("run", "--rm", "--secret", "s", BUSYBOX, "sh", "-c",
                         "grep ' /run/secrets ' /proc/mounts; echo x > /run/secrets/s || echo refused")  # fmt: skip
    assert inside.startswith("tmpfs ") and " ro," in inside and inside.endswith("refused")


def test_owners(sampan: Sampan) -> None:
    create(sampan, "s", CONTENT)
    words = ["run", "--rm", "-u", "7:8", "--secret", "s,uid=7,gid=8,mode=0400", BUSYBOX]
    result = sampan(*words, "cat", "/run/secrets/s")
    if "one uid" in sampan.text("info"):
        assert result.returncode == 125 and b"no such ids" in result.stderr
    else:
        assert result.stdout == CONTENT
    result = sampan("run", "--rm", "--secret", "s,uid=4000000000", BUSYBOX, "true")
    assert result.returncode == 125 and b"no such ids" in result.stderr
    assert sampan.leftovers() == []


@pytest.mark.parametrize("mode", ["auto:size=1000", "keep-id"])
def test_in_a_user_namespace_of_its_own(sampan: Sampan, mode: str) -> None:
    create(sampan, "s", CONTENT)
    words = ["--userns", mode, "--secret", "s", "--secret", "s,type=env,target=V"]
    result = sampan("run", "-d", "--name", "c", *words, BUSYBOX, "sleep", "100")
    if result.returncode:
        pytest.skip(result.stderr.decode())
    for command in ("cat /run/secrets/s", 'echo "$V"'):
        told = sampan("exec", "c", "sh", "-c", command)
        assert told.stdout.rstrip(b"\n") == CONTENT.rstrip(b"\n"), told.stderr
    sampan.text("rm", "-f", "-t", "0", "c")


def test_a_container_has_its_own_copy(sampan: Sampan) -> None:
    """From when it was created, whatever becomes of the secret; through stop, start and restarts."""
    create(sampan, "s", b"canary-one")
    words = ["--secret", "s", "--secret", "s,type=env,target=V"]
    show = "cat /run/secrets/s; echo $V"
    sampan.text("create", "--name", "c", *words, BUSYBOX, "sh", "-c", show)
    create(sampan, "s", b"second", "--replace")
    assert sampan.text("start", "-a", "c") == "canary-one" * 2
    sampan.text("secret", "rm", "s")
    assert sampan.text("start", "-a", "c") == "canary-one" * 2
    assert sampan("run", "--rm", *words, BUSYBOX, "true").returncode == 125
    copies = ["containers/secret.0", "containers/secret.1"]
    assert sorted(places(sampan, b"canary-one")) == ["containers/log", *copies]
    sampan.text("rm", "c")
    assert places(sampan, b"canary-one") == []


def test_nobody_else_is_shown_it(sampan: Sampan) -> None:
    """Not the document, `inspect`, `diff`, `commit`, `export`, events or arguments; modes are the user's alone."""
    canary = b"canary-of-a-secret"
    create(sampan, "s", canary)
    words = ["--secret", "s", "--secret", "s,type=env,target=V", "--secret", "s,target=/pw"]
    sampan.text("run", "-d", "--name", "c", *words, BUSYBOX, "sleep", "100")
    assert sampan.text("exec", "c", "sh", "-c", "cat /run/secrets/s /pw; echo $V").encode() == canary * 3  # fmt: skip
    document = json.loads(sampan.text("inspect", "c"))[0]
    assert canary.decode() not in json.dumps(document)
    assert [row["Name"] for row in document["Config"]["Secrets"]] == ["s", "s"]
    assert canary not in sampan("export", "c").stdout
    sampan.text("commit", "-q", "c", "made")
    script = "env; cat /pw /run/secrets/*; ls /run/secrets || true"
    listed = sampan.text("run", "--rm", "made", "sh", "-c", script)
    assert canary.decode() not in listed and "s" not in listed.split()
    while_it_runs = ["containers/config.json", *(f"containers/secret.{n}" for n in range(3)), "secrets/s"]  # fmt: skip
    assert sorted(places(sampan, b"canary-of-a-secre")) == sorted(while_it_runs[:4])
    monitor = sampan.state("c")["ConmonPid"]
    assert canary not in Path(f"/proc/{monitor}/cmdline").read_bytes()
    sampan.text("stop", "-t", "0", "c")
    assert "containers/config.json" not in places(sampan, canary), "the bundle is gone"
    for base, names, others in os.walk(sampan.root / "secrets"):
        assert stat.S_IMODE(os.stat(base).st_mode) == 0o700 and not names
        assert {stat.S_IMODE(os.stat(f"{base}/{name}").st_mode) for name in others} == {0o600}
    sampan.text("rm", "c")


def test_the_verbs(sampan: Sampan, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(CONTENT)
    one = sampan.text(
        "secret", "create", "-l", "a=b", "--driver", "file", "one", str(tmp_path / "f")
    )
    assert len(one) == 25
    two = create(sampan, "two", b"2")
    assert sampan.text("secret", "ls", "-q").split() == [one, two]
    assert sampan.text("secret", "ls", "--filter", "name=^t", "--format", "{{.Name}}") == "two"
    assert sampan.text("secret", "ls", "--filter", f"id={one[:6]}", "-q") == one
    table = sampan.text("secret", "ls").splitlines()
    assert table[0].split() == ["ID", "NAME", "DRIVER", "CREATED", "UPDATED"] and len(table) == 3
    assert len(sampan.text("secret", "ls", "--no-heading").splitlines()) == 2
    found = json.loads(sampan.text("secret", "inspect", "one", two[:8]))
    assert [row["ID"] for row in found] == [one, two] and "SecretData" not in found[0]
    driver = {"Name": "file", "Options": {}}
    assert found[0]["Spec"] == {"Name": "one", "Driver": driver, "Labels": {"a": "b"}}
    assert (
        json.loads(sampan.text("secret", "inspect", "--showsecret", "two"))[0]["SecretData"] == "2"
    )
    assert sampan.text("secret", "inspect", "--format", "{{.Spec.Name}}", "one") == "one"
    assert " - a=b" in sampan.text("secret", "inspect", "--pretty", "one")
    assert sampan("secret", "exists", "one").returncode == 0
    assert sampan("secret", "exists", "none").returncode == 1
    assert sampan("secret", "create", "one", str(tmp_path / "f")).returncode == 125
    other = sampan.text("secret", "create", "--replace", "one", str(tmp_path / "f"))
    again = json.loads(sampan.text("secret", "inspect", "one"))[0]
    assert (
        again["ID"] == other != one
        and again["CreatedAt"] == found[0]["CreatedAt"] < again["UpdatedAt"]
    )
    assert sampan("secret", "rm", "none").returncode == 1
    assert sampan("secret", "rm", "--ignore", "none").returncode == 0
    assert sampan.text("secret", "rm", "two") == two
    assert sampan.text("secret", "rm", "--all") == other and sampan.text("secret", "ls", "-q") == ""


def test_sizes_and_refusals(sampan: Sampan, tmp_path: Path) -> None:
    whole = os.urandom(512_000)
    create(sampan, "large", whole)
    result = sampan("run", "--rm", "--secret", "large", BUSYBOX, "cat", "/run/secrets/large")
    assert result.stdout == whole
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "more").write_bytes(whole + b"x")
    for words in (
        ["secret", "create", "x", str(tmp_path / "empty")],
        ["secret", "create", "x", str(tmp_path / "more")],
        ["secret", "create", "x", str(tmp_path / "absent")],
        ["secret", "create", "--driver", "pass", "x", "-"],
        ["secret", "create", "--env", "x", "SAMPAN_TEST_NO_SUCH_VARIABLE"],
        ["secret", "create", "../x", str(tmp_path / "more")],
        ["secret", "inspect", "x"],
        ["run", "--secret", "x", BUSYBOX, "true"],
        ["run", "--secret", "large,type=env", BUSYBOX, "true"],
        ["run", "--secret", "large", "--secret", "large,mode=0400", BUSYBOX, "true"],
    ):
        result = sampan(*words)
        assert result.returncode == 125 and result.stderr.count(b"\n") == 1, (words, result.stderr)
    sampan.text("secret", "rm", "large")
    assert sampan.text("ps", "-aq") == ""


def test_what_a_killed_creator_has_left_goes(sampan: Sampan) -> None:
    create(sampan, "s", b"s")
    place = sampan.root / "secrets"
    (place / ".tmp-4194000-0-00").write_bytes(b"left")
    (place / "damaged").write_bytes(b"{}")
    create(sampan, "t", b"t")
    assert sorted(os.listdir(place)) == [".lock", "damaged", "s", "t"]
    result = sampan("secret", "inspect", "damaged")
    assert result.returncode == 125 and b"damaged" in result.stderr
    sampan.text("secret", "rm", "damaged")
    sampan.text("secret", "rm", "--all")
