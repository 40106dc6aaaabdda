"""What podman's users type before the verb, and how commands answer: flags, levels, help, refusals."""

from __future__ import annotations

from pathlib import Path

import pytest

from sampan.cli import ABSENT, CONTAINER, VERBS
from system_tools import BUSYBOX, Sampan


def failed(sampan: Sampan, *words: str, status: int = 125) -> str:
    """The error of a command that must fail."""
    result = sampan(*words)
    assert result.returncode == status, (words, result.returncode, result.stderr)
    return result.stderr.decode().rstrip("\n")


def test_global_flags_stand_before_and_after_the_verb(sampan: Sampan, tmp_path: Path) -> None:
    sampan.text("create", "--name", "here", BUSYBOX)
    root = ["--root", str(tmp_path / "elsewhere")]
    assert sampan.text(*root, "ps", "-aq") == sampan.text("ps", "-aq", *root) == ""
    assert sampan.text("ps", "-aq") != ""
    assert sampan.text("info", "--volumepath=/v", "--format", "{{.Store.VolumePath}}") == "/v"
    assert "needs an argument" in failed(sampan, "--root")


def test_noout(sampan: Sampan) -> None:
    assert sampan.text("--noout", "create", "--name", "quiet", BUSYBOX) == ""
    assert sampan.text("--noout", "rm", "quiet") == ""
    assert sampan.text("--noout", "run", "--rm", BUSYBOX, "echo", "x") == ""


def test_log_levels(sampan: Sampan) -> None:
    levels = ("trace", "debug", "info", "warn", "error")
    for position, level in enumerate(levels):
        told = sampan("--log-level", level, "info").stderr.decode()
        for other in ("trace", "debug", "info"):
            shown = levels.index(other) >= position
            assert (f" level={other} " in told) == shown, (level, other, told)
    for flag in ("--debug", "-D"):
        assert " level=debug " in sampan(flag, "info").stderr.decode()
    text = failed(sampan, "--log-level=telepathic", "info", status=1)
    assert text.startswith('Log Level "telepathic" is not supported, choose from: trace, ')
    text = failed(sampan, "--debug", "--log-level=panic", "info", status=1)
    assert text == "Setting --log-level and --debug is not allowed"


@pytest.mark.parametrize("flag", ["--remote", "--url=x", "--connection=x", "--context=swarm"])
def test_there_is_no_remote_client(sampan: Sampan, flag: str) -> None:
    assert "no remote client" in failed(sampan, flag, "ps")
    assert "Usage:" in sampan(flag).stdout.decode()
    assert sampan(flag).returncode == 125


def test_remote_is_not_offered_where_a_service_is_named(sampan: Sampan) -> None:
    assert " --remote " in sampan.text("--help")
    assert " --remote " not in sampan.text("--url", "x", "--help")
    assert " --remote " not in sampan.text("--help", env={"CONTAINER_HOST": "x"})
    assert sampan.text("--context=default", "ps", "-q") == ""


def test_flags_of_parts_that_sampan_lacks(sampan: Sampan) -> None:
    for flag in ("--storage-opt=x", "--conmon=/bin/true", "--tmpdir=/x"):
        assert "is not supported: sampan has" in failed(sampan, flag, "ps")
    text = failed(sampan, "--runtime-flag", "invalidflag", "run", "--rm", BUSYBOX, status=126)
    assert "unknown flag --invalidflag of the runtime" in text
    assert "--config flag is ignored" in sampan("--config", "x", "version").stderr.decode()
    assert (
        failed(sampan, "--bogus", "ps")
        == "Error: sampan: unknown flag: --bogus; see 'sampan --help'"
    )


def test_every_command_has_help_and_takes_no_more_than_it_says(sampan: Sampan) -> None:
    commands = [[verb] for verb in VERBS if verb not in ("image", "plugin")]
    commands += [["container", verb] for verb in CONTAINER]
    for words in commands:
        text = sampan.text(*words, "--help")
        lines = text.splitlines()
        usage = lines[lines.index("Usage:") + 1]
        assert usage.startswith("  sampan "), usage
        if usage.endswith("[options]"):
            assert "takes no arguments" in failed(sampan, *words, "invalid-arg"), words
    for group in ("container", "image", *ABSENT):
        assert f"missing command 'sampan {group} COMMAND'" in failed(sampan, group)
        assert sampan.text("help", group).startswith("Manage ")
    assert sampan.text("help", "run") == sampan.text("run", "--help")


def test_clean_up_of_what_is_not_there_is_no_error(sampan: Sampan) -> None:
    for words in (
        "pod rm -t 0 --all --force --ignore",
        "pod ps --noheading",
        "network prune --force",
        "volume rm --all",
        "volume prune -f",
        "volume ls -q",
        "secret ls -q",
    ):
        assert sampan.text(*words.split()) == "", words
    for kind in ("pod", "secret"):
        assert failed(sampan, kind, "exists", "x", status=1) == ""
        assert f"no such {kind}" in failed(sampan, kind, "rm", "x", status=1)
    assert "yet" in failed(sampan, "pod", "create", "x")
    assert sampan("network", "exists", "none").returncode == 0


def test_fields_of_info(sampan: Sampan) -> None:
    template = (
        "{{.Host.Arch}} {{.Host.Distribution.Distribution}} {{.Host.OCIRuntime.Name}} "
        "{{.Host.Security.Rootless}} {{.Host.EventLogger}} {{.Host.LogDriver}} {{.Host.CgroupsVersion}} "
        "{{.Host.Conmon.Path}} {{.Store.GraphOptions}} {{.Store.ConfigFile}}"
    )
    words = sampan.text("info", "--format", template).split(" ")
    assert words[2:7] == ["native", "true", "none", "k8s-file", words[6]]
    assert words[6] in ("v1", "v2") and words[7].startswith("/")
    assert words[8] == "map[]" and words[9].endswith("/sampan.toml")
