"""A pull against a registry that misbehaves: what ends well, and what is left when it does not."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from badregistry import BadRegistry, Reply, Request
from engine.standin import StandIn
from imagemaker import MadeImage, digest, index_of, layer_tar
from sampan.engine.fetching import Silent
from sampan.engine.pull import pull
from sampan.errors import CorruptError, LimitError, NotFoundError, SampanError, UnsupportedError
from sampan.model import image as model


class Told(Silent):
    def __init__(self) -> None:
        self.notes: list[str] = []
        self.received: dict[str, list[int]] = {}

    def note(self, text: str) -> None:
        self.notes.append(text)

    def update(self, digest: str, received: int) -> None:
        self.received.setdefault(digest, []).append(received)


def refused(engine: StandIn, registry: BadRegistry, kind: type[SampanError] = SampanError) -> str:
    """The pull fails, nothing is listed, and no temporary file is left."""
    with pytest.raises(kind) as caught:
        pull(engine, registry.name())
    assert not engine.images.list()
    assert not engine.leftovers()
    return str(caught.value)


def test_pull(engine: StandIn, registry: BadRegistry) -> None:
    made = MadeImage()
    registry.add(made)
    image = pull(engine, registry.name())
    assert image.id == made.id
    assert image.names == [registry.name()]
    assert image.repo_digests == [f"{registry.host}/x@{digest(made.manifest)}"]
    assert image.source == registry.host
    assert not engine.leftovers()
    assert set(engine.blobs.digests()) == {*made.blobs, digest(made.manifest)}
    assert not [request for request in registry.requests if request.method == "HEAD"]
    registry.requests.clear()
    assert pull(engine, registry.name()).id == made.id
    assert not registry.paths("/blobs/")  # nothing is fetched again


def test_an_image_is_called_as_it_was_asked_for(engine: StandIn, registry: BadRegistry) -> None:
    registry.add(MadeImage())
    for name in (registry.name("b"), registry.name("a"), registry.name("c")):
        assert pull(engine, name).name == name


def test_policies(engine: StandIn, registry: BadRegistry) -> None:
    with pytest.raises(NotFoundError):
        pull(engine, registry.name(), policy="never")
    registry.add(MadeImage())
    first = pull(engine, registry.name(), policy="missing")
    registry.add(MadeImage(config={"author": "somebody else"}))
    assert pull(engine, registry.name(), policy="missing").id == first.id
    assert pull(engine, registry.name(), policy="never").id == first.id
    second = pull(engine, registry.name(), policy="newer")
    assert second.id != first.id
    assert engine.images.resolve(first.id).names == []  # untagged, not gone
    registry.rules.append(lambda request: Reply(500))
    assert pull(engine, registry.name(), policy="newer").id == second.id


@pytest.mark.parametrize(
    ("changes", "kind", "word"),
    [
        ({"layers": [{"digest": "sha256:" + "a" * 64, "size": -1}]}, CorruptError, "bad size"),
        ({"layers": [{"digest": "sha256:../../x", "size": 1}]}, CorruptError, "bad digest"),
        ({"layers": [{"digest": "SHA256:" + "a" * 64, "size": 1}]}, CorruptError, "bad digest"),
        ({"layers": [{"digest": "sha256:" + "a" * 64, "size": 1}] * 501}, LimitError, "501"),
        ({"manifests": []}, CorruptError, "at once"),
        ({"schemaVersion": 1}, UnsupportedError, "schema 1"),
        ({"mediaType": "application/x"}, UnsupportedError, "unknown media type"),
        ({"pad": "x" * (5 << 20)}, LimitError, "bytes"),
    ],
)
def test_a_bad_manifest_is_refused_before_any_blob(
    engine: StandIn,
    registry: BadRegistry,
    changes: dict[str, Any],
    kind: type[SampanError],
    word: str,
) -> None:
    registry.add(MadeImage(**changes))
    assert word in refused(engine, registry, kind)
    assert not registry.paths("/blobs/")
    assert not list(engine.blobs.digests())


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text[:-1] + ', "layers": []}',
        lambda text: text[:-1] + ', "x": ' + "[" * 200000 + "]" * 200000 + "}",
        lambda text: text[:-5],
        lambda text: "<html>log in</html>",
        lambda text: "[1]",
        lambda text: text[:-1] + ', "x": "\\ud800"}',
    ],
    ids=["twice", "deep", "cut", "html", "list", "surrogate"],
)
def test_a_document_that_is_none_is_refused(
    engine: StandIn, registry: BadRegistry, change: Callable[[str], str]
) -> None:
    registry.put(change(MadeImage().manifest.decode()).encode(), model.OCI_MANIFEST, "1")
    refused(engine, registry, CorruptError)
    assert not registry.paths("/blobs/")


def test_sizes_are_checked(engine: StandIn, registry: BadRegistry) -> None:
    made = MadeImage()
    made.document["layers"][0]["size"] = 7
    registry.add(made)
    assert "7 bytes" in refused(engine, registry, LimitError)


def test_over_length_stops_at_once(engine: StandIn, registry: BadRegistry) -> None:
    made = MadeImage()
    made.document["layers"][0]["size"] = 7
    registry.add(made)
    wanted = made.document["layers"][0]["digest"]

    def chunked(request: Request) -> Reply | None:
        if wanted not in request.path:
            return None
        return Reply(200, b"2710\r\n" + b"x" * 10000 + b"\r\n0\r\n\r\n", [
            ("Transfer-Encoding", "chunked")
        ])  # fmt: skip

    registry.rules.append(chunked)
    refused(engine, registry, SampanError)


@pytest.mark.parametrize("kind", ["corrupt", "short"])
def test_a_corrupt_blob_is_fetched_once_more(
    engine: StandIn, registry: BadRegistry, kind: str
) -> None:
    made = MadeImage()
    registry.add(made)
    name, data = next((d, b) for d, b in made.blobs.items() if b is made.layers[0])
    bad = data[:-4] + b"BAD!" if kind == "corrupt" else data[:-9]
    registry.blobs[name] = bad
    assert name in refused(engine, registry, CorruptError)
    assert len(registry.paths(name)) == 2
    registry.rules.append(
        lambda request: Reply(200, data) if name in request.path and request.turn > 3 else None
    )
    assert pull(engine, registry.name()).id == made.id


@pytest.mark.parametrize("kind", ["gzip", "diff_id"])
def test_a_layer_that_does_not_unpack(engine: StandIn, registry: BadRegistry, kind: str) -> None:
    made = MadeImage()
    bad = b"notgzip" * 100 if kind == "gzip" else gzip.compress(b"other")
    made.layers[0] = bad
    made.document["layers"][0] = MadeImage.describe(bad, model.OCI_LAYER_GZIP)
    registry.add(made)
    assert digest(bad) in refused(engine, registry, CorruptError)
    assert len(registry.paths(digest(bad))) == 1
    assert not list(engine.blobs.digests())


def test_the_configuration_is_validated_first(engine: StandIn, registry: BadRegistry) -> None:
    configs: list[dict[str, Any]] = [
        {"rootfs": {"type": "layers", "diff_ids": []}},
        {"rootfs": {"type": "layers", "diff_ids": ["sha256:x"]}},
        {"config": {"Env": "PATH=/bin"}},
        {"config": {"Cmd": [1]}},
        {"config": []},
        {"history": [1]},
    ]
    for config in configs:
        made = MadeImage(config=config)
        registry.add(made)
        refused(engine, registry, CorruptError)
        assert not registry.paths(made.document["layers"][0]["digest"])
        assert made.id not in set(engine.blobs.digests())


def test_repeated_layers(engine: StandIn, registry: BadRegistry) -> None:
    a, b = layer_tar({"a": b"1"}), layer_tar({".wh.a": b""})
    made = MadeImage([a, b, a])
    registry.add(made)
    image = pull(engine, registry.name())
    assert len(engine.layers.there) == 3
    assert len(registry.paths(image.layers[0].digest)) == 1


def test_the_empty_layer_three_times(engine: StandIn, registry: BadRegistry) -> None:
    empty = bytes(1024)
    made = MadeImage([empty, layer_tar({"a": b"1"}), empty, empty, b"", bytes(10240)])
    registry.add(made)
    pull(engine, registry.name())
    assert len(engine.layers.there) == 6


def test_one_diff_id_in_two_compressions(engine: StandIn, registry: BadRegistry) -> None:
    tar = layer_tar({"a": b"1"})
    made = MadeImage([tar, tar])
    made.layers[1] = gzip.compress(tar, 9, mtime=7)
    made.document["layers"][1] = MadeImage.describe(made.layers[1], model.OCI_LAYER_GZIP)
    registry.add(made)
    image = pull(engine, registry.name())
    assert all(engine.blobs.has(layer.digest) for layer in image.layers)
    assert image.layers[0].digest != image.layers[1].digest


def test_media_types(engine: StandIn, registry: BadRegistry) -> None:
    for content_type in (
        "text/plain",
        model.OCI_MANIFEST.upper(),
        f"{model.OCI_MANIFEST}; charset=utf-8",
        "",
    ):
        made = MadeImage()
        del made.document["mediaType"]
        registry.put(made.manifest, content_type, "1")
        registry.blobs.update(made.blobs)
        assert pull(engine, registry.name()).id == made.id
    registry.put(MadeImage().manifest, model.OCI_INDEX, "1")
    with pytest.raises(CorruptError, match="another shape"):
        pull(engine, registry.name())
    told = Told()
    registry.put(MadeImage().manifest, model.DOCKER_MANIFEST, "1")
    pull(engine, registry.name(), progress=told)
    assert any("calls the" in note for note in told.notes)


def test_accept_lists_all_four(engine: StandIn, registry: BadRegistry) -> None:
    registry.add(MadeImage())
    pull(engine, registry.name())
    request = next(one for one in registry.requests if "/manifests/" in one.path)
    for kind in (model.OCI_INDEX, model.OCI_MANIFEST, model.DOCKER_LIST, model.DOCKER_MANIFEST):
        assert kind in request.headers["accept"]


def test_an_index_with_attestations(engine: StandIn, registry: BadRegistry) -> None:
    mine, other, statement = MadeImage(), MadeImage(architecture="arm64"), MadeImage([b"in-toto"])
    unknown = {"os": "unknown", "architecture": "unknown"}
    index = index_of(
        (statement, unknown),
        (other, {"os": "linux", "architecture": "arm64"}),
        (mine, {"os": "linux", "architecture": "amd64"}),
        (statement, unknown),
    )
    for made in (mine, other, statement):
        registry.add(made)
    registry.put(index, model.OCI_INDEX, "1")
    image = pull(engine, registry.name(), platform="linux/amd64")
    assert image.id == mine.id
    assert f"{registry.host}/x@{digest(index)}" in image.repo_digests
    assert not registry.paths(digest(statement.manifest))
    assert engine.images.resolve(f"{registry.host}/x@{digest(index)}").id == mine.id
    told = Told()
    pull(engine, registry.name(), platform="linux/arm64", progress=told)
    assert any("now names the image for linux/arm64" in note for note in told.notes)
    with pytest.raises(NotFoundError, match="linux/amd64, linux/arm64"):
        pull(engine, registry.name(), platform="linux/s390x")
    engine.images.collect()
    assert engine.blobs.has(digest(index))


def test_a_configuration_of_another_platform_is_warned_of(
    engine: StandIn, registry: BadRegistry
) -> None:
    made = MadeImage(architecture="amd64")
    registry.add(made)
    registry.put(index_of((made, {"os": "linux", "architecture": "arm64"})), model.OCI_INDEX, "1")
    told = Told()
    pull(engine, registry.name(), platform="linux/arm64", progress=told)
    assert any("is linux/amd64, not linux/arm64" in note for note in told.notes)


def test_names(engine: StandIn, registry: BadRegistry) -> None:
    made = MadeImage()
    registry.add(made)
    both = f"{registry.name(tag='other')}@{digest(made.manifest)}"
    image = pull(engine, both)  # the digest wins: there is no such tag
    assert image.names == []
    assert image.repo_digests == [f"{registry.host}/x@{digest(made.manifest)}"]
    assert engine.images.resolve(both).id == made.id
    with pytest.raises(SampanError, match="lower case"):
        pull(engine, "REPO/Upper")
    with pytest.raises(UnsupportedError, match="not a registry"):
        pull(engine, "docker-archive:/x.tar")


def test_a_short_name_is_told(engine: StandIn, registry: BadRegistry, tmp_path: Path) -> None:
    conf = f'unqualified-search-registries = ["127.0.0.1:1", "{registry.host}"]\n'
    (tmp_path / "registries.conf").write_text(conf)
    registry.add(MadeImage())
    told = Told()
    image = pull(engine, "x:1", progress=told)
    assert image.names == [registry.name()]
    assert f'Resolved "x:1" as {registry.name()}' in told.notes
    assert engine.images.resolve("x:1").id == image.id


def test_foreign_layers(engine: StandIn, registry: BadRegistry) -> None:
    with BadRegistry() as elsewhere:
        made = MadeImage()
        name, data = made.document["layers"][0]["digest"], made.layers[0]
        made.document["layers"][0]["urls"] = [
            "file:///etc/passwd",
            f"{elsewhere.url}/none",
            f"{elsewhere.url}/layer",
        ]
        made.document["layers"][0]["mediaType"] = model.DOCKER_FOREIGN_LAYER
        registry.add(made)
        del registry.blobs[name]
        elsewhere.rules.append(
            lambda request: Reply(200, data) if request.path == "/layer" else Reply(404)
        )
        assert pull(engine, registry.name()).id == made.id
        assert not any("authorization" in request.headers for request in elsewhere.requests)
        assert name in registry.paths("/blobs/")[-1] or registry.paths(name)


def test_an_artifact_is_no_image(engine: StandIn, registry: BadRegistry) -> None:
    made = MadeImage()
    made.document["layers"][0]["mediaType"] = "application/vnd.in-toto+json"
    registry.add(made)
    assert "in-toto" in refused(engine, registry, UnsupportedError)
    made = MadeImage()
    made.document["config"]["mediaType"] = "application/vnd.cncf.helm.config.v1+json"
    registry.add(made)
    assert "helm" in refused(engine, registry, UnsupportedError)


def test_a_partial_download_is_kept_and_taken_up(engine: StandIn, registry: BadRegistry) -> None:
    data = os.urandom(3 << 20)
    made = MadeImage([layer_tar({"a": data})])
    registry.add(made)
    name, blob = made.document["layers"][0]["digest"], made.layers[0]
    cut = len(blob) * 6 // 10
    registry.rules.append(
        lambda request: Reply(200, blob, cut=cut) if name in request.path and request.turn == 1
        else Reply(500) if name in request.path and request.turn < 8 else None
    )  # fmt: skip
    with pytest.raises(SampanError):
        pull(engine, registry.name())
    assert engine.leftovers() == [f"{name[7:]}.partial"]
    registry.rules.clear()
    told = Told()
    assert pull(engine, registry.name(), progress=told).id == made.id
    last = [request for request in registry.requests if name in request.path][-1]
    assert last.headers["range"] == f"bytes={cut}-"
    assert max(told.received[name]) == len(blob)


def test_index_json_is_what_other_tools_read(engine: StandIn, registry: BadRegistry) -> None:
    registry.add(MadeImage())
    pull(engine, registry.name())
    document = json.loads((engine.root / "index.json").read_text())
    assert (
        document["manifests"][0]["annotations"]["org.opencontainers.image.ref.name"]
        == registry.name()
    )
    assert json.loads((engine.root / "oci-layout").read_text()) == {"imageLayoutVersion": "1.0.0"}
