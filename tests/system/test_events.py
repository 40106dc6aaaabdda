"""Events: told by whoever did it, in order, and followed without a daemon."""

from __future__ import annotations

import json
import os
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from system_tools import BUSYBOX, Sampan, until


def told(sampan: Sampan, *words: str) -> list[dict[str, Any]]:
    text = sampan.text("events", "--stream=false", "--format", "json", *words)
    return [json.loads(line) for line in text.splitlines()]


def statuses(sampan: Sampan, *words: str) -> list[str]:
    return [event["Status"] for event in told(sampan, *words)]


def test_the_life_of_a_container(sampan: Sampan) -> None:
    begun = str(time.time())
    sampan.text("run", "--rm", "--name", "one", "-l", "k=v", BUSYBOX, "true")
    since = ["--since", begun, "--filter", "container=one"]
    assert statuses(sampan, *since) == ["create", "start", "died", "remove"]
    assert statuses(sampan, *since, "--filter", "event=die") == ["died"], "Docker's word for it"
    assert statuses(sampan, *since, "--filter", "label=k=w") == []
    event = told(sampan, *since, "--filter", "event=died", "--filter", "label=k=v")[0]
    assert event["ContainerExitCode"] == 0 and event["Attributes"]["k"] == "v"
    assert event["Actor"]["Attributes"]["name"] == "one" and event["Image"].endswith(
        "busybox:latest"
    )
    line = sampan.text("events", "--stream=false", *since, "--filter", "event=start")
    assert f" container start {event['ID']} (image=" in line and ", name=one, k=v)" in line
    short = sampan.text(
        "events", "--stream=false", "--no-trunc=false", *since, "--filter", "event=start"
    )
    assert f" {event['ID'][:12]} (" in short


def test_stop_kill_rename_and_volumes(sampan: Sampan) -> None:
    begun = str(time.time())
    sampan.text("run", "-d", "--name", "two", BUSYBOX, "sleep", "100")
    sampan.text("stop", "-t", "0", "two")
    sampan.text("start", "two")
    sampan.text("kill", "two")
    sampan.text("rm", "two")
    assert statuses(sampan, "--since", begun, "--filter", "type=container") == [
        "create", "start", "died", "stop", "start", "kill", "died", "remove",
    ]  # fmt: skip
    sampan.text("volume", "create", "vol")
    sampan.text("volume", "rm", "vol")
    assert statuses(sampan, "--since", begun, "--filter", "volume=vol") == ["create", "remove"]
    sampan.text("tag", BUSYBOX, "localhost/other")
    sampan.text("untag", BUSYBOX, "localhost/other")
    assert statuses(sampan, "--since", begun, "--filter", "type=image") == ["tag", "untag"]


def test_a_follower_hears_until_the_given_moment(sampan: Sampan) -> None:
    follower = sampan.spawn(
        "events", "--filter", "container=three", "--format", "{{.Status}}", stdout=subprocess.PIPE
    )
    assert follower.stdout
    time.sleep(0.5)
    sampan.text("run", "--rm", "--name", "three", BUSYBOX, "true")
    heard = [follower.stdout.readline().decode().strip() for _ in range(4)]
    assert heard == ["create", "start", "died", "remove"]
    follower.terminate()
    follower.wait()
    begun = time.monotonic()
    assert sampan("events", "--until", str(time.time() + 1)).returncode == 0
    assert 0.8 < time.monotonic() - begun < 5


