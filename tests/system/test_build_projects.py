"""Dockerfiles in the manner of well-known projects, each cold, once more, and run: what they use together."""

from __future__ import annotations

from pathlib import Path

import pytest

from copysteps import tree
from system.test_build_steps import build, config, shell
from system_tools import Sampan, has_subordinate_ids


@pytest.fixture
def context(tmp_path: Path) -> Path:
    place = tmp_path / "context"
    place.mkdir()
    return place


def twice(sampan: Sampan, context: Path, text: str, *words: str) -> str:
    """The id of the image; a second build makes nothing anew and comes to the same."""
    first = build(sampan, context, text, *words)
    again = build(sampan, context, None, *words)
    assert (again.id, again.done) == (first.id, [])
    return first.id


def test_tools_on_scratch(sampan: Sampan, context: Path) -> None:
    """As kaniko: a program of another image runs on an image that is empty, and stages part and meet."""
    tree(context, "files/nsswitch=hosts: files", "cmd/executor=run", "cmd/warmer=warm")
    text = (
        "FROM busybox AS builder\nWORKDIR /src\nARG TARGETARCH TARGETOS\nENV GOARCH=$TARGETARCH GOOS=$TARGETOS\n"
        "RUN mkdir -p /kaniko/.docker\nCOPY . .\n"
        "RUN \\\n  --mount=type=cache,target=/root/.cache/go-build \\\n  --mount=type=cache,target=/go/pkg \\\n"
        "  mkdir out && for n in executor warmer; do cat cmd/$n > out/$n; echo $GOOS/$GOARCH >> out/$n; done\n"
        "FROM busybox AS tools\n"
        "FROM scratch AS slim\n"
        'RUN --mount=from=tools,dst=/usr/ ["/usr/bin/busybox", "sh", "-c", "mkdir -p /kaniko && chmod 777 /kaniko"]\n'
        "COPY files/nsswitch /etc/nsswitch.conf\nENV HOME=/root\nENV PATH=/usr/local/bin:/kaniko\n"
        "FROM slim AS base\nCOPY --from=builder /kaniko/.docker /kaniko/.docker\nWORKDIR /workspace\n"
        "FROM base AS executor\nCOPY --from=builder --chown=0:0 /src/out/executor /kaniko/executor\n"
        'ENTRYPOINT ["/kaniko/executor"]\n'
        "FROM executor AS debug\nENV PATH=/usr/local/bin:/kaniko:/busybox\n"
        "COPY --from=builder /src/out/warmer /kaniko/warmer\nCOPY --from=tools /bin /busybox\nVOLUME /busybox\n"
        'RUN ["/busybox/mkdir", "-p", "/bin"]\nRUN ["/busybox/ln", "-s", "/busybox/sh", "/bin/sh"]\n'
        "FROM slim AS last\nCOPY --from=builder /src/out/executor /kaniko/executor\n"
    )
    made = twice(sampan, context, text, "--target", "debug")
    show = "cat /kaniko/executor /etc/nsswitch.conf; /busybox/stat -c %a /kaniko; /busybox/readlink /bin/sh; pwd"
    assert shell(sampan, made, show).split() == [
        "runlinux/amd64", "hosts:", "files777", "/busybox/sh", "/workspace",
    ]  # fmt: skip
    last = twice(sampan, context, text)
    assert set(config(sampan, last)["Config"]["Env"]) == {
        "HOME=/root",
        "PATH=/usr/local/bin:/kaniko",
    }


def test_a_web_application(sampan: Sampan, context: Path) -> None:
    """As awesome-compose: arguments that become variables and ports, heredocs, a stage for developers."""
    tree(
        context,
        "package=p",
        "lock=l",
        "src/index=i",
        "node_modules/x=no",
        ".dockerignore=node_modules",
    )
    text = (
        "# syntax=docker/dockerfile:1.4\nARG BASE=busybox\nFROM --platform=$BUILDPLATFORM ${BASE} AS development\n"
        "ARG NODE_ENV=production\nENV NODE_ENV $NODE_ENV\nWORKDIR /code\nARG PORT=80\nENV PORT $PORT\n"
        "EXPOSE $PORT 9229 9230\nCOPY package /code/package\nCOPY lock /code/lock\nRUN cat package lock > installed\n"
        "HEALTHCHECK --interval=30s \\\n  CMD cat healthcheck\n# the source last, it changes the most\nCOPY . /code\n"
        'CMD [ "cat", "src/index" ]\n'
        "FROM development as dev-envs\nRUN <<EOF\nset -e\n"
        "echo docker:x:101:vscode >> /etc/group\necho vscode:x:100:101::/:/bin/sh >> /etc/passwd\nEOF\n"
        "COPY <<-EOT /etc/motd\n\twelcome to $PORT\nEOT\nCOPY --from=busybox / /tools/\nUSER vscode\n"
    )
    made = twice(sampan, context, text, "--build-arg", "PORT=8080", "--format", "docker")
    inner = config(sampan, made)["Config"]
    assert sorted(inner["ExposedPorts"]) == ["8080/tcp", "9229/tcp", "9230/tcp"]
    assert inner["User"] == "vscode" and inner["Healthcheck"]["Test"] == [
        "CMD-SHELL",
        "cat healthcheck",
    ]
    assert {"NODE_ENV=production", "PORT=8080"} <= set(inner["Env"])
    show = "ls; cat installed /etc/motd; test -x /tools/bin/sh && id -gn vscode"
    told = sampan.text("run", "--rm", "--user", "0", made, "sh", "-c", show)
    assert told.split() == [
        "Dockerfile", "installed", "lock", "package", "src", "plwelcome", "to", "8080", "docker",
    ]  # fmt: skip
    assert sampan.text("run", "--rm", "--user", "0", made) == "i"


