"""The words of `build`, and the request that they make."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sampan.cli.build import VERB
from sampan.cli.build_request import request
from sampan.cli.parse import parse
from sampan.drivers import BuildRequest
from sampan.errors import NotFoundError, SampanError, UnsupportedError, UsageError

VARIABLES = (
    "SSH_AUTH_SOCK",
    "SOURCE_DATE_EPOCH",
    "DOCKER_DEFAULT_PLATFORM",
    "BUILDAH_FORMAT",
    "BUILDAH_LAYERS",
)


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*VARIABLES, "http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "no_proxy",
                 "NO_PROXY", "all_proxy", "ALL_PROXY", "ftp_proxy", "FTP_PROXY"):  # fmt: skip
        monkeypatch.delenv(name, raising=False)


def read(*words: str) -> BuildRequest:
    return request(*parse(VERB, list(words)))


def option(name: str, *words: str) -> Any:
    return read(*words, ".").options[name]


def test_what_is_not_said() -> None:
    made = read(".")
    assert (made.source, made.tags) == (".", [])
    given = {key: value for key, value in made.options.items() if value}
    assert given == {"pull": "missing", "format": "oci", "network": "default"}
    assert made.options["timestamp"] is None and made.options["tls_verify"] is None


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["ctx"], ("ctx", "", False)),
        (["-f", "D", "ctx"], ("ctx", "D", False)),
        (["-f", "a/D"], ("a", "a/D", False)),
        (["-f", "D"], (".", "D", False)),
        (["-"], ("-", "", True)),
        (["-f", "-"], ("-", "", True)),
        (["-f", "-", "ctx"], ("ctx", "-", True)),
        (["https://h/r.git#main"], ("https://h/r.git#main", "", False)),
    ],
)
def test_the_context(words: list[str], expected: tuple[str, str, bool]) -> None:
    made = read(*words)
    assert (made.source, made.options["file"], made.options["stdin"]) == expected


def test_tags_are_full_names_and_each_is_there_once() -> None:
    assert read("-t", "a", "--tag", "h:5/b:1", "-ta:latest", ".").tags == [
        "localhost/a:latest",
        "h:5/b:1",
    ]


@pytest.mark.parametrize(
    ("name", "words", "expected"),
    [
        ("build_arg", ["--build-arg", "A=1=2", "--build-arg", "B", "--build-arg", "GONE"], {"A": "1=2", "B": "here"}),
        ("build_arg", ["--build-arg", "A="], {"A": ""}),
        ("build_context", ["--build-context", "n=https://x/y?a=b"], {"n": "https://x/y?a=b"}),
        ("no_cache_filter", ["--no-cache-filter", "a,b", "--no-cache-filter", "c"], ["a", "b", "c"]),
        ("pull", ["--pull"], "always"),
        ("pull", ["--pull=never"], "never"),
        ("pull", ["--pull=newer"], "newer"),
        ("pull", ["--pull=false"], "missing"),
        ("pull", ["--pull-always"], "always"),
        ("platform", ["--platform", "linux/x86_64"], "linux/amd64"),
        ("platform", ["--platform", "linux/arm64,linux/arm64"], "linux/arm64"),
        ("platform", ["--arch", "arm64"], "linux/arm64"),
        ("secret", ["--secret", "id=a,src=/x,type=file"], [{"id": "a", "src": "/x"}]),
        ("secret", ["--secret", "id=a,env=V"], [{"id": "a", "env": "V"}]),
        ("secret", ["--secret", "type=env,id=a,src=V"], [{"id": "a", "env": "V"}]),
        ("secret", ["--secret", "id=B"], [{"id": "B", "env": "B"}]),
        ("secret", ["--secret", "id=none"], [{"id": "none", "src": "none"}]),
        ("secret", ["--secret", '"id=a","src=/x,y"'], [{"id": "a", "src": "/x,y"}]),
        ("ssh", ["--ssh", "default=/s", "--ssh", "k=/k"], {"default": "/s", "k": "/k"}),
        ("add_host", ["--add-host", "h:1.2.3.4", "--add-host", "i=[::1]"], [("h", "1.2.3.4"), ("i", "::1")]),
        ("label", ["--label", "a=b", "--label", "c"], {"a": "b", "c": ""}),
        ("annotation", ["--annotation", "manifest:a=b", "--annotation", "c=d"], {"a": "b", "c": "d"}),
        ("annotation", ["--annotation", "a:b=c"], {"a:b": "c"}),
        ("squash", ["--squash"], "new"),
        ("squash", ["--layers=false"], "new"),
        ("squash", ["--squash-all"], "all"),
        ("format", ["--format", "docker"], "docker"),
        ("format", ["--format", "v2s2"], "docker"),
        ("timestamp", ["--timestamp", "0"], 0),
        ("timestamp", ["--source-date-epoch", "7"], 7),
        ("network", ["--network", "host"], "host"),
        ("network", ["--network=private"], "default"),
        ("output", ["-o", "out"], [{"type": "local", "dest": "out"}]),
        ("output", ["-o", "-"], [{"type": "tar", "dest": "-"}]),
        ("output", ["-o", 'type=oci,"dest=a,b"', "--push"], [{"type": "oci", "dest": "a,b"}, {"type": "registry"}]),
        ("cache_from", ["--cache-from", "b,c"], [{"type": "registry", "ref": "b"}, {"type": "registry", "ref": "c"}]),
        ("cache_from", ["--cache-from", "type=local,src=d"], [{"type": "local", "src": "d"}]),
        ("cache_to", ["--cache-to", "type=registry,ref=r,mode=max"], [{"type": "registry", "ref": "r", "mode": "max"}]),
        ("cache_to", ["--cache-to", "type=inline"], [{"type": "inline"}]),
        ("run", ["--shm-size", "1m", "--dns", "1.1.1.1"], {"shm_size": 1 << 20, "dns": ["1.1.1.1"]}),
        ("run", ["--ulimit", "nofile=5:6"], {"ulimits": [{"type": "RLIMIT_NOFILE", "soft": 5, "hard": 6}]}),
        ("run", ["--cap-add", "A", "--cap-drop", "B"], {"cap_add": ["A"], "cap_drop": ["B"]}),
        ("run", ["--security-opt", "seccomp=unconfined"], {"seccomp": "unconfined"}),
        ("run", ["--cgroup-parent", "x.slice"], {"cgroup_parent": "x.slice"}),
        ("tls_verify", ["--tls-verify=false"], False),
        ("creds", ["--creds", "a:b"], "a:b"),
        ("no_cache", ["--rm", "--force-rm=false", "--load", "-D", "--provenance=false", "--sbom", "0"], False),
    ],
)  # fmt: skip
def test_options(
    name: str, words: list[str], expected: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("B", "here")
    assert option(name, *words) == expected


def test_a_limit_of_run() -> None:
    found = option("run", "-m", "64m")
    assert found["resources"]["memory"]["limit"] == 64 << 20


def test_what_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "5")
    assert option("timestamp") == 5
    assert option("timestamp", "--timestamp", "6") == 6
    monkeypatch.setenv("DOCKER_DEFAULT_PLATFORM", "linux/arm64")
    assert option("platform") == "linux/arm64"
    assert option("platform", "--platform", "linux/amd64") == "linux/amd64"
    monkeypatch.setenv("https_proxy", "http://p")
    monkeypatch.setenv("NO_PROXY", "local")
    assert option("build_arg") == {"https_proxy": "http://p", "NO_PROXY": "local"}
    assert option("build_arg", "--build-arg", "https_proxy=x")["https_proxy"] == "x"
    assert option("build_arg", "--http-proxy=false") == {}
    monkeypatch.setenv("BUILDAH_LAYERS", "0")
    assert (option("squash"), option("squash", "--layers")) == ("new", "")
    monkeypatch.setenv("SSH_AUTH_SOCK", "/agent")
    assert option("ssh", "--ssh", "default") == {"default": "/agent"}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "no context directory"),
        (["-f", "-", "-"], "cannot be both"),
        (["a", "b"], "at most 1"),
        (["-t", "A B", "."], "A B"),
        (["-t", "x@sha256:" + "0" * 64, "."], "without a digest"),
        (["--build-arg", "=x", "."], "its name is empty"),
        (["--build-context", "x", "."], "--build-context"),
        (["--secret", "src=x", "."], "id= is missing"),
        (["--secret", "id=x,mode=1", "."], "'mode'"),
        (["--secret", "id=x,type=ram", "."], "'ram'"),
        (["--secret", "x", "."], "KEY=VALUE"),
        (["--ssh", "default", "."], "SSH_AUTH_SOCK"),
        (["-o", "dest=x", "."], "type= is missing"),
        (["-o", "a=b,c", "."], "'c' is not KEY=VALUE"),
        (["-o", '"a', "."], "--output"),
        (["--cache-from", "type=registry", "."], "ref= is missing"),
        (["--cache-to", "type=local,src=x", "."], "dest= is missing"),
        (["--cache-to", "type=local,dest=x,mode=mid", "."], "min or max"),
        (["--cache-to", "type=local,dest=x,color=red", "."], "'color'"),
        (["--squash", "--squash-all", "."], "--squash-all"),
        (["--pull=sometimes", "."], "sometimes"),
        (["--pull=never", "--pull-always", "."], "can only set one"),
        (["--timestamp", "soon", "."], "soon"),
        (["--jobs=-1", "."], "negative"),
        (["--layers=some", "."], "'some'"),
        (["--format", "tgz", "."], "tgz"),
        (["--shm-size", "big", "."], "big"),
        (["--add-host", "x", "."], "'x'"),
        (["--annotation", "x", "."], "KEY=VALUE"),
        (["--platform", "a/b/c/d", "."], "a/b/c/d"),
        (["--platform", "linux/amd64", "--arch", "arm64", "."], "--platform"),
    ],
)
def test_what_is_wrong_is_said(words: list[str], told: str) -> None:
    with pytest.raises(UsageError) as caught:
        read(*words)
    assert told in str(caught.value)


def test_a_file_of_credentials_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="none: no such file or directory"):
        read("--authfile", f"{tmp_path}/none", ".")
    (tmp_path / "one").write_text("{}")
    assert option("authfile", "--authfile", f"{tmp_path}/one") == f"{tmp_path}/one"


@pytest.mark.parametrize(
    "words",
    [
        ["-f", "a", "-f", "b"], ["--platform", "linux/amd64,linux/arm64"], ["--ssh", "a=b,c"],
        ["--cache-from", "type=s3,bucket=b"], ["--cache-from", "type=inline"], ["--annotation", "index:a=b"],
        ["--network", "container:x"], ["--attest", "type=sbom"], ["--sbom", "true"], ["--provenance", "mode=max"],
        ["--ipc", "host"], ["-v", "/:/x"], ["--env", "A=b"], ["--manifest", "m"], ["--all-platforms"],
        ["--isolation", "chroot"], ["--allow", "security.insecure"], ["--call", "outline"], ["--userns", "host"],
        ["--skip-unused-stages=false"], ["--omit-history"], ["--from", "x"],
    ],
)  # fmt: skip
def test_what_cannot_be_had_is_refused_by_name(words: list[str]) -> None:
    with pytest.raises(UnsupportedError) as caught:
        read(*words, ".")
    name = words[0].partition("=")[0]
    assert {"-v": "--volume", "-f": "--file"}.get(name, name) in str(caught.value)


def test_every_option_has_a_meaning_or_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """None is parsed and then forgotten: what is set changes the request, is refused, or says that it has no effect."""
    from sampan.cli.build_options import all_options
    from sampan.cli.parse import FLAG, INTEGER, LIST, Option

    used_elsewhere = {"builder", "call", "check", "iidfile", "logfile", "metadata_file", "progress", "quiet", "tag",
                      "pull_never"}  # fmt: skip
    monkeypatch.setenv("http_proxy", "http://p")
    plain = read(".")

    def changed(one: Option) -> bool:
        values, _ = parse(VERB, ["."])
        samples: list[Any] = (
            [not one.default] if one.kind == FLAG else [3] if one.kind == INTEGER
            else [["a=b"], ["a"], ["linux/s390x"], ["h:1.1.1.1"], ["id=a"], ["nofile=1"]] if one.kind == LIST
            else ["64m", "7", "a:b", "docker", "host", "arm64", "0,1", "false"]
        )  # fmt: skip
        for sample in samples:
            values[one.key] = sample
            try:
                if request(values, ["."]) != plain:
                    return True
            except SampanError:
                return True
        return False

    silent = {
        one.key for one in all_options() if "compatibility" not in one.help and not changed(one)
    }
    assert silent - used_elsewhere == set()
