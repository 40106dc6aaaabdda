"""Small images made from nothing: bytes of layers, configuration and manifest, with every field
open to damage.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from typing import Any

from sampan.model import image as model


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def layer_tar(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


class MadeImage:
    """blobs: by digest, manifest and configuration too. `document` is the manifest as a dict."""

    def __init__(
        self,
        contents: list[bytes] | None = None,
        *,
        config: dict[str, Any] | None = None,
        architecture: str = "amd64",
        variant: str = "",
        **changes: Any,
    ) -> None:
        tars = [layer_tar({"hello": b"world"})] if contents is None else contents
        self.tars = tars
        self.layers = [gzip.compress(tar, 1, mtime=0) for tar in tars]
        self.config: dict[str, Any] = {
            "created": "2024-05-01T10:00:00Z",
            "architecture": architecture,
            "os": "linux",
            "config": {"Cmd": ["/bin/sh"], "Env": ["PATH=/bin"]},
            "rootfs": {"type": "layers", "diff_ids": [digest(tar) for tar in tars]},
            "history": [{"created_by": f"layer {at}"} for at in range(len(tars))],
        } | (config or {})
        if variant:
            self.config["variant"] = variant
        self.config_bytes = json.dumps(self.config).encode()
        self.document: dict[str, Any] = {
            "schemaVersion": 2,
            "mediaType": model.OCI_MANIFEST,
            "config": self.describe(self.config_bytes, model.OCI_CONFIG),
            "layers": [self.describe(data, model.OCI_LAYER_GZIP) for data in self.layers],
        } | changes

    @staticmethod
    def describe(data: bytes, media_type: str) -> dict[str, Any]:
        return {"mediaType": media_type, "digest": digest(data), "size": len(data)}

    @property
    def manifest(self) -> bytes:
        return json.dumps(self.document).encode()

    @property
    def id(self) -> str:
        return digest(self.config_bytes)

    @property
    def blobs(self) -> dict[str, bytes]:
        return {digest(data): data for data in [self.config_bytes, *self.layers]}


def index_of(*entries: tuple[MadeImage, dict[str, str]], annotations: bool = False) -> bytes:
    """An index over images, each with its platform."""
    return json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": model.OCI_INDEX,
            "manifests": [
                MadeImage.describe(image.manifest, model.OCI_MANIFEST) | {"platform": platform}
                for image, platform in entries
            ],
        }
    ).encode()
