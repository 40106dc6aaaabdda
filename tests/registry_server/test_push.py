"""The distribution specification, Push: blobs whole and in chunks, mounts, manifests of every kind."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

import pytest

from registryserver import (
    CONFIG,
    EMPTY,
    INDEX,
    LAYER,
    MANIFEST,
    Client,
    Served,
    descriptor,
    digest,
    index,
    manifest,
)


@pytest.fixture
def blob() -> bytes:
    return os.urandom(200_000)


def begin(client: Client, name: str = "push/it") -> str:
    answer = client("POST", f"/v2/{name}/blobs/uploads/")
    assert answer.status == 202
    return str(answer.headers["Location"])


def there(client: Client, data: bytes, name: str = "push/it") -> bool:
    answer = client("GET", f"/v2/{name}/blobs/{digest(data)}")
    assert answer.status in (200, 404)
    return answer.status == 200 and answer.body == data


def test_post_then_put(client: Client, blob: bytes) -> None:
    place = begin(client)
    answer = client("PUT", f"{place}?digest={digest(blob)}", blob)
    assert answer.status == 201
    assert answer.headers["Location"] == f"/v2/push/it/blobs/{digest(blob)}"
    assert answer.headers["Docker-Content-Digest"] == digest(blob)
    assert there(client, blob)
    assert client("GET", place).status == 404, "the upload has ended"


def test_a_single_post(client: Client, blob: bytes) -> None:
    answer = client("POST", f"/v2/push/it/blobs/uploads/?digest={digest(blob)}", blob)
    assert answer.status == 201
    assert there(client, blob)


def test_a_blob_without_bytes(client: Client) -> None:
    assert client.push("push/it", b"") == digest(b"")
    assert there(client, b"")


def test_chunks(client: Client, blob: bytes) -> None:
    place = begin(client)
    for first in range(0, 150_000, 50_000):
        last = first + 49_999
        answer = client(
            "PATCH", place, blob[first : last + 1], Content_Range=f"{first}-{last}"
        )  # fmt: skip
        assert (answer.status, answer.headers["Range"]) == (202, f"0-{last}")
        place = answer.headers["Location"]
        answer = client("GET", place)
        assert (answer.status, answer.headers["Range"]) == (204, f"0-{last}")
        assert answer.headers["Location"] == place
    answer = client(
        "PUT", f"{place}?digest={digest(blob)}", blob[150_000:], Content_Range="150000-199999"
    )
    assert answer.status == 201
    assert there(client, blob)


def test_chunks_by_other_connections_are_one_upload(served: Served, blob: bytes) -> None:
    """Each connection may be another worker's, which has to read again what it did not hash itself."""
    place = begin(served.client())
    for first in range(0, 200_000, 25_000):
        answer = served.client()("PATCH", place, blob[first : first + 25_000])
        assert answer.status == 202
    assert served.client()("PUT", f"{place}?digest={digest(blob)}").status == 201
    assert there(served.client(), blob)


def test_a_stream_of_unknown_length(client: Client, blob: bytes) -> None:
    def pieces() -> Iterator[bytes]:
        for first in range(0, len(blob), 30_000):
            yield blob[first : first + 30_000]

    place = begin(client)
    answer = client("PATCH", place, pieces())
    assert (answer.status, answer.headers["Range"]) == (202, f"0-{len(blob) - 1}")
    assert client("PUT", f"{place}?digest={digest(blob)}").status == 201
    assert there(client, blob)


@pytest.mark.parametrize(
    ("given", "status"),
    [("100001-200000", 416), ("0-99999", 416), ("99999-199998", 416), ("100000-199998", 400),
     ("x-y", 400), ("-100000-5", 400), ("100000", 400)],
)  # fmt: skip
def test_a_chunk_out_of_order(client: Client, blob: bytes, given: str, status: int) -> None:
    place = begin(client)
    assert client("PATCH", place, blob[:100_000], Content_Range="0-99999").status == 202
    answer = client("PATCH", place, blob[100_000:], Content_Range=given)
    assert answer.status == status
    assert client("GET", place).headers["Range"] == "0-99999", "nothing of it was taken"
    answer = client("PATCH", place, blob[100_000:], Content_Range="100000-199999")
    assert answer.status == 202
    assert client("PUT", f"{place}?digest={digest(blob)}").status == 201


