"""Against a registry that nobody here wrote, with an image that skopeo pushed."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from imagemaker import MadeImage, layer_tar
from registry.conftest import push, stand_in
from sampan.engine.pull import pull
from sampan.errors import NotFoundError
from sampan.model import image as model

pytestmark = pytest.mark.usefixtures("no_configuration")


@pytest.mark.parametrize("kind", ["oci", "v2s2"])
def test_there_and_back(real_registry: str, tmp_path: Path, kind: str) -> None:
    source = stand_in(tmp_path / "source")
    made = MadeImage([layer_tar({"a": os.urandom(100_000)}), layer_tar({"b": b"2"})])
    with source.images.lease() as lease:
        for data in made.blobs.values():
            source.blobs.put(data, lease)
        source.images.add(source.blobs.put(made.manifest, lease), ["localhost/made:1"])
    name = f"{real_registry}/team/{kind}:1"
    push(source.root, "localhost/made:1", name, "--format", kind)
    engine = stand_in(tmp_path / "store")
    image = pull(engine, name)
    assert image.diff_ids == made.config["rootfs"]["diff_ids"]
    assert image.media_type == (model.OCI_MANIFEST if kind == "oci" else model.DOCKER_MANIFEST)
    if kind == "oci":
        assert image.id == made.id
    inspected = subprocess.run(
        ["skopeo", "inspect", "--tls-verify=false", "--format", "{{.Digest}}", f"docker://{name}"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert inspected.stdout.strip() == image.digest
    if kind == "oci":  # skopeo takes no other media types from a layout
        command = ["skopeo", "copy", "-q", f"oci:{engine.root}:{name}", f"dir:{tmp_path}/dir"]
        subprocess.run(command, check=True)
    by_digest = pull(engine, f"{real_registry}/team/{kind}@{image.digest}")
    assert by_digest.id == image.id
    with pytest.raises(NotFoundError, match="unknown"):
        pull(engine, f"{real_registry}/team/{kind}:2")
