"""Images on their way: pushed, saved and loaded as a user does it, read and written by other people's tools."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

import pytest

from registry.conftest import PASSWORD, USER, htpasswd
from registry.conftest import registry as registry_of
from system_tools import Sampan, has_subordinate_ids

BUSYBOX = "docker.io/library/busybox:latest"
FORMS = ["docker-archive", "oci-archive", "oci-dir", "docker-dir"]
PLACES = {
    "docker-archive": "docker-archive",
    "oci-archive": "oci-archive",
    "oci-dir": "oci",
    "docker-dir": "dir",
}


def skopeo(*words: str) -> str:
    done = subprocess.run(
        ["skopeo", *words], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def image(sampan: Sampan) -> str:
    """The id of busybox."""
    return sampan.text("image", "inspect", "--format", "{{.Id}}", BUSYBOX)


@pytest.mark.parametrize("form", FORMS)
def test_saved_read_by_skopeo_and_loaded_again(
    sampan: Sampan, fresh: Sampan, image: str, tmp_path: Path, form: str
) -> None:
    out = tmp_path / "out"
    sampan.text("save", "-q", "--format", form, "-o", str(out), BUSYBOX)
    named = f":{BUSYBOX}" if form in ("docker-archive", "oci-archive", "oci-dir") else ""
    skopeo(
        "copy", "-q", "--insecure-policy", f"{PLACES[form]}:{out}{named}", f"dir:{tmp_path}/copy"
    )
    manifest = json.loads((tmp_path / "copy" / "manifest.json").read_text())
    assert manifest["config"]["digest"] == f"sha256:{image}"
    told = fresh.text("load", "-i", str(out))
    assert told == f"Loaded image: {BUSYBOX if named else f'sha256:{image}'}"
    assert fresh.text("run", "--rm", image, "echo", "it runs") == "it runs"
    assert not list((fresh.root / "ingest").iterdir())


@pytest.mark.parametrize("form", ["docker-archive", "oci-archive", "oci", "dir"])
def test_written_by_skopeo_and_pulled(
    sampan: Sampan, fresh: Sampan, image: str, tmp_path: Path, form: str
) -> None:
    source = f"oci:{sampan.root}:{BUSYBOX}"
    name = ":quay.io/team/bb:1" if form != "dir" else ""
    skopeo("copy", "-q", "--insecure-policy", source, f"{form}:{tmp_path}/out{name}")
    assert fresh.text("pull", "-q", f"{form}:{tmp_path}/out{name}") == image
    names = fresh.text("images", "--format", "{{.Repository}}:{{.Tag}}")
    assert names == ("quay.io/team/bb:1" if name else f"localhost{tmp_path}/out:latest".lower())
    assert fresh.text("run", "--rm", image, "echo", "it runs") == "it runs"


def test_several_images_through_a_pipe(sampan: Sampan, fresh: Sampan) -> None:
    """docker-archive through pipes, with the names by which they were asked for."""
    sampan.text("tag", BUSYBOX, "localhost/other:2")
    saved = sampan("save", BUSYBOX, "localhost/other:2", "debian:bookworm")
    assert saved.returncode == 0, saved.stderr
    told = fresh("load", "-q", input=saved.stdout)
    assert told.stdout.decode().splitlines() == [
        f"Loaded image: {BUSYBOX}",
        "Loaded image: localhost/other:2",
        "Loaded image: docker.io/library/debian:bookworm",
    ]
    for name in (BUSYBOX, "debian:bookworm"):
        inspected = [
            one.text("image", "inspect", "--format", "{{.Id}} {{json .RootFS}}", name)
            for one in (sampan, fresh)
        ]
        assert inspected[0] == inspected[1]
    sampan.text("untag", BUSYBOX, "localhost/other:2")


def test_the_same_bytes_each_time(sampan: Sampan, tmp_path: Path) -> None:
    for form in ("docker-archive", "oci-archive"):
        saved = [sampan("save", "--format", form, BUSYBOX).stdout for _ in range(2)]
        assert saved[0] == saved[1] and len(saved[0]) > 100_000
        sampan.text("save", "-q", "--format", form, "-o", str(tmp_path / form), BUSYBOX)
        assert (tmp_path / form).read_bytes() == saved[0], "a file is a pipe's bytes"


def test_plain_layers_in_an_oci_archive(sampan: Sampan, fresh: Sampan, tmp_path: Path) -> None:
    out = tmp_path / "plain.tar"
    sampan.text("save", "-q", "--format", "oci-archive", "--uncompressed", "-o", str(out), BUSYBOX)
    skopeo("copy", "-q", "--insecure-policy", f"oci-archive:{out}", f"dir:{tmp_path}/copy")
    layer = json.loads((tmp_path / "copy" / "manifest.json").read_text())["layers"][0]
    with tarfile.open(tmp_path / "copy" / layer["digest"][7:], "r:") as archive:
        assert "./bin/busybox" in archive.getnames()
    fresh.text("load", "-i", str(out))
    assert fresh.text("run", "--rm", BUSYBOX, "echo", "x") == "x"


@pytest.mark.skipif(not shutil.which("umoci"), reason="umoci is not installed")
def test_umoci_reads_a_saved_layout(sampan: Sampan, tmp_path: Path) -> None:
    sampan.text("save", "-q", "--format", "oci-dir", "-o", str(tmp_path / "l"), BUSYBOX)
    done = subprocess.run(
        ["umoci", "unpack", "--rootless", "--image", f"{tmp_path}/l:{BUSYBOX}", str(tmp_path / "bundle")],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "bundle/rootfs/bin/busybox").is_file()


@pytest.mark.skipif(not shutil.which("podman"), reason="podman is not installed")
def test_podman_loads_and_saves(sampan: Sampan, fresh: Sampan, image: str, tmp_path: Path) -> None:
    if not has_subordinate_ids():
        pytest.skip("podman wants subordinate ids")
    base = Path(tempfile.mkdtemp(prefix="pm-", dir="/var/tmp"))  # podman takes no long path here
    podman = [
        "podman",
        "--root",
        f"{base}/root",
        "--runroot",
        f"{base}/run",
        "--storage-driver",
        "vfs",
    ]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    try:
        for form in ("docker-archive", "oci-archive"):
            out = tmp_path / form
            sampan.text("save", "-q", "--format", form, "-o", str(out), BUSYBOX)
            for words in (
                ["load", "-i", str(out)],
                ["save", "-q", "--format", form, "-o", f"{out}.back", BUSYBOX],
            ):
                done = subprocess.run(
                    [*podman, *words],
                    capture_output=True,
                    text=True,
                    timeout=90,
                    env=environment,
                    check=False,
                )
                assert done.returncode == 0, done.stderr
            assert fresh.text("load", "-i", f"{out}.back") == f"Loaded image: {BUSYBOX}"
            assert fresh.text("image", "inspect", "--format", "{{.Id}}", BUSYBOX) == image
            fresh.text("rmi", "-f", BUSYBOX)
    finally:
        subprocess.run(
            [*podman, "unshare", "rm", "-rf", str(base)],
            check=False,
            timeout=60,
        )


def test_pushed_as_it_is(sampan: Sampan, registry: str, tmp_path: Path) -> None:
    """The digest is the registry's own, whichever way the image went."""
    target = f"{registry}/team/ship:1"
    digest = tmp_path / "digest"
    sampan.text(
        "push",
        "-q",
        "--tls-verify=false",
        "--digestfile",
        str(digest),
        BUSYBOX,
        f"docker://{target}",
    )
    inspect = ("inspect", "--tls-verify=false", "--format", "{{.Digest}}")
    assert digest.read_text() == skopeo(*inspect, f"docker://{target}").strip()
    assert digest.read_text() == skopeo(*inspect, f"docker://{registry}/library/busybox").strip()