def test_an_upload_may_be_given_up(client: Client, blob: bytes) -> None:
    place = begin(client)
    assert client("PATCH", place, blob).status == 202
    assert client("DELETE", place).status == 204
    for method in ("GET", "PATCH", "DELETE"):
        answer = client(method, place)
        assert answer.status == 404
    assert client("PUT", f"{place}?digest={digest(blob)}").code == "BLOB_UPLOAD_UNKNOWN"


def test_an_upload_is_its_repositorys(client: Client, blob: bytes) -> None:
    place = begin(client)
    other = place.replace("push/it", "push/other")
    assert client("PUT", f"{other}?digest={digest(blob)}", blob).status == 404
    assert client("PUT", f"{place}?digest={digest(blob)}", blob).status == 201


@pytest.mark.parametrize("way", ["post", "put", "chunks"])
def test_a_digest_that_lies(served: Served, client: Client, blob: bytes, way: str) -> None:
    lie = digest(b"another")
    if way == "post":
        answer = client("POST", f"/v2/push/it/blobs/uploads/?digest={lie}", blob)
    else:
        place = begin(client)
        if way == "chunks":
            client("PATCH", place, blob)
        answer = client("PUT", f"{place}?digest={lie}", blob if way == "put" else b"")
    assert (answer.status, answer.code) == (400, "DIGEST_INVALID")
    assert client("GET", f"/v2/push/it/blobs/{lie}").status == 404
    assert not {lie, digest(blob)} & served.blobs()


@pytest.mark.parametrize(
    "given", ["sha256:abc", "sha512:" + "0" * 128, "md5:" + "0" * 32, "", "sha256:" + "A" * 64]
)
def test_a_digest_that_is_none(client: Client, blob: bytes, given: str) -> None:
    answer = client("POST", f"/v2/push/it/blobs/uploads/?digest={given}", blob)
    assert (answer.status, answer.code) == (400, "DIGEST_INVALID")


def test_other_algorithms_are_refused_at_once(client: Client) -> None:
    answer = client("POST", "/v2/push/it/blobs/uploads/?digest-algorithm=sha512")
    assert (answer.status, answer.code) == (400, "DIGEST_INVALID")


def test_a_mount_from_another_repository(client: Client, blob: bytes) -> None:
    client.push("mount/a", blob)
    path = f"/v2/mount/b/blobs/uploads/?mount={digest(blob)}"
    answer = client("POST", f"{path}&from=mount/a")
    assert answer.status == 201
    assert answer.headers["Location"] == f"/v2/mount/b/blobs/{digest(blob)}"
    assert there(client, blob, "mount/b")
    assert client("DELETE", f"/v2/mount/a/blobs/{digest(blob)}").status == 202
    assert there(client, blob, "mount/b")


def test_a_mount_from_wherever_it_is(client: Client, blob: bytes) -> None:
    client.push("mount/c", blob)
    assert client("POST", f"/v2/mount/d/blobs/uploads/?mount={digest(blob)}").status == 201
    assert there(client, blob, "mount/d")


@pytest.mark.parametrize("source", ["mount/none", "NOT/A/NAME", "../..", ""])
def test_a_mount_of_what_is_not_there_begins_an_upload(
    client: Client, blob: bytes, source: str
) -> None:
    path = f"/v2/mount/e/blobs/uploads/?mount={digest(blob)}&from={source}"
    answer = client("POST", path)
    assert answer.status == 202
    assert client("PUT", f"{answer.headers['Location']}?digest={digest(blob)}", blob).status == 201


def test_manifests_are_kept_byte_by_byte(client: Client, blob: bytes) -> None:
    document = client.image("push/it", "exact", blob)
    assert document.endswith(b"}\n") and b"\n   " in document
    assert client("GET", "/v2/push/it/manifests/exact").body == document


