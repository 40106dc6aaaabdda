"""An image's manifest in the words of the other family: OCI's or Docker's schema 2 ("v2s2").

Only media types differ; configuration and layers stay the bytes that they are.
"""

from __future__ import annotations

from sampan.errors import UnsupportedError
from sampan.model import image as model

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

FORMS = {"oci": model.OCI_MANIFEST, "docker": model.DOCKER_MANIFEST}


def form_of(media_type: str) -> str:
    """ "oci" or "docker"."""
    return "docker" if media_type in (model.DOCKER_MANIFEST, model.DOCKER_LIST) else "oci"


def manifest(document: Mapping[str, Any], form: str) -> dict[str, Any]:
    """The manifest in another form. UnsupportedError: Docker's form knows no zstd."""
    config = dict(document["config"])
    config["mediaType"] = model.OCI_CONFIG if form == "oci" else model.DOCKER_CONFIG
    layers = [
        {**layer, "mediaType": layer_type(str(layer.get("mediaType") or ""), form)}
        for layer in document["layers"]
    ]
    return {**document, "mediaType": FORMS[form], "config": config, "layers": layers}


def layer_type(text: str, form: str) -> str:
    """The name of a layer's type in the manifest's own family."""
    zstd, packed = text.endswith("zstd"), text.endswith("gzip")
    foreign = is_foreign(text)
    if form == "oci":
        plain = model.OCI_FOREIGN_LAYER if foreign else model.OCI_LAYER
        return plain + ("+zstd" if zstd else "+gzip" if packed else "")
    if zstd:
        raise UnsupportedError(
            "cannot make an image of format docker",
            "a layer is compressed with zstd",
            "--format oci",
        )
    if foreign:
        return model.DOCKER_FOREIGN_LAYER
    return model.DOCKER_LAYER if packed else model.DOCKER_LAYER.removesuffix(".gzip")


def is_foreign(media_type: str) -> bool:
    """Whether a layer of that type is not to be pushed to other registries."""
    return media_type == model.DOCKER_FOREIGN_LAYER or media_type.startswith(
        model.OCI_FOREIGN_LAYER
    )
