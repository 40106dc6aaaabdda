"""The words of a moved container: what `create` makes of them is what the container had."""

from __future__ import annotations

from typing import Any, cast

import pytest

from optionmaker import chosen
from sampan.engine import move_words
from sampan.errors import CorruptError
from sampan.model.container import Record

ALL = [
    ["--env", "A=1\n2", "--env", "B=", "--label", "x=y=z", "--label", "bare", "--annotation", "a=b"],
    ["--entrypoint", '["/bin/sh", "-c", "a b"]'],
    ["--entrypoint", ""],
    ["--entrypoint", "-x"],
    ["--tty", "--interactive", "--privileged", "--read-only", "--read-only-tmpfs=false", "--no-hosts"],
    ["--cap-add", "ALL", "--cap-drop", "CHOWN", "--group-add", "5", "--user", "1:2", "--workdir", "/w"],
    ["--security-opt", "mask=/a:/b", "--security-opt", "unmask=ALL", "--security-opt", "nest"],
    ["--security-opt", "seccomp=unconfined", "--security-opt", "no-new-privileges"],
    ["--ulimit", "nofile=-1", "--ulimit", "core=0:5", "--sysctl", "net.ipv4.ip_forward=1"],
    ["--add-host", "six:[fe80::1]", "--dns", "1.2.3.4", "--dns-search", "x", "--dns-opt", "ndots:2"],
    ["--hostname", "h", "--pid", "host", "--ipc", "none", "--cgroupns", "host", "--userns", "keep-id:uid=5,gid=6"],
    ["--uts", "host", "--network", "host", "--uidmap", "0:0:1", "--gidmap", "0:0:1"],
    ["--oom-score-adj", "-5", "--umask", "077", "--tz", "UTC", "--timeout", "7", "--stop-timeout", "0"],
    ["--stop-signal", "RTMIN+3", "--log-driver", "none", "--log-opt", "max-size=1m"],
    ["--restart", "on-failure:4"],
    ["--restart", "unless-stopped"],
    ["--memory", "64m", "--memory-swap", "-1", "--memory-reservation", "32m", "--pids-limit", "-1"],
    ["--cpus", "0.5", "--cpu-shares", "1000", "--cpuset-cpus", "0", "--blkio-weight", "300"],
    ["--cpu-quota", "-1", "--cgroup-conf", "memory.high=1000000000"],
    ["--cgroups", "disabled", "--shm-size", "3k", "--image-volume", "ignore", "--unsetenv", "X"],
    ["--unsetenv-all"],
    ["--tmpfs", "/a:size=1m,mode=700", "--tmpfs", "/b:tmpcopyup,exec", "--tmpfs", "/c"],
    ["--volume", "name:/v:ro,U,nocopy", "--mount", "type=volume,source=n2,target=/w,subpath=a/b"],
    ["--volume", "/tmp:/a,b:ro,rslave", "--mount", 'type=bind,source=/tmp,"target=/q,x",bind-recursive=disabled'],
    ["--mount", "type=devpts,target=/pts,uid=3,mode=0600"],
    ["--device", "/dev/null:/dev/x:r"],
    ["--network", "slirp4netns", "-p", "0.0.0.0:8080-8081:80-81", "-p", "[::1]:53:53/udp", "--expose", "99/udp"],
]  # fmt: skip


OWN = (1000, 1001)


def record(options: Any) -> Record:
    return cast(Record, {"name": options["name"], "options": options})


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_words_make_the_same_options(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    before = chosen("--name", "box", "--no-healthcheck", *words)
    made = move_words.check(move_words.words(record({**before, "health": None}), OWN))
    after = chosen(*made)
    for mount in [*before["mounts"], *after["mounts"]]:
        mount["options"] = set(mount["options"])  # their order means nothing
    assert after == before


def test_a_health_check_keeps_its_times() -> None:
    check = {
        "test": ["CMD", "a b", "c"], "interval": 0.0, "timeout": 0.25, "start_period": 0.0, "start_interval": 90.5,
        "retries": 4, "on_failure": "kill",
    }  # fmt: skip
    before = chosen("--name", "box")
    made = chosen(*move_words.words(record({**before, "health": check}), OWN))
    assert made["health"] == check  # pyright: ignore[reportTypedDictNotRequiredAccess]


def test_keep_id_keeps_the_ids_inside() -> None:
    before = chosen("--name", "box", "--userns", "keep-id:gid=7")
    assert "--userns=keep-id:uid=1000,gid=7" in move_words.words(record(before), OWN)


@pytest.mark.parametrize(
    "word",
    [
        "--volumes-from=x",
        "--secret=x",
        "--env",
        "-e=A=b",
        "image",
        "--env=A",
        "--pull=always",
        "--rm=true",
    ],
)
def test_other_words_are_refused(word: str) -> None:
    with pytest.raises(CorruptError):
        move_words.check(["--name=x", word])