def test_a_manifest_by_digest_with_tags(client: Client, blob: bytes) -> None:
    document = client.image("push/tags", "first", blob, annotations={"x": "y"})
    path = f"/v2/push/tags/manifests/{digest(document)}"
    answer = client("PUT", f"{path}?tag=1.2.3&tag=latest", document, Content_Type=MANIFEST)
    assert answer.status == 201
    assert answer.headers["OCI-Tag"] == "1.2.3, latest"
    assert answer.headers["Docker-Content-Digest"] == digest(document)
    for tag in ("1.2.3", "latest"):
        assert client("GET", f"/v2/push/tags/manifests/{tag}").body == document
    many = "&".join(f"tag=t{number}" for number in range(11))
    assert client("PUT", f"{path}?{many}", document, Content_Type=MANIFEST).status == 414
    answer = client("PUT", f"{path}?tag=-bad", document, Content_Type=MANIFEST)
    assert answer.status == 400
    other = digest(b"other")
    answer = client("PUT", f"/v2/push/tags/manifests/{other}", document, Content_Type=MANIFEST)
    assert (answer.status, answer.code) == (400, "DIGEST_INVALID")


def test_a_tag_moves(client: Client, blob: bytes) -> None:
    first = client.image("push/moves", "t", blob)
    second = client.image("push/moves", "t", blob, annotations={"second": "yes"})
    assert client("GET", "/v2/push/moves/manifests/t").body == second
    assert client("GET", f"/v2/push/moves/manifests/{digest(first)}").body == first


def test_an_index_and_one_within(client: Client, blob: bytes) -> None:
    one = client.image("push/index", "one", blob)
    inner = index(one)
    assert client.put("push/index", "inner", inner, INDEX).status == 201
    rows = [descriptor(inner, INDEX), descriptor(one, MANIFEST)]
    outer = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": rows}).encode()
    assert client.put("push/index", "outer", outer, INDEX).status == 201
    answer = client("GET", "/v2/push/index/manifests/outer")
    assert (answer.body, answer.headers["Content-Type"]) == (outer, INDEX)
    assert client.put("push/index", "empty", index(), INDEX).status == 201


def test_what_a_manifest_refers_to_has_to_be_there(client: Client, blob: bytes) -> None:
    client.push("lack/a", blob)
    config = b'{"os":"linux"}'
    answer = client.put("lack/a", "x", manifest(config, blob))
    assert (answer.status, answer.code) == (400, "MANIFEST_BLOB_UNKNOWN")
    assert digest(config) in answer.json["errors"][0]["message"]
    client.push("lack/a", config)
    assert client.put("lack/a", "x", manifest(config, blob)).status == 201
    answer = client.put("lack/b", "x", manifest(config, blob))
    assert answer.code == "MANIFEST_BLOB_UNKNOWN", "another repository's content does not count"
    answer = client.put("lack/a", "y", index(b"no such manifest"), INDEX)
    assert answer.code == "MANIFEST_BLOB_UNKNOWN"


def test_layers_that_lie_elsewhere_need_not_be_there(client: Client) -> None:
    config = b'{"os":"linux","foreign":true}'
    client.push("push/foreign", config)
    document = json.loads(manifest(config))
    document["layers"] = [
        descriptor(b"far away", "application/vnd.oci.image.layer.nondistributable.v1.tar")
    ]
    assert client.put("push/foreign", "x", json.dumps(document).encode()).status == 201


def test_artifacts_of_any_type(client: Client, blob: bytes) -> None:
    client.push("push/artifact", blob)
    client.push("push/artifact", b"{}")
    document = manifest(b"{}", blob, config_type=EMPTY, artifactType="application/x-sail")
    assert client.put("push/artifact", "a", document).status == 201
    unheard = json.dumps({"sails": 3, "blobs": [descriptor(blob, "application/x-sail")]}).encode()
    assert client.put("push/artifact", "b", unheard, "application/x-ship+json").status == 201
    answer = client("GET", "/v2/push/artifact/manifests/b")
    assert (answer.body, answer.headers["Content-Type"]) == (unheard, "application/x-ship+json")
    lacking = json.dumps({"blobs": [descriptor(b"lacking", "application/x-sail")]}).encode()
    answer = client.put("push/artifact", "c", lacking, "application/x-ship+json")
    assert answer.code == "MANIFEST_BLOB_UNKNOWN"


