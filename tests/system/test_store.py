"""The store against other people's tools: skopeo reads it, umoci's trees are the same, a plain-dict model too."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest

from system_tools import BUSYBOX, DEBIAN, Sampan, has_subordinate_ids

NAME = "docker.io/library/debian:bookworm"


@pytest.mark.skipif(not shutil.which("skopeo"), reason="skopeo is not installed")
@pytest.mark.parametrize("tag", ["bookworm", "zstd"])
def test_skopeo_copies_an_image_out(fresh: Sampan, registry: str, tmp_path: Path, tag: str) -> None:
    """The store is an OCI layout; the digest is the registry's own."""
    fresh.text("pull", "-q", f"debian:{tag}")
    asked = subprocess.run(
        ["skopeo", "inspect", "--tls-verify=false", "--format", "{{.Digest}}", f"docker://{registry}/library/debian:{tag}"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    name = f"docker.io/library/debian:{tag}"
    out = tmp_path / "out"
    subprocess.run(
        ["skopeo", "copy", "-q", "--insecure-policy", f"oci:{fresh.root}:{name}", f"oci:{out}:x"],
        check=True,
    )
    index = json.loads((out / "index.json").read_text())
    digest = index["manifests"][0]["digest"]
    assert digest == asked.stdout.strip()
    assert fresh.text("image", "inspect", "--format", "{{.Digest}}", f"debian:{tag}") == digest
    for blob in (out / "blobs/sha256").iterdir():
        assert hashlib.sha256(blob.read_bytes()).hexdigest() == blob.name


def test_gzip_and_zstd_give_the_same_layers(fresh: Sampan) -> None:
    layers = set()
    for tag in ("bookworm", "zstd"):
        fresh.text("pull", "-q", f"debian:{tag}")
        layers.add(
            fresh.text("image", "inspect", "--format", "{{json .RootFS.Layers}}", f"debian:{tag}")
        )
    assert len(layers) == 1
    assert len(list((fresh.root / "overlay").iterdir())) == 1, "the same layer is unpacked once"


def entries(tar: Path) -> dict[str, tuple[Any, ...]]:
    """A plain-dict model of one layer: path -> (type, mode, uid, gid, size or target, mtime, content)."""
    model: dict[str, tuple[Any, ...]] = {}
    with tarfile.open(tar) as archive:
        for row in archive:
            path = os.path.normpath(row.name)
            if row.isdir():
                model[path] = ("d", row.mode, row.uid, row.gid, int(row.mtime))
            elif row.issym():
                model[path] = ("l", row.linkname)
            elif row.islnk():
                model[path] = model[os.path.normpath(row.linkname)]
            elif row.isreg():
                file = archive.extractfile(row)
                assert file
                digest = hashlib.sha256(file.read()).hexdigest()
                model[path] = ("f", row.mode, row.uid, row.gid, int(row.mtime), digest)
    return model


WALK = r"""
import hashlib, json, os, stat, sys
top, result = sys.argv[1], {}
for base, dirs, names in os.walk(top):
    for name in [".", *dirs, *names] if base == top else [*dirs, *names]:
        path = os.path.join(base, name); row = os.lstat(path); key = os.path.relpath(path, top)
        if stat.S_ISLNK(row.st_mode): result[key] = ["l", os.readlink(path)]
        elif stat.S_ISDIR(row.st_mode):
            result[key] = ["d", row.st_mode & 0o7777, row.st_uid, row.st_gid, int(row.st_mtime)]
        elif stat.S_ISREG(row.st_mode):
            digest = hashlib.sha256(open(path, "rb").read()).hexdigest()
            result[key] = ["f", row.st_mode & 0o7777, row.st_uid, row.st_gid, int(row.st_mtime), digest]
json.dump(result, sys.stdout)
"""


def overlay_tree(sampan: Sampan) -> dict[str, tuple[Any, ...]]:
    """The one unpacked layer, walked as root of the map."""
    layer = next((sampan.root / "overlay").iterdir())
    code = (
        "import os, runpy, sys; from sampan.linux import userns; "
        "userns.enter(userns.default_map(os.getuid(), os.getgid())); "
        f"sys.argv = ['walk', {str(layer)!r}]; exec({WALK!r})"
    )
    python = Path(sampan.program).parent / "python"
    output = subprocess.run([str(python), "-c", code], capture_output=True, check=True).stdout
    return {path: tuple(row) for path, row in json.loads(output).items()}


def test_the_tree_is_the_model(fresh: Sampan) -> None:
    """Every name, mode, owner, time and byte of Debian's layer."""
    images = os.environ.get("SAMPAN_TEST_IMAGES")
    if not images:
        pytest.skip("the base images are missing: run tests/run as root")
    model = entries(Path(images) / "debian.tar")
    fresh.text("pull", "-q", DEBIAN)
    found = overlay_tree(fresh)
    if not has_subordinate_ids():  # owners are in the sidecar
        model = {k: _without_owner(v) for k, v in model.items()}
        found = {k: _without_owner(v) for k, v in found.items()}
    devices = {k for k in model if k.startswith("dev/")}
    different = {
        k: (model.get(k), found.get(k))
        for k in {*model, *found} - devices
        if model.get(k) != found.get(k)
    }
    assert not different, dict(list(different.items())[:5])
    assert len(found) > 3000


def _without_owner(row: tuple[Any, ...]) -> tuple[Any, ...]:
    if row[0] in "fd":
        keep = row[1] & ~(stat.S_ISUID | stat.S_ISGID)
        return (row[0], keep, *row[4:])
    return row


@pytest.mark.skipif(not shutil.which("umoci"), reason="umoci is not installed")
def test_the_tree_is_umocis(fresh: Sampan, tmp_path: Path) -> None:
    images = os.environ.get("SAMPAN_TEST_IMAGES")
    if not images:
        pytest.skip("the base images are missing: run tests/run as root")
    subprocess.run(
        ["umoci", "unpack", "--rootless", "--image", f"{images}/busybox:latest", str(tmp_path / "umoci")],
        check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    fresh.text("pull", "-q", BUSYBOX)
    found = {k: _without_owner(v) for k, v in overlay_tree(fresh).items()}
    code = f"import sys; sys.argv = ['walk', {str(tmp_path / 'umoci/rootfs')!r}]; exec({WALK!r})"
    output = subprocess.run(
        ["/usr/bin/python3", "-c", code], capture_output=True, check=True
    ).stdout
    theirs = {path: _without_owner(tuple(row)) for path, row in json.loads(output).items()}
    assert found == theirs


def test_the_store_may_be_moved(fresh: Sampan) -> None:
    fresh.text("run", "--name", "kept", BUSYBOX, "sh", "-c", "echo here > /file")
    moved = fresh.root.with_name("moved")
    fresh.root.rename(moved)
    fresh.environment["SAMPAN_ROOT"] = str(moved)
    fresh.root = moved
    fresh.text("run", "--rm", BUSYBOX, "true")
    container = fresh.text("ps", "-aq", "--filter", "name=kept")
    assert fresh.text("inspect", "-f", "{{.State.ExitCode}}", container) == "0"
    fresh.text("start", "kept")


def test_a_killed_pull_leaves_nothing_in_the_way(fresh: Sampan) -> None:
    """SIGKILL at any moment: the next pull works and nothing is listed before."""
    for wait in (0.05, 0.1, 0.15, 0.2, 0.3, 0.4):
        process = fresh.spawn(
            "pull", "-q", DEBIAN, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            process.wait(wait)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        listed = fresh.text("images", "-q")
        if listed:
            break
    fresh.text("pull", "-q", DEBIAN)
    assert fresh.text("run", "--rm", DEBIAN, "echo", "whole") == "whole"
    fresh.text("rmi", "-af")
    left = [p for d in ("ingest", "blobs/sha256", "overlay") for p in (fresh.root / d).iterdir()]
    assert [p for p in left if not p.name.startswith("empty")] == []