def test_a_log_that_has_grown_is_renewed(fresh: Sampan) -> None:
    """Nothing is lost at the turn, to a follower neither; the oldest log is forgotten."""
    fresh.text("volume", "create", "first")
    log = fresh.root / "events"
    line = log.read_bytes()
    padding = json.dumps({**json.loads(line), "ID": "padding", "Name": "padding"}).encode() + b"\n"
    log.write_bytes(line + padding * (5_000_000 // len(padding)))
    follower = fresh.spawn(
        "events", "--since", "1h", "--filter", "volume=second", "--format", "{{.Status}}", stdout=subprocess.PIPE
    )  # fmt: skip
    time.sleep(1)
    fresh.text("volume", "create", "second")
    fresh.text("volume", "rm", "second")
    assert 2_000_000 < log.stat().st_size < 3_000_000
    assert follower.stdout and follower.stdout.readline() == b"create\n"
    assert follower.stdout.readline() == b"remove\n"
    follower.terminate()
    follower.wait()
    assert statuses(fresh, "--filter", "volume=first") == []
    assert statuses(fresh, "--filter", "volume=second") == ["create", "remove"]
    assert statuses(fresh, "--filter", "type=system") == ["log-rotation"]


def test_many_writers_and_a_small_log(fresh: Sampan, tmp_path: Path) -> None:
    """The log is made anew all the time while eight commands write: a follower misses nothing."""
    conf = tmp_path / "sampan" / "sampan.toml"
    conf.parent.mkdir()
    conf.write_text(f'events_file = "{tmp_path}/log"\nevents_max_size = "3000"\n')
    fresh.environment["XDG_CONFIG_HOME"] = str(tmp_path)
    follower = fresh.spawn(
        "events", "--filter", "event=create", "--format", "{{.Name}}", stdout=subprocess.PIPE
    )
    time.sleep(0.5)

    def create(first: int) -> None:
        for number in range(first, first + 10):
            fresh.text("volume", "create", f"v{number}")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(create, range(0, 80, 10)))
    assert follower.stdout
    heard = [follower.stdout.readline().decode().strip() for _ in range(80)]
    assert sorted(heard) == sorted(f"v{number}" for number in range(80))
    follower.terminate()
    follower.wait()
    assert (tmp_path / "log").stat().st_size < 3500
    assert not (fresh.root / "events").exists()
    fresh.text("volume", "prune", "-f")


def test_podman_s_file_of_settings(fresh: Sampan, tmp_path: Path) -> None:
    """CONTAINERS_CONF: of it the keys count that have a meaning here; a log that podman wrote can be read."""
    log, conf = tmp_path / "log", tmp_path / "containers.conf"
    log.write_text(
        '{"Name":"busybox","Status":"pull","Time":"2022-04-06T11:26:42.723667984+02:00","Type":"image","Attributes":null}\n'
    )
    conf.write_text(
        f'[engine]\nevents_logfile_path = "{log}"\nevents_logger = "file"\n[network]\nx = 1\n'
    )
    named = {"CONTAINERS_CONF": str(conf)}
    fresh.text("volume", "create", "a", env=named)
    told = fresh.text(
        "events",
        "--stream=false",
        "--format",
        "{{.Time}} {{.Type}} {{.Status}} {{.Name}}",
        env=named,
    )
    first, second = told.splitlines()
    assert first.endswith("image pull busybox") and "09:26:42.723667984 +0000" in first
    assert second.endswith("volume create a")
    conf.write_text("[engine\n")
    assert b"CONTAINERS_CONF names it" in fresh("ps", env=named).stderr
    fresh.text("volume", "rm", "a")


def test_a_damaged_line_harms_nobody(fresh: Sampan) -> None:
    fresh.text("volume", "create", "a")
    with (fresh.root / "events").open("ab") as file:
        file.write(b'{"Time": 1, "Ty\n\0\xff\n{"Time": "x", "Type": 1, "Status": 2}\n[]\n')
    fresh.text("volume", "create", "b")
    assert statuses(fresh) == ["create", "create"]
    assert fresh("events", "--stream=false", "--filter", "colour=red").returncode == 125
    fresh.text("--events-backend", "none", "volume", "create", "c")
    assert statuses(fresh) == ["create", "create"], "none keeps nothing"
    result = fresh("--events-backend", "none", "events")
    assert (
        result.returncode == 125 and b'cannot read events with the "none" backend' in result.stderr
    )
    assert fresh("--events-backend", "journald", "ps").returncode == 125


def test_a_command_in_the_background(sampan: Sampan) -> None:
    """exec -d: it outlives the command, hears nobody, and ends with the container."""
    sampan.text("run", "-d", "--name", "c", BUSYBOX, "sleep", "100")
    begun = time.monotonic()
    assert (
        len(sampan.text("exec", "-d", "c", "sh", "-c", "echo x; sleep 1; touch /done; sleep 50"))
        == 64
    )
    assert time.monotonic() - begun < 1
    assert sampan("exec", "c", "test", "-e", "/done").returncode == 1
    assert until(lambda: sampan("exec", "c", "test", "-e", "/done").returncode == 0, 5)
    assert sampan("exec", "-d", "c", "missing").returncode == 127
    sampan.text("exec", "-d", "-t", "c", "sh", "-c", "yes | head -c 300000; tty > /tty")
    assert until(lambda: sampan("exec", "c", "cat", "/tty").stdout.startswith(b"/dev/"), 5)
    sampan.text("rm", "-f", "-t", "0", "c")
    found = subprocess.run(["pgrep", "-u", str(os.getuid()), "-f", "sleep 50"], check=False)
    assert found.returncode == 1, "it ends with the container"


def test_units_name_the_program_and_the_store(sampan: Sampan) -> None:
    sampan.text("create", "--name", "web", "--stop-timeout", "7", BUSYBOX, "true")
    unit = sampan.text("generate", "systemd", "--name", "web")
    assert (
        f"ExecStart={sampan.program} --root {sampan.root} --run-dir {sampan.run_dir} start web\n"
        in unit
    )
    assert " stop --time 7 web\n" in unit and "Type=forking\n" in unit and "PIDFile=" in unit
    assert "start --all --filter should-start-on-boot=true\n" in sampan.text("generate", "systemd")
    line = sampan.text("generate", "crontab")
    assert line.startswith(f"@reboot {sampan.program} ") and "\n" not in line
    assert sampan("generate", "systemd", "nobody").returncode == 125
    assert sampan("generate", "kube").returncode == 125


def test_a_checkpoint_is_refused_with_the_reason(sampan: Sampan) -> None:
    for verb in ("checkpoint", "restore"):
        result = sampan("container", verb, "x")
        assert result.returncode == 125 and b"CRIU needs CAP_CHECKPOINT_RESTORE" in result.stderr


def test_a_batch_job_is_told_once(fresh: Sampan) -> None:
    """run -d in a job of a batch system, whose end is the container's: one line, once a session."""
    job = {"SLURM_JOB_ID": "7"}
    first = fresh("run", "-d", BUSYBOX, "true", env=job)
    second = fresh("run", "-d", BUSYBOX, "true", env=job)
    assert first.returncode == second.returncode == 0
    assert b"containers end with this job of Slurm" in first.stderr
    assert b"Slurm" not in second.stderr
