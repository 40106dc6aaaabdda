"""sampan build: steps and their cache, stages, what a Dockerfile says of the image."""

from __future__ import annotations

import json
import os
import re
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from system_tools import Sampan, has_subordinate_ids

STEP = re.compile(r"^#(\d+) \[([^\]]+)\] (.*)$")


class Built:
    """A finished build: what was made anew, and what the cache had."""

    def __init__(self, done: subprocess.CompletedProcess[bytes]) -> None:
        self.status, self.out, self.err = (
            done.returncode,
            done.stdout.decode(),
            done.stderr.decode(),
        )
        names: dict[str, str] = {}
        self.done: list[str] = []
        self.cached: list[str] = []
        for line in self.err.splitlines():
            if (match := STEP.match(line)) and match[2] != "internal":
                names[match[1]] = match[3]
            number, _, state = line.removeprefix("#").partition(" ")
            if state == "CACHED":
                self.cached.append(names[number])
            elif (
                state.startswith("DONE")
                and number in names
                and not names[number].startswith("FROM")
            ):
                self.done.append(names[number])
        self.cached = [name for name in self.cached if not name.startswith("FROM")]

    @property
    def id(self) -> str:
        assert self.status == 0, self.err
        return self.out.split()[-1]


def build(
    sampan: Sampan, context: Path, dockerfile: str | None = None, *words: str, **more: Any
) -> Built:
    if dockerfile is not None:
        (context / "Dockerfile").write_text(dockerfile)
    return Built(sampan("build", "--progress", "plain", *words, str(context), **more))