def test_all_that_makes_metadata(sampan: Sampan, context: Path) -> None:
    """As charliecloud: a user that nobody has made yet, and volumes that are no paths."""
    text = (
        'FROM busybox\nCMD ["bar", "baz"]\nENTRYPOINT ["/bin/echo","foo"]\nENV ch_foo=foo-ev ch_bar=bar-ev\n'
        'EXPOSE 867 5309/udp\nHEALTHCHECK --interval=60s --timeout=5s CMD ["/bin/true"]\nLABEL ch-foo=foo-label\n'
        "MAINTAINER charlie@example.com\nONBUILD RUN echo hello > /told\nRUN echo hello\n"
        'RUN ["/bin/echo", "world"]\nSHELL ["/bin/ash", "-c"]\nSTOPSIGNAL SIGWINCH\nUSER charlie:chargrp\n'
        "WORKDIR /mnt\nVOLUME /mnt/foo /mnt/bar /mnt/foo\nVOLUME ['/etc/foo', '/etc/bar']\n"
    )
    made = twice(sampan, context, text, "--format", "docker", "-t", "metadata")
    inner = config(sampan, made)["Config"]
    assert sorted(inner["Volumes"]) == ["/etc/bar]", "/mnt/bar", "/mnt/foo", "[/etc/foo,"]
    assert (inner["User"], inner["StopSignal"]) == ("charlie:chargrp", "SIGWINCH")
    assert sampan.text("run", "--rm", "--user", "0", made) == "foo bar baz"
    find = ["--entrypoint", "find", made, "/[", "/etc/bar]", "-print"]
    assert sampan.text("run", "--rm", "--user", "0", *find).split() == [
        "/[", "/[/etc", "/[/etc/foo,", "/etc/bar]",
    ]  # fmt: skip
    child = build(sampan, context, "FROM metadata\n")
    assert child.status != 0 and "unable to find user charlie" in child.err, "its RUN of ONBUILD"


def test_owners_of_what_is_copied_into_what(sampan: Sampan, context: Path) -> None:
    """As moby's own test: a new directory is root's or the named one's, one that is there stays as it is."""
    if not has_subordinate_ids():
        pytest.skip("other owners are seen with subordinate ids alone")
    text = (
        "FROM busybox AS source\nRUN touch /file && chown 100:200 /file && mkdir -p /dir/subdir "
        "&& touch /dir/subdir/nested && chown 100:200 /dir && chown 101:201 /dir/subdir "
        "&& chown 102:202 /dir/subdir/nested\n"
        "FROM busybox AS base\nRUN mkdir -p /there/in && touch /there/file && chown 500:600 /there "
        "&& chown 501:601 /there/in /there/file\n"
        "FROM base AS plain\nCOPY --from=source /file .\nCOPY --from=source /dir /dir\n"
        "COPY --from=source /dir/. /there\n"
        "FROM base AS chowned\nCOPY --from=source --chown=300:400 /file .\n"
        "COPY --from=source --chown=300:400 /dir /dir\nCOPY --from=source --chown=300:400 /dir/. /there\n"
    )
    paths = "/file /dir /dir/subdir /dir/subdir/nested /there /there/in /there/file /there/subdir"
    kept = "100:200 0:0 101:201 102:202 500:600 501:601 501:601 101:201"
    given = "300:400 300:400 300:400 300:400 500:600 501:601 501:601 300:400"
    for target, owners in (("plain", kept), ("chowned", given)):
        made = twice(sampan, context, text, "--target", target)
        assert shell(sampan, made, f"stat -c %u:%g {paths}").split() == owners.split()