@pytest.mark.parametrize("compression", ["zstd", "gzip:9"])
def test_a_commit_pushed_and_pulled(
    sampan: Sampan, fresh: Sampan, registry: str, compression: str
) -> None:
    target = f"{registry}/team/commit:1"
    sampan.text("run", "--name", "c", "busybox", "sh", "-c", "echo kept > /kept")
    sampan.text("commit", "-q", "c", target)
    sampan.text(
        "push",
        "-q",
        "--tls-verify=false",
        "--compression",
        compression,
        "--force-compression",
        target,
    )
    sampan.text("rm", "c")
    sampan.text("rmi", target)
    fresh.text("pull", "-q", "--tls-verify=false", target)
    assert fresh.text("run", "--rm", target, "cat", "/kept") == "kept"


def test_a_proxy_of_the_host_is_in_no_image(sampan: Sampan) -> None:
    proxy = {"HTTPS_PROXY": "http://canary:3128"}
    seen = sampan.text("run", "--name", "c", "busybox", "env", env=proxy)
    assert "https_proxy=http://canary:3128" in seen and "HTTPS_PROXY=http://canary:3128" in seen
    sampan.text("commit", "-q", "c", "localhost/proxied", env=proxy)
    assert "canary" not in sampan.text("image", "inspect", "localhost/proxied")
    assert "canary" not in sampan.text("history", "--no-trunc", "localhost/proxied")
    sampan.text("rm", "c")
    sampan.text("rmi", "localhost/proxied")


