"""oci_image.py TAR DIRECTORY TAG gzip|zstd: an OCI layout with one layer made of the tar."""

import gzip
import hashlib
import json
import os
import subprocess
import sys
from typing import Any

source, directory, tag, compression = sys.argv[1:]
if os.path.exists(f"{directory}/index.json"):
    sys.exit(0)
os.makedirs(f"{directory}/blobs/sha256", exist_ok=True)


def blob(data: bytes) -> dict[str, Any]:
    digest = hashlib.sha256(data).hexdigest()
    with open(f"{directory}/blobs/sha256/{digest}", "wb") as file:
        file.write(data)
    return {"digest": f"sha256:{digest}", "size": len(data)}


with open(source, "rb") as file:
    raw = file.read()
if compression == "gzip":
    packed = gzip.compress(raw, 6, mtime=0)
else:
    packed = subprocess.run(
        ["zstd", "-3", "-q"], input=raw, stdout=subprocess.PIPE, check=True
    ).stdout
path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
config = {
    "architecture": {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine],
    "os": "linux",
    "created": "2024-01-01T00:00:00Z",
    "config": {"Cmd": ["/bin/sh"], "Env": [path]},
    "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(raw).hexdigest()}"]},
    "history": [{"created": "2024-01-01T00:00:00Z", "created_by": "made for the tests"}],
}
oci = "application/vnd.oci.image"
manifest = {
    "schemaVersion": 2,
    "mediaType": f"{oci}.manifest.v1+json",
    "config": {"mediaType": f"{oci}.config.v1+json", **blob(json.dumps(config).encode())},
    "layers": [{"mediaType": f"{oci}.layer.v1.tar+{compression}", **blob(packed)}],
}
entry = {"mediaType": f"{oci}.manifest.v1+json", **blob(json.dumps(manifest).encode())}
entry["annotations"] = {"org.opencontainers.image.ref.name": tag}
layout = json.dumps({"imageLayoutVersion": "1.0.0"})
index = json.dumps({"schemaVersion": 2, "manifests": [entry]})
for name, text in (("oci-layout", layout), ("index.json", index)):
    with open(f"{directory}/{name}", "w") as output:
        output.write(text)
