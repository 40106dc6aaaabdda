"""The distribution specification, Pull: manifests, blobs, and whether they are there."""

from __future__ import annotations

import os

import pytest

from registryserver import MANIFEST, Client, digest

BLOB = os.urandom(300_000)


@pytest.fixture
def image(client: Client) -> bytes:
    return client.image("pull/it", "v1", BLOB, annotations={"of": "a test"})


def test_the_base_says_which_api_it_is(client: Client) -> None:
    for path in ("/v2/", "/v2"):
        answer = client("GET", path)
        assert (answer.status, answer.headers["Docker-Distribution-Api-Version"]) == (
            200,
            "registry/2.0",
        )
    assert client("GET", "/").status == 404


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_manifest_by_tag_and_by_digest(client: Client, image: bytes, method: str) -> None:
    for selector in ("v1", digest(image), digest(image).replace(":", "%3A")):
        answer = client(method, f"/v2/pull/it/manifests/{selector}")
        assert answer.status == 200
        assert answer.headers["Content-Type"] == MANIFEST
        assert answer.headers["Docker-Content-Digest"] == digest(image)
        assert answer.headers["Content-Length"] == str(len(image))
        assert answer.body == (image if method == "GET" else b"")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_blob(client: Client, image: bytes, method: str) -> None:
    answer = client(method, f"/v2/pull/it/blobs/{digest(BLOB)}")
    assert answer.status == 200
    assert answer.headers["Docker-Content-Digest"] == digest(BLOB)
    assert answer.headers["Content-Length"] == str(len(BLOB))
    assert answer.body == (BLOB if method == "GET" else b"")


@pytest.mark.parametrize(
    ("asked", "status", "first", "last"),
    [
        ("bytes=0-9", 206, 0, 9),
        ("bytes=299990-", 206, 299_990, 299_999),
        ("bytes=-10", 206, 299_990, 299_999),
        ("bytes=299999-400000", 206, 299_999, 299_999),
        ("bytes=-400000", 206, 0, 299_999),
        ("bytes=300000-", 416, 0, 0),
        ("bytes=-0", 416, 0, 0),
        ("bytes=9-3", 200, 0, 299_999),
        ("bytes=-", 200, 0, 299_999),
        ("bytes=0-1,5-6", 200, 0, 299_999),
        ("lines=1-2", 200, 0, 299_999),
        ("bytes=--5", 200, 0, 299_999),
        ("bytes=" + "9" * 100 + "-", 200, 0, 299_999),
    ],
)
def test_a_part_of_a_blob(
    client: Client, image: bytes, asked: str, status: int, first: int, last: int
) -> None:
    answer = client("GET", f"/v2/pull/it/blobs/{digest(BLOB)}", Range=asked)
    assert answer.status == status
    if status == 416:
        assert answer.headers["Content-Range"] == f"bytes */{len(BLOB)}"
        return
    assert answer.body == BLOB[first : last + 1]
    assert answer.headers["Content-Range"] == (
        f"bytes {first}-{last}/{len(BLOB)}" if status == 206 else None
    )


def test_what_is_not_there(client: Client, image: bytes) -> None:
    nothing = digest(b"nothing")
    for path, code in (
        (f"/v2/pull/it/blobs/{nothing}", "BLOB_UNKNOWN"),
        (f"/v2/pull/it/manifests/{nothing}", "MANIFEST_UNKNOWN"),
        ("/v2/pull/it/manifests/v2", "MANIFEST_UNKNOWN"),
        ("/v2/no/such/manifests/v1", "MANIFEST_UNKNOWN"),
        ("/v2/no/such/tags/list", "NAME_UNKNOWN"),
        (f"/v2/no/such/blobs/{digest(BLOB)}", "BLOB_UNKNOWN"),
    ):
        answer = client("GET", path)
        assert (answer.status, answer.code) == (404, code), path
        assert client("HEAD", path).status == 404
        assert client("HEAD", path).body == b""


def test_a_manifest_is_a_blob_too(client: Client, image: bytes) -> None:
    answer = client("GET", f"/v2/pull/it/blobs/{digest(image)}")
    assert (answer.status, answer.body) == (200, image)


@pytest.mark.parametrize(
    ("kind", "status", "code"),
    [("blobs", 404, "BLOB_UNKNOWN"), ("manifests", 404, "MANIFEST_UNKNOWN"), ("referrers", 400, "DIGEST_INVALID")],
)  # fmt: skip
def test_other_digests_are_refused_clearly(
    client: Client, kind: str, status: int, code: str
) -> None:
    answer = client("GET", f"/v2/pull/it/{kind}/sha512:{'0' * 128}")
    assert (answer.status, answer.code) == (status, code)
    assert "only sha256 digests are kept" in answer.json["errors"][0]["message"]