def config(sampan: Sampan, image: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(sampan.text("image", "inspect", image))[0]
    return found


def shell(sampan: Sampan, image: str, command: str) -> str:
    return sampan.text("run", "--rm", "--entrypoint", "", image, "sh", "-c", command)


@pytest.fixture
def context(tmp_path: Path) -> Path:
    place = tmp_path / "context"
    place.mkdir()
    return place


def test_a_first_image(sampan: Sampan, context: Path) -> None:
    (context / "hello").write_text("hello\n")
    built = build(
        sampan,
        context,
        "FROM busybox\nARG WHO=you\nENV A=b\nWORKDIR /w\nCOPY hello .\nRUN cat hello > there && echo $WHO $A >> there\n"
        'LABEL x="y z"\nUSER user\nEXPOSE 80\nVOLUME /data\nSTOPSIGNAL INT\nENTRYPOINT ["cat"]\nCMD ["/w/there"]\n',
        "-t",
        "first:1",
        "--build-arg",
        "WHO=me",
    )
    assert sampan.text("run", "--rm", "--user", "0", built.id) == "hello\nme b"
    made = config(sampan, "first:1")
    assert made["RepoTags"] == ["localhost/first:1"]
    assert made["Config"] == {
        "Cmd": ["/w/there"],
        "Entrypoint": ["cat"],
        "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "A=b"],
        "ExposedPorts": {"80/tcp": {}},
        "Labels": {"x": "y z"},
        "StopSignal": "INT",
        "User": "user",
        "Volumes": {"/data": {}},
        "WorkingDir": "/w",
    }
    told = [row["created_by"] for row in made["History"]][-12:]
    assert told[0] == "ARG WHO=me"
    assert told[2:5] == [
        "WORKDIR /w",
        "COPY hello . # buildkit",
        "RUN |1 WHO=me /bin/sh -c cat hello > there && echo $WHO $A >> there # buildkit",
    ]
    assert [bool(row.get("empty_layer")) for row in made["History"]][-12:] == [
        True,
        True,
        False,
        False,
        False,
        *[True] * 7,
    ]
    assert len(made["RootFS"]["Layers"]) == 4


def lines(number: int) -> list[str]:
    """A Dockerfile of so many steps, alternately COPY and RUN."""
    rows = ["FROM busybox"]
    for at in range(number):
        rows.append(f"COPY f{at} /f{at}" if at % 2 else f"RUN echo {at} > /r{at}")
    return rows


def test_an_edit_of_a_line_makes_it_and_what_follows_anew(sampan: Sampan, context: Path) -> None:
    count = 6
    for at in range(count):
        (context / f"f{at}").write_text("0")
    rows = lines(count)
    first = build(sampan, context, "\n".join(rows), "--no-cache")
    assert first.done == rows[1:]
    layers = config(sampan, first.id)["RootFS"]["Layers"]
    again = build(sampan, context)
    assert (again.done, again.cached, again.id) == ([], rows[1:], first.id)
    stamp = os.urandom(4).hex()
    for at in range(1, count + 1):
        changed = [*rows]
        if at % 2:
            changed[at] += f" # {stamp}"
        else:
            (context / f"f{at - 1}").write_text(stamp)
        built = build(sampan, context, "\n".join(changed))
        assert (built.cached, built.done) == (changed[1:at], changed[at:])
        made = config(sampan, built.id)
        assert made["RootFS"]["Layers"][:at] == layers[:at]
        assert len(made["History"]) == len(config(sampan, first.id)["History"])
        (context / f"f{at - 1}").write_text("0")


def test_a_touched_file_rebuilds_nothing(sampan: Sampan, context: Path) -> None:
    (context / "d").mkdir()
    (context / "d" / "f").write_text("content")
    rows = "FROM busybox\nCOPY d /d\nRUN cat /d/f"
    first = build(sampan, context, rows)
    os.utime(context / "d" / "f", (1, 1))
    os.utime(context / "d", (2, 2))
    again = build(sampan, context)
    assert (again.done, again.id) == ([], first.id)
    (context / "d" / "f").chmod(0o600)
    assert build(sampan, context).done == ["COPY d /d", "RUN cat /d/f"]


def test_a_failing_step_tells_its_output_and_its_line(sampan: Sampan, context: Path) -> None:
    built = build(sampan, context, "FROM busybox\n\nRUN echo what went wrong; \\\n    exit 42\n")
    assert built.status == 42
    assert "Dockerfile:3" in built.err
    assert "exit code: 42" in built.err
    assert built.err.count("what went wrong") >= 2
    assert sampan.text("ps", "-aq") == ""


def test_only_what_the_target_needs_is_made(sampan: Sampan, context: Path) -> None:
    rows = (
        "FROM busybox AS never\nRUN exit 1\nFROM busybox AS one\nRUN echo 1 > /one\n"
        "FROM busybox AS two\nRUN exit 2\nFROM one\nRUN cat /one\n"
    )
    built = build(sampan, context, rows, "--no-cache")
    assert built.done == ["RUN echo 1 > /one", "RUN cat /one"]
    assert build(sampan, context, None, "--target", "ONE", "--no-cache").done == [
        "RUN echo 1 > /one"
    ]
    assert build(sampan, context, None, "--target", "two").status == 2
    missing = build(sampan, context, None, "--target", "three")
    assert missing.status == 125
    assert 'target stage "three" could not be found' in missing.err


def test_independent_stages_run_side_by_side(sampan: Sampan, context: Path) -> None:
    rows = "".join(f"FROM busybox AS s{at}\nRUN sleep 1; echo {at} > /out\n" for at in range(4))
    rows += "FROM scratch\n" + "".join(f"COPY --from=s{at} /out /{at}\n" for at in range(4))
    begun = time.monotonic()
    assert build(sampan, context, rows, "--no-cache").status == 0
    assert time.monotonic() - begun < 3.0
    begun = time.monotonic()
    assert build(sampan, context, None, "--no-cache", "--jobs", "1").status == 0
    assert time.monotonic() - begun > 4.0


def test_a_base_that_is_a_stage_gives_layers_history_and_configuration(
    sampan: Sampan, context: Path
) -> None:
    rows = (
        'FROM busybox AS base\nENV A=1\nRUN echo base > /base\nCMD ["base"]\n'
        'FROM base AS child\nRUN echo $A > /child\nFROM child\nENTRYPOINT ["cat"]\n'
    )
    built = build(sampan, context, rows)
    made = config(sampan, built.id)
    told = [row["created_by"] for row in made["History"]]
    assert told[-5:] == [
        "ENV A=1", "RUN /bin/sh -c echo base > /base # buildkit", 'CMD ["base"]',
        "RUN /bin/sh -c echo $A > /child # buildkit", 'ENTRYPOINT ["cat"]',
    ]  # fmt: skip
    assert "Cmd" not in made["Config"]
    assert shell(sampan, built.id, "cat /base /child") == "base\n1"
    again = build(sampan, context)
    assert (again.done, again.id) == ([], built.id)


def test_a_stage_that_came_out_anew_is_copied_anew(sampan: Sampan, context: Path) -> None:
    """D17: the words of the last stage are the same."""
    rows = (
        "FROM busybox AS made\n"
        "RUN cat /proc/sys/kernel/random/uuid > /out\n"
        "FROM busybox\n"
        "COPY --from=made /out /out\n"
    )
    first = shell(sampan, build(sampan, context, rows).id, "cat /out")
    again = build(sampan, context, None, "--no-cache-filter", "made")
    assert shell(sampan, again.id, "cat /out") != first
    assert again.done == [
        "RUN cat /proc/sys/kernel/random/uuid > /out",
        "COPY --from=made /out /out",
    ]


def test_a_stage_that_came_out_the_same_changes_nothing_behind_it(
    sampan: Sampan, context: Path
) -> None:
    rows = "FROM busybox AS made\nRUN echo same > /out{}\nFROM busybox\nCOPY --from=made /out /out\nRUN cat /out\n"
    first = build(sampan, context, rows.format(""))
    again = build(sampan, context, rows.format(" # another line"))
    assert again.done == ["RUN echo same > /out # another line"]
    assert config(sampan, again.id)["RootFS"] == config(sampan, first.id)["RootFS"]


def test_a_step_that_changes_nothing_has_no_layer(sampan: Sampan, context: Path) -> None:
    built = build(
        sampan, context, "FROM busybox\nRUN true\nWORKDIR /tmp\nRUN cat /etc/passwd\n", "--no-cache"
    )
    made = config(sampan, built.id)
    assert len(made["RootFS"]["Layers"]) == 1
    assert [row.get("empty_layer") for row in made["History"]][-3:] == [True] * 3


def test_what_a_step_removes_is_gone(sampan: Sampan, context: Path) -> None:
    built = build(
        sampan,
        context,
        "FROM busybox\n"
        "RUN mkdir /d && touch /d/a /d/b\n"
        "RUN rm /d/a && mv /bin/yes /bin/no\n"
        "RUN rm -r /d; mkdir /d; touch /d/c\n",
    )
    assert shell(sampan, built.id, "ls /d; ls /bin/yes 2>/dev/null; ls /bin/no") == "c\n/bin/no"


def test_quoted_and_unquoted_heredocs_are_run(sampan: Sampan, context: Path) -> None:
    """D03: the shell expands what it runs, the builder what it copies."""
    rows = (
        "FROM busybox\nARG V=b\n"
        "RUN <<'EOF'\nV=x\nmkdir /q\necho $V > /q/m\nEOF\n"
        'RUN <<"EOF"\nmkdir /r\necho $V > /r/m\nEOF\n'
        "RUN <<EOF\nmkdir /s\necho $V > /s/m\nEOF\n"
        "RUN <<SCRIPT\n#!/bin/cat\nread by cat\nSCRIPT\n"
        "RUN cat <<A > /t; cat <<B >> /t\none\nA\ntwo\nB\n"
        "COPY <<EOF /f\n$V\nEOF\nCOPY <<'EOF' /g\n$V\nEOF\n"
    )
    built = build(sampan, context, rows)
    assert shell(sampan, built.id, "cat /q/m /r/m /s/m /t /f /g") == "x\nb\nb\none\ntwo\nb\n$V"


def test_triggers_run_once_and_for_children_alone(sampan: Sampan, context: Path) -> None:
    """D10."""
    assert build(
        sampan,
        context,
        "FROM busybox\nONBUILD RUN echo built >> /log\nONBUILD COPY f /f\n",
        "-t",
        "parent",
    ).id
    (context / "f").write_text("copied")
    child = build(sampan, context, "FROM localhost/parent\nRUN echo own >> /log\n", "-t", "child")
    assert shell(sampan, child.id, "cat /log /f") == "built\nown\ncopied"
    assert "OnBuild" not in config(sampan, "child")["Config"]
    grandchild = build(sampan, context, "FROM localhost/child\nRUN cat /log\n")
    assert shell(sampan, grandchild.id, "cat /log") == "built\nown"


def test_a_trigger_takes_from_a_stage_of_the_file_that_uses_it(
    sampan: Sampan, context: Path
) -> None:
    assert build(
        sampan, context, "FROM busybox\nONBUILD COPY --from=tools /tool /tool\n", "-t", "wants"
    ).id
    rows = "FROM busybox AS tools\nRUN echo tool > /tool\nFROM localhost/wants\nRUN cat /tool > /seen\n"
    assert shell(sampan, build(sampan, context, rows).id, "cat /seen") == "tool"


@pytest.mark.parametrize(
    ("rows", "entrypoint", "command"),
    [
        ('ENTRYPOINT ["e"]', ["e"], None),
        ('CMD ["mine"]\nENTRYPOINT ["e"]', ["e"], ["mine"]),
        ('ENTRYPOINT ["e"]\nCMD mine', ["e"], ["/bin/sh", "-c", "mine"]),
        ('SHELL ["/bin/ash", "-ec"]\nENTRYPOINT go', ["/bin/ash", "-ec", "go"], None),
        ("ENTRYPOINT []\nCMD []", None, None),
    ],
)
def test_entrypoint_and_cmd(
    sampan: Sampan,
    context: Path,
    rows: str,
    entrypoint: list[str] | None,
    command: list[str] | None,
) -> None:
    """D11."""
    assert build(
        sampan, context, 'FROM busybox\nENTRYPOINT ["old"]\nCMD ["c"]\n', "-t", "with-cmd"
    ).id
    made = config(sampan, build(sampan, context, f"FROM localhost/with-cmd\n{rows}\n").id)["Config"]
    assert (made.get("Entrypoint"), made.get("Cmd")) == (entrypoint, command)


def test_users_of_a_run(sampan: Sampan, context: Path) -> None:
    """D21: a number needs no entry; a name that nobody has is refused at its line."""
    if not has_subordinate_ids():
        pytest.skip("one id: root alone")
    rows = (
        "FROM busybox\n"
        "USER 1234\n"
        "RUN id -u > /tmp/a; id -g >> /tmp/a; echo $HOME >> /tmp/a\n"
        "USER user:mail\n"
        "RUN id -g > /tmp/b\n"
        "ENV U=user\n"
        "USER $U\n"
        "RUN id -u >> /tmp/b\n"
    )
    built = build(sampan, context, rows)
    assert shell(sampan, built.id, "cat /tmp/a") == "1234\n0\n/"
    missing = build(sampan, context, "FROM busybox\nUSER nobodyhere\nRUN true\n")
    assert missing.status != 0
    assert "Dockerfile:3" in missing.err
    assert "nobodyhere" in missing.err


def test_secrets_are_seen_and_stay_nowhere(sampan: Sampan, context: Path, tmp_path: Path) -> None:
    """D18."""
    secret = tmp_path / "secret"
    value = os.urandom(16).hex()
    secret.write_text(value)
    rows = (
        "FROM busybox\n"
        "RUN --mount=type=secret,id=s,target=/secret/s cat /secret/s | md5sum > /sum\n"
        "RUN --mount=type=secret,id=s stat -c '%a %u' /run/secrets/s > /mode; rm -f /nothing\n"
        'RUN --mount=type=secret,id=s,env=TOKEN test -n "$TOKEN" && echo $TOKEN | wc -c > /length\n'
        "RUN --mount=type=secret,id=absent test ! -e /run/secrets/absent\n"
    )
    built = build(sampan, context, rows, "--secret", f"id=s,src={secret}", "-t", "secretive")
    assert (
        shell(
            sampan, built.id, "cat /mode /length; ls -d /secret /run/secrets/* 2>/dev/null || true"
        )
        == "400 0\n33"
    )
    out = tmp_path / "saved"
    sampan.text("save", "-q", "-o", str(out), "secretive")
    for place in (out, sampan.root, sampan.run_dir):
        found = subprocess.run(
            ["grep", "-rla", value, str(place)], capture_output=True, check=False
        )
        assert found.stdout == b"", place
    secret.write_text("another")
    assert build(sampan, context, None, "--secret", f"id=s,src={secret}").done == []
    missing = build(
        sampan, context, "FROM busybox\nRUN --mount=type=secret,id=must,required=true true\n"
    )
    assert "secret must: not found" in missing.err


def test_a_cache_mount_lasts_and_is_no_part_of_the_image(sampan: Sampan, context: Path) -> None:
    """D19."""
    name = os.urandom(4).hex()
    rows = (
        f"FROM busybox\n"
        f"RUN --mount=type=cache,id={name},target=/foo/bar,mode=0711 date >> /foo/bar/log; "
        "wc -l < /foo/bar/log > /count; stat -c %%a /foo/bar >> /count # %s\n"
    )
    built = build(sampan, context, rows % 1)
    assert shell(sampan, built.id, "cat /count; ls -d /foo 2>/dev/null || true") == "1\n711"
    assert shell(sampan, build(sampan, context, rows % 2).id, "cat /count") == "2\n711"
    other = rows.replace("mode=0711", "mode=0700")
    assert shell(sampan, build(sampan, context, other % 3).id, "cat /count") == "1\n700"


def test_a_locked_cache_mount_is_waited_for(sampan: Sampan, context: Path) -> None:
    name = os.urandom(4).hex()
    rows = (
        f"FROM busybox\n"
        f"RUN --mount=type=cache,id={name},target=/c,sharing=locked mkdir /c/lock && sleep 3 && rmdir /c/lock # %d\n"
    )
    found: list[Built] = []

    def one(number: int) -> None:
        place = context / str(number)
        place.mkdir()
        found.append(build(sampan, place, rows % number))

    threads = [threading.Thread(target=one, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [built.status for built in found] == [0, 0]
    assert any("waiting for cache mount /c" in built.err for built in found)


def test_files_of_stages_and_of_the_context_are_mounted(sampan: Sampan, context: Path) -> None:
    (context / "f").write_text("of the context")
    (context / "left").write_text("out")
    (context / ".dockerignore").write_text("left\n")
    rows = (
        "FROM busybox AS other\nRUN mkdir /o && echo other > /o/f\n"
        "FROM busybox\n"
        "RUN --mount=type=bind,target=/ctx cat /ctx/f > /a && test ! -e /ctx/left && ! touch /ctx/new\n"
        "RUN --mount=from=other,source=/o,target=/o,rw cat /o/f > /b && touch /o/new\n"
        "RUN --mount=from=other,source=/o/f,target=/file cat /file >> /b; ls /o 2>/dev/null >> /b || true\n"
        "RUN --mount=type=tmpfs,target=/t,size=1m touch /t/x && df /t | grep -q 1024 && ls / | grep -c '^t$' > /c\n"
    )
    built = build(sampan, context, rows)
    assert (
        shell(sampan, built.id, "cat /a /b; ls -d /ctx /o /file /t 2>/dev/null || true")
        == "of the contextother\nother"
    )
    (context / "f").write_text("changed")
    assert build(sampan, context).done[0].startswith("RUN --mount=type=bind")


def test_one_of_two_builds_makes_what_both_need(sampan: Sampan, context: Path) -> None:
    rows = f"FROM busybox\nRUN sleep 2; echo {os.urandom(4).hex()} > /x\n"
    (context / "Dockerfile").write_text(rows)
    found: list[Built] = []
    threads = [
        threading.Thread(target=lambda: found.append(build(sampan, context))) for _ in range(3)
    ]
    begun = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert time.monotonic() - begun < 5
    assert len({built.id for built in found}) == 1
    assert sorted(len(built.done) for built in found) == [0, 0, 1]


def test_a_killed_build_leaves_nothing(sampan: Sampan, context: Path) -> None:
    (context / "Dockerfile").write_text("FROM busybox\nRUN echo begun; sleep 60\n")
    process = sampan.spawn(
        "build", "--no-cache", "--progress", "plain", str(context), stderr=subprocess.PIPE
    )
    assert process.stderr is not None
    for line in process.stderr:
        if b"begun" in line and b"RUN" not in line:
            break
    process.kill()
    process.wait()
    until = time.monotonic() + 10
    containers = sampan.root / "containers"
    while list(containers.iterdir()) and time.monotonic() < until:
        time.sleep(0.05)
    assert [name for name in sampan.leftovers() if not name.startswith("leases")] == []


def test_the_same_context_has_one_digest(sampan: Sampan, fresh: Sampan, context: Path) -> None:
    (context / "f").write_text("x")
    rows = (
        "FROM busybox\n"
        "COPY f /d/f\n"
        "RUN date > /dev/null; mkdir /made; cp /d/f /made/; chmod 4711 /made/f\n"
        "WORKDIR /w/x\n"
    )
    found: set[str] = set()
    fresh.text("pull", "-q", "busybox")
    for one in (sampan, fresh):
        for driver in ("overlay", "fuse-overlayfs", "vfs"):
            os.utime(context / "f")
            made = Built(
                one(
                    "--storage-driver",
                    driver,
                    "build",
                    "--no-cache",
                    "--source-date-epoch",
                    "1700000000",
                    str(context),
                )
                if (context / "Dockerfile").exists()
                else one(
                    "--storage-driver",
                    driver,
                    "build",
                    "--source-date-epoch",
                    "1700000000",
                    "-f",
                    "-",
                    str(context),
                    input=rows.encode(),
                )
            )
            found.add(config(one, made.id)["Digest"])
    assert len(found) == 1


def test_squashed_layers_are_one(sampan: Sampan, context: Path) -> None:
    rows = "FROM busybox\nRUN mkdir /d; echo big > /d/big; ln /d/big /d/same\nRUN rm /d/big; rm /bin/yes\n"
    plain, squashed = build(sampan, context, rows), build(sampan, context, None, "--squash")
    assert len(config(sampan, squashed.id)["RootFS"]["Layers"]) == 2
    look = "ls /d; ls /bin | wc -l"
    assert shell(sampan, plain.id, look) == shell(sampan, squashed.id, look)
    everything = config(sampan, build(sampan, context, None, "--squash-all").id)
    assert len(everything["RootFS"]["Layers"]) == 1


def test_a_build_elsewhere_takes_the_cache_of_this_one(
    sampan: Sampan, fresh: Sampan, registry: str, context: Path, tmp_path: Path
) -> None:
    (context / "f").write_text(os.urandom(8).hex())
    rows = "FROM busybox AS made\nCOPY f /f\nRUN date > /out\nFROM busybox\nCOPY --from=made /out /out\nRUN cat /out\n"
    name = f"{registry}/cache:{os.urandom(4).hex()}"
    first = build(
        sampan, context, rows, "--cache-to", f"type=registry,ref={name},mode=max", "--cache-to",
        f"type=local,dest={tmp_path}/cache,mode=max",
    )  # fmt: skip
    for source in (f"type=registry,ref={name}", f"type=local,src={tmp_path}/cache"):
        again = build(fresh, context, None, "--cache-from", source)
        assert (again.done, again.id) == ([], first.id)
        assert shell(fresh, again.id, "cat /out") == shell(sampan, first.id, "cat /out")
        fresh.text("rmi", "-f", again.id)
        fresh.text("builder", "prune", "-af")
    lost = build(
        fresh, context, None, "--cache-from", f"type=registry,ref={registry}/nothing:there"
    )
    assert lost.status == 0
    assert "no build cache" in lost.err


def test_the_cache_is_in_the_image(
    sampan: Sampan, fresh: Sampan, registry: str, context: Path
) -> None:
    rows = (
        "FROM busybox AS made\n"
        "RUN date > /out\n"
        "FROM busybox\n"
        "COPY --from=made /out /out\n"
        "RUN cat /out; date > /when\n"
    )
    name = f"{registry}/inline:{os.urandom(4).hex()}"
    first = build(sampan, context, rows, "--cache-to", "type=inline", "-t", name)
    sampan.text("push", "-q", name)
    again = build(fresh, context, None, "--cache-from", name)
    assert again.done == []
    assert config(fresh, again.id)["RootFS"] == config(sampan, first.id)["RootFS"]
