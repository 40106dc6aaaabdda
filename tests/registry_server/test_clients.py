"""Other people's programs: skopeo, podman, Debian's registry as a mirror of ours; and `sampan pull`."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from registryserver import Served, eventually

Run = Callable[..., str]


@pytest.fixture
def run(base: Path) -> Iterator[Run]:
    """A program that must succeed; podman has a store of its own."""
    configuration = base / "config"
    configuration.mkdir()
    (configuration / "policy.json").write_text('{"default":[{"type":"insecureAcceptAnything"}]}')
    storage = configuration / "storage.conf"
    storage.write_text(
        f'[storage]\ndriver="vfs"\ngraphroot="{base}/podman"\nrunroot="{base}/podman-run"\n'
    )
    environment = {
        **os.environ,
        "CONTAINERS_STORAGE_CONF": str(storage),
        "REGISTRY_AUTH_FILE": str(base / "auth.json"),
        "SAMPAN_ROOT": str(base / "puller"),
        "SAMPAN_RUN_DIR": str(base / "puller-run"),
    }
    (base / "puller-run").mkdir(mode=0o700)

    def call(program: str, *words: str) -> str:
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
        done = subprocess.run(
            [program, *words], env=environment, capture_output=True, timeout=120,
            stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip
        assert done.returncode == 0, (words, done.stderr.decode())
        return done.stdout.decode().strip()

    yield call
    subprocess.run(["unshare", "-r", "rm", "-rf", str(base / "podman")], check=False)
    subprocess.run(["podman", "unshare", "rm", "-rf", str(base / "podman"), str(base / "puller")],
                   env=environment, check=False, stderr=subprocess.DEVNULL)  # fmt: skip


@pytest.fixture(scope="session")
def source() -> str:
    address = os.environ.get("SAMPAN_TEST_REGISTRY")
    if not address:
        pytest.skip("no registry: run tests/run as root")
    return f"docker://{address}/library/busybox:latest"


def digest_of(run: Run, image: str, *options: str) -> str:
    return run("skopeo", "inspect", *options, "--format", "{{.Digest}}", image)


def test_skopeo(program: str, base: Path, run: Run, source: str) -> None:
    with Served(program, base) as served:
        target = f"docker://{served.address}/there/busybox:1"
        run("skopeo", "copy", "--src-tls-verify=false", "--dest-tls-verify=false", source, target)
        plain = "--tls-verify=false"
        assert digest_of(run, target, plain) == digest_of(run, source, plain)
        assert run("skopeo", "list-tags", plain, target.removesuffix(":1"))
        other = f"docker://{served.address}/mounted/busybox:2"
        both = ("--src-tls-verify=false", "--dest-tls-verify=false")
        run("skopeo", "copy", *both, target, other)
        run("skopeo", "copy", "--all", *both, other, f"docker://{served.address}/there/copy:3")
        run("skopeo", "copy", "--src-tls-verify=false", other, f"oci:{base}/layout:x")
        run("skopeo", "delete", plain, other)
        listed = json.loads(
            run("skopeo", "list-tags", plain, f"docker://{served.address}/there/busybox")
        )
        assert listed["Tags"] == ["1"]


def test_podman_with_tls_and_a_password(
    program: str, base: Path, run: Run, source: str, certificate: Path, htpasswd: Path
) -> None:
    options = [
        "--tls-cert", str(certificate / "cert.pem"), "--tls-key", str(certificate / "key.pem"),
        "--htpasswd", str(htpasswd),
    ]  # fmt: skip
    trusted = base / "trusted"
    trusted.mkdir()
    shutil.copy(certificate / "cert.pem", trusted / "ca.crt")
    cert_dir = f"--cert-dir={trusted}"
    with Served(program, base, *options) as served:
        name = f"{served.address}/secret/busybox:1"
        run("podman", "login", cert_dir, "-u", "alice", "-p", "harbour", served.address)
        run(
            "skopeo",
            "copy",
            "--src-tls-verify=false",
            f"--dest-cert-dir={trusted}",
            source,
            f"docker://{name}",
        )
        wanted = digest_of(run, source, "--tls-verify=false")
        assert digest_of(run, f"docker://{name}", cert_dir) == wanted
        identity = run("podman", "pull", "-q", cert_dir, name)
        run("podman", "push", "-q", cert_dir, name, f"{served.address}/secret/again:2")
        again = f"{served.address}/secret/again:2"
        run("podman", "rmi", "-af")
        assert run("podman", "pull", "-q", cert_dir, again) == identity
        run("podman", "logout", served.address)
        denied = subprocess.run(
            ["skopeo", "inspect", cert_dir, f"docker://{name}"],
            env={**os.environ, "REGISTRY_AUTH_FILE": str(base / "auth.json")},
            capture_output=True, timeout=60, check=False,
        )  # fmt: skip
        assert denied.returncode != 0
        assert (
            b"unauthorized" in denied.stderr.lower() or b"authentication" in denied.stderr.lower()
        )


def test_sampan_pulls_what_it_serves(program: str, base: Path, run: Run, source: str) -> None:
    with Served(program, base) as served:
        target = f"{served.address}/there/busybox:1"
        both = ("--src-tls-verify=false", "--dest-tls-verify=false")
        run("skopeo", "copy", *both, source, f"docker://{target}")
        run(program, "pull", "-q", "--tls-verify=false", target)
        shown = json.loads(run(program, "image", "inspect", target))[0]
        assert shown["Digest"] == digest_of(run, source, "--tls-verify=false")


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def test_a_mirror_of_ours(program: str, base: Path, run: Run, source: str) -> None:
    mirror_program = shutil.which("docker-registry")
    if mirror_program is None:
        pytest.skip("docker-registry is not installed")
    port = free_port()
    with Served(program, base) as served:
        target = f"docker://{served.address}/there/busybox:1"
        both = ("--src-tls-verify=false", "--dest-tls-verify=false")
        run("skopeo", "copy", *both, source, target)
        (base / "mirror.yml").write_text(
            "version: 0.1\nlog: {level: error}\n"
            f"http: {{addr: '127.0.0.1:{port}'}}\n"
            f"proxy: {{remoteurl: 'http://{served.address}'}}\n"
            f"storage: {{filesystem: {{rootdirectory: {base}/mirror}}}}\n"
        )
        mirror = subprocess.Popen(
            [mirror_program, "serve", str(base / "mirror.yml")],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            eventually(lambda: socket.socket().connect_ex(("127.0.0.1", port)) == 0)
            mirrored = f"docker://127.0.0.1:{port}/there/busybox:1"
            assert digest_of(run, mirrored, "--tls-verify=false") == digest_of(
                run, source, "--tls-verify=false"
            )
            run("skopeo", "copy", "--src-tls-verify=false", mirrored, f"oci:{base}/mirrored:x")
        finally:
            mirror.terminate()
            mirror.wait(10)


def test_twenty_copies_at_once(program: str, base: Path, run: Run, source: str) -> None:
    """Of the same image, to the same and to other repositories, while workers are killed."""
    from_there = "--src-tls-verify=false"
    run("skopeo", "copy", from_there, source, f"oci:{base}/layout:x")
    with Served(program, base) as served:

        def copy(number: int) -> str:
            target = f"docker://{served.address}/at/once{number % 10}:t{number // 10}"
            for attempt in range(10):
                try:
                    run("skopeo", "copy", "--dest-tls-verify=false", f"oci:{base}/layout:x", target)
                    run("skopeo", "copy", from_there, target, f"dir:{base}/out{number}")
                    return digest_of(run, target, "--tls-verify=false")
                except AssertionError:
                    if attempt == 9:
                        raise
            raise AssertionError

        with ThreadPoolExecutor(20) as pool:
            copies = [pool.submit(copy, number) for number in range(20)]
            for _ in range(3):
                time.sleep(0.3)
                os.kill(served.workers()[0], 9)
            found = {one.result() for one in copies}
        assert len(found) == 1
        assert len(served.blobs()) == 3