@pytest.mark.parametrize(
    ("data", "media_type", "status"),
    [
        (b"", MANIFEST, 400),
        (b"{", MANIFEST, 400),
        (b"[]", MANIFEST, 400),
        (b'"text"', MANIFEST, 400),
        (b'{"schemaVersion":2}', MANIFEST, 400),
        (b'{"schemaVersion":1,"fsLayers":[]}', MANIFEST, 400),
        (b'{"schemaVersion":2,"mediaType":"a/b","manifests":[]}', INDEX, 400),
        (b'{"schemaVersion":2,"mediaType":7,"manifests":[]}', INDEX, 400),
        (b'{"schemaVersion":2,"manifests":[],"layers":[]}', INDEX, 400),
        (b'{"schemaVersion":2,"manifests":7}', INDEX, 400),
        (b'{"schemaVersion":2,"manifests":[{"digest":"sha256:../../x"}]}', INDEX, 400),
        (b'{"schemaVersion":2,"manifests":[],"manifests":[]}', INDEX, 400),
        (b'{"schemaVersion":2,"manifests":[],"annotations":{"a":1}}', INDEX, 400),
        (b'{"schemaVersion":2,"manifests":[],"x":"\xff"}', INDEX, 400),
        (b'{"schemaVersion":2,"manifests":[],"x":' + b"[" * 5000 + b"]" * 5000 + b"}", INDEX, 413),
        (b"[" * 200_000, INDEX, 413),
        (b'{"schemaVersion":2,"x":[' + b"{}," * 60_000 + b"{}]}", INDEX, 413),
        (b'{"schemaVersion":2,"x":[' + b"1," * 300_000 + b"1]}", INDEX, 413),
        (b'{"schemaVersion":2,"manifests":[],"n":' + b"9" * 10_000 + b"}", INDEX, 400),
    ],
)
def test_what_is_no_manifest(client: Client, data: bytes, media_type: str, status: int) -> None:
    answer = client.put("push/bad", "x", data, media_type)
    assert answer.status == status
    assert answer.code == "MANIFEST_INVALID"
    assert client("GET", "/v2/push/bad/manifests/x").status == 404


def test_a_manifest_has_four_mebibytes(client: Client) -> None:
    client.push("push/large", b"{}")
    padded = manifest(b"{}", annotations={"pad": "x" * (4 << 20)})
    padded = padded.replace(b"x" * (len(padded) - (4 << 20)), b"", 1)
    assert len(padded) == 4 << 20
    assert client.put("push/large", "fits", padded).status == 201
    answer = client.put("push/large", "not", padded + b" ")
    assert (answer.status, answer.code) == (413, "SIZE_INVALID")
    chunks = iter([padded, b" "])
    answer = client("PUT", "/v2/push/large/manifests/not", chunks)
    assert answer.status == 413


def test_the_type_may_be_in_either_place(client: Client, blob: bytes) -> None:
    client.push("push/types", blob)
    client.push("push/types", b"{}")
    bare = {
        "schemaVersion": 2,
        "config": descriptor(b"{}", CONFIG),
        "layers": [descriptor(blob, LAYER)],
    }
    for data, given in (
        (json.dumps(bare).encode(), MANIFEST),
        (json.dumps(bare).encode(), f"{MANIFEST}; charset=utf-8"),
        (json.dumps({**bare, "mediaType": MANIFEST}).encode(), ""),
    ):
        assert client.put("push/types", "x", data, given).status == 201
        assert client("GET", "/v2/push/types/manifests/x").headers["Content-Type"] == MANIFEST