def test_an_image_of_another_machine_does_not_run(sampan: Sampan, tmp_path: Path) -> None:
    sampan.text("create", "--name", "c", "busybox")
    sampan.text("export", "-o", str(tmp_path / "tree.tar"), "c")
    other = "s390x" if os.uname().machine != "s390x" else "amd64"
    sampan.text("import", "-q", "--arch", other, str(tmp_path / "tree.tar"), "localhost/other:1")
    result = sampan("run", "--rm", "localhost/other:1", "true")
    assert result.returncode == 125
    assert f"image is linux/{other}, host is linux/".encode() in result.stderr
    assert b"exec format" not in result.stderr
    sampan.text("rmi", "localhost/other:1")


def test_push_to_places(sampan: Sampan, tmp_path: Path) -> None:
    for place in (
        f"oci:{tmp_path}/o:fine",
        f"oci-archive:{tmp_path}/a.tar:fine",
        f"docker-archive:{tmp_path}/d.tar:fine:1",
        f"dir:{tmp_path}/dir",
    ):
        sampan.text("push", "-q", BUSYBOX, place)
        skopeo("inspect", place.replace(":fine:1", ":docker.io/library/fine:1"))


def test_all_tags(fresh: Sampan, registry: str) -> None:
    for tag in ("one", "two"):
        skopeo("copy", "-q", "--insecure-policy", "--src-tls-verify=false", "--dest-tls-verify=false",
               f"docker://{registry}/library/busybox", f"docker://{registry}/team/tags:{tag}")  # fmt: skip
    ids = fresh.text("pull", "-q", "-a", "--tls-verify=false", f"{registry}/team/tags").splitlines()
    assert len(ids) == 2
    names = fresh.text("images", "--format", "{{.Tag}}").split()
    assert sorted(names) == ["one", "two"]
    assert b"names one image" in fresh("pull", "-a", f"{registry}/team/tags:one").stderr


def test_a_list_of_manifests(sampan: Sampan, fresh: Sampan, registry: str) -> None:
    name, target = "localhost/list:1", f"{registry}/team/list:1"
    debian = f"docker://{registry}/library/debian:bookworm"
    flags = ["--tls-verify=false"]
    sampan.text("manifest", "create", name, BUSYBOX)
    sampan.text(
        "manifest",
        "add",
        *flags,
        "--arch",
        "arm64",
        "--variant",
        "v8",
        "--annotation",
        "a=b",
        name,
        debian,
    )
    document = json.loads(sampan.text("manifest", "inspect", name))
    assert [entry["platform"]["architecture"] for entry in document["manifests"]] == [
        "amd64",
        "arm64",
    ]
    assert document["manifests"][1]["annotations"] == {"a": "b"}
    assert sampan("manifest", "create", name).returncode == 125
    sampan.text("manifest", "push", "-q", *flags, "--all", name, f"docker://{target}")
    raw = json.loads(skopeo("inspect", "--raw", *flags, f"docker://{target}"))
    assert raw["manifests"] == document["manifests"]
    fresh.text("pull", "-q", *flags, target)
    assert fresh.text("run", "--rm", target, "busybox", "echo", "x") == "x"
    other = fresh("pull", *flags, "--platform", "linux/arm64/v8", target)
    assert b"is linux/amd64, not linux/arm64" in other.stderr
    assert json.loads(fresh.text("manifest", "inspect", *flags, f"docker://{target}")) == raw
    sampan.text("manifest", "remove", name, document["manifests"][1]["digest"])
    assert len(json.loads(sampan.text("manifest", "inspect", name))["manifests"]) == 1
    assert sampan("manifest", "exists", name).returncode == 0
    assert json.loads(sampan.text("manifest", "ls", "--format", "json"))[0]["Name"] == name
    sampan.text("manifest", "rm", name)
    assert sampan("manifest", "exists", name).returncode == 1


def test_a_list_keeps_what_it_names(fresh: Sampan, registry: str) -> None:
    fresh.text("pull", "-q", "busybox")
    fresh.text("manifest", "create", "localhost/keep:1", BUSYBOX)
    fresh.text("rmi", BUSYBOX)
    fresh.text(
        "manifest",
        "push",
        "-q",
        "--tls-verify=false",
        "--all",
        "localhost/keep:1",
        f"{registry}/team/keep:1",
    )
    fresh.text("manifest", "rm", "localhost/keep:1")
    assert not list((fresh.root / "blobs/sha256").iterdir())


