"""Documents of strangers. What a pull refuses is in the pull's tests; here is what they are read as."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagemaker import MadeImage
from sampan.errors import CorruptError, LimitError, SampanError
from sampan.model import image


def test_shapes() -> None:
    made = MadeImage()
    parsed = image.parse_manifest(made.manifest)
    assert isinstance(parsed, image.Manifest)
    assert parsed.config.digest == made.id
    assert parsed.layers[0].media_type == image.OCI_LAYER_GZIP
    del made.document["mediaType"]
    assert image.parse_manifest(made.manifest, image.DOCKER_MANIFEST).media_type == (
        image.DOCKER_MANIFEST
    )
    made.document["config"] |= {"annotations": {"a": "b"}, "urls": ["https://x"]}
    parsed = image.parse_manifest(made.manifest)
    assert isinstance(parsed, image.Manifest)
    assert parsed.config.annotations == {"a": "b"} and parsed.config.urls == ["https://x"]


@pytest.mark.parametrize(
    "change",
    [
        {"annotations": {"a": 1}},
        {"annotations": []},
        {"config": None},
        {"config": {"digest": "sha256:" + "a" * 64, "size": True}},
        {"config": {"digest": "sha256:" + "a" * 64, "size": 1 << 60}},
        {"config": {"digest": "sha256:" + "a" * 64, "size": 5 << 20}},
        {"config": {"digest": "sha256:" + "a" * 64, "size": 1, "mediaType": 1}},
        {"config": {"digest": "sha256:" + "a" * 64, "size": 1, "urls": [1]}},
        {"config": {"digest": "sha256:" + "a" * 64, "size": 1, "platform": "linux"}},
        {"layers": {}},
        {"layers": [7]},
        {"schemaVersion": None},
        {"schemaVersion": "2"},
    ],
)
def test_refused(change: dict[str, Any]) -> None:
    with pytest.raises(CorruptError):
        made = MadeImage()
        made.document |= change
        image.parse_manifest(made.manifest)


def test_budgets() -> None:
    nested = b'{"a":' + b"[" * 62 + b"]" * 62 + b"}"
    image.load_document(nested, 1000, "x")
    deeper = b'{"a":' + b"[" * 64 + b"]" * 64 + b"}"
    with pytest.raises(LimitError, match="deeper"):
        image.load_document(deeper, 1000, "x")
    text = json.dumps({"a": "[" * 300 + '\\"' + "{" * 300}).encode()
    assert image.load_document(text, 1000, "x")  # brackets in a text nest nothing
    with pytest.raises(LimitError):
        image.load_document(text, 10, "x")
    entry = {"digest": "sha256:" + "a" * 64, "size": 1}
    with pytest.raises(LimitError, match="1001 manifests"):
        image.parse_manifest(json.dumps({"schemaVersion": 2, "manifests": [entry] * 1001}).encode())


def test_configuration() -> None:
    made = MadeImage(variant="v3")
    config = image.parse_config(made.config_bytes, 1)
    assert (config.os, config.architecture, config.variant) == ("linux", "amd64", "v3")
    assert config.diff_ids == made.config["rootfs"]["diff_ids"]
    with pytest.raises(CorruptError, match="1 layers and the manifest 2"):
        image.parse_config(made.config_bytes, 2)
    assert image.parse_config(b"{}", 0).diff_ids == []


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(["schemaVersion", "mediaType", "config", "layers", "manifests", "digest",
                         "size", "rootfs", "diff_ids", "history", "Env", "os", "annotations"]),
        inner, max_size=5),
    max_leaves=20,
)  # fmt: skip


@given(_JSON)
def test_any_json_is_read_or_refused(document: Any) -> None:
    data = json.dumps(document).encode()
    for read in (image.parse_manifest, image.parse_config):
        try:
            read(data)
        except SampanError:
            pass
    if isinstance(document, dict):
        try:
            image.parse_manifest(json.dumps(document | {"schemaVersion": 2}).encode())
        except SampanError:
            pass


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_or_read(data: bytes) -> None:
    try:
        image.load_document(data, 1000, "x")
    except SampanError:
        pass