def test_search_and_tree(sampan: Sampan, registry: str) -> None:
    found = json.loads(
        sampan.text("search", "--tls-verify=false", "--format", "json", f"{registry}/library/deb")
    )
    assert [one["Name"] for one in found] == [f"{registry}/library/debian"]
    tags = json.loads(
        sampan.text("search", "--list-tags", "--format", "json", "docker.io/library/debian")
    )
    assert {"bookworm", "latest", "zstd"} <= set(tags[0]["Tags"])
    tree = json.loads(sampan.text("image", "tree", "--format", "json", BUSYBOX))
    assert len(tree["Layers"]) == 1 and BUSYBOX in tree["Layers"][0]["Tags"]


def test_login_and_logout(sampan: Sampan, tmp_path: Path) -> None:
    environment = {
        "XDG_CONFIG_HOME": str(tmp_path),
        "XDG_RUNTIME_DIR": str(tmp_path / "run"),
        "DOCKER_CONFIG": str(tmp_path / "docker"),
    }

    def run(*words: str, input: bytes | None = None) -> tuple[int, str]:
        done = sampan(*words, env=environment, input=input)
        return done.returncode, (done.stdout + done.stderr).decode()

    (tmp_path / "run").mkdir()
    with registry_of(tmp_path, htpasswd(tmp_path)) as host:
        name = f"{host}/team/x:1"
        login = ("login", "-u", USER, "--password-stdin", host)
        assert run(*login, input=b"wrong\n") == (
            125,
            f'Error: logging into "{host}": invalid username/password\n',
        )
        assert not (tmp_path / "run/containers").exists()
        status, told = run("push", "-q", BUSYBOX, name)
        assert status == 125 and "unauthorized: authentication required" in told
        assert run(*login, input=f"{PASSWORD}\n".encode()) == (0, "Login Succeeded!\n")
        assert os.stat(tmp_path / "run/containers/auth.json").st_mode & 0o777 == 0o600
        assert run("push", "-q", BUSYBOX, name) == (0, "")
        assert run("login", "--get-login", host) == (0, f"{USER}\n")
        assert "Already logged in" in run("login", host)[1]
        status, told = run("login", "--explain", name)
        assert status == 0 and f"user {USER}" in told and PASSWORD not in told
        assert run("logout", host) == (0, f"Removed login credentials for {host}\n")
        assert run("logout", host)[0] == 125
        status, told = run("login", host)
        assert status == 125 and "no terminal" in told
        creds = f"{USER}:{PASSWORD}"
        assert run("pull", "-q", "--creds", creds, name)[0] == 0
        assert run("pull", "-q", name)[0] == 125


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["push", "nowhere"], "image not known"),
        (["push", BUSYBOX, "docker-daemon:x"], "is not a place that sampan knows"),
        (["push", "--compression", "xz", BUSYBOX, "r.io/x"], "gzip[:1-9] and zstd"),
        (
            ["push", "--compression-level", "3", BUSYBOX, "r.io/x"],
            "--compression-format is missing",
        ),
        (["push", "-f", "v1", BUSYBOX, "r.io/x"], 'unknown format "v1"'),
        (["save", "--format", "zip", BUSYBOX], 'unknown format "zip"'),
        (["save", "--format", "oci-dir", BUSYBOX], "it is a directory"),
        (
            ["load", "-i", "/etc/passwd"],
            "payload does not match any of the supported image formats",
        ),
        (["load", "-i", "/nowhere"], "No such file"),
        (["manifest", "push", "localhost/none"], "manifest list not known"),
        (["pull", "oci:/nowhere:x"], "No such file"),
        (["login", "--password-stdin", "r.io"], "must provide --username"),
    ],
)
def test_what_is_refused(sampan: Sampan, words: list[str], told: str) -> None:
    result = sampan(*words, input=b"")
    assert result.returncode == 125
    assert told in result.stderr.decode() and result.stderr.count(b"\n") == 1


def test_a_full_disk_leaves_no_half_archive(sampan: Sampan, tmp_path: Path) -> None:
    """The file appears whole or not at all."""
    before = tmp_path / "out.tar"
    before.write_bytes(b"the old one")
    limited = subprocess.run(
        ["sh", "-c", f'ulimit -f 100; exec "$0" save -q -o {before} {BUSYBOX}', sampan.program],
        env=sampan.environment, capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    assert limited.returncode not in (0, 1)
    assert before.read_bytes() == b"the old one"
