"""The distribution specification, Content Discovery and Content Management; and where the space goes."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from registryserver import INDEX, MANIFEST, Client, Served, digest, eventually, index, manifest


def test_tags_are_listed_in_order_and_in_parts(client: Client) -> None:
    blob = os.urandom(10)
    names = ["a", "B", "c-1", "0", "_x", "latest"]
    for name in names:
        client.image("list/it", name, blob)
    path = "/v2/list/it/tags/list"
    assert client("GET", path).json == {"name": "list/it", "tags": sorted(names)}
    answer = client("GET", f"{path}?n=2")
    assert answer.json["tags"] == ["0", "B"]
    seen: list[str] = []
    following: str | None = f"{path}?n=4"
    while following:
        answer = client("GET", following)
        seen += answer.json["tags"]
        link = answer.headers.get("Link")
        assert link is None or link.endswith('; rel="next"')
        following = link[1 : link.index(">")] if link else None
    assert seen == sorted(names)
    answer = client("GET", f"{path}?n=0")
    assert (answer.json["tags"], answer.headers.get("Link")) == ([], None)
    assert client("GET", f"{path}?last=_x").json["tags"] == ["a", "c-1", "latest"]
    assert client("GET", f"{path}?n=1&last=C").json["tags"] == ["_x"]
    assert client("GET", f"{path}?n=6").headers.get("Link") is None
    for wrong in ("-1", "x", "1e3", "9" * 30):
        assert client("GET", f"{path}?n={wrong}").status == 400


def test_the_catalog(client: Client) -> None:
    for name in ("cat/a", "cat/b", "cat/c"):
        client.image(name, "x", os.urandom(10))
    client.push("cat/unfinished", b"alone")
    found = client("GET", "/v2/_catalog").json["repositories"]
    assert found == sorted(found)
    assert [name for name in found if name.startswith("cat/")] == ["cat/a", "cat/b", "cat/c"]
    answer = client("GET", "/v2/_catalog?n=1&last=cat/a")
    assert answer.json["repositories"] == ["cat/b"]
    assert "last=cat%2Fb" in answer.headers["Link"]


def referring(client: Client, subject: str, number: int, **more: object) -> bytes:
    config = b'{"n":%d}' % number
    client.push("refer/it", config)
    about = {"mediaType": MANIFEST, "digest": subject, "size": 7}
    document = manifest(config, config_type=f"application/x-{number % 2}", subject=about, **more)
    answer = client.put("refer/it", digest(document), document)
    assert answer.status == 201
    assert answer.headers["OCI-Subject"] == subject
    return document


def test_referrers(client: Client) -> None:
    subject = digest(os.urandom(10))  # it need not be there
    path = f"/v2/refer/it/referrers/{subject}"
    empty = client("GET", path)
    assert (empty.status, empty.headers["Content-Type"]) == (200, INDEX)
    assert empty.json == {"schemaVersion": 2, "mediaType": INDEX, "manifests": []}
    documents = [
        referring(client, subject, 1, annotations={"a": "1"}),
        referring(client, subject, 2, artifactType="application/x-sbom"),
        referring(client, subject, 3),
    ]
    rows = {row["digest"]: row for row in client("GET", path).json["manifests"]}
    assert set(rows) == {digest(document) for document in documents}
    assert rows[digest(documents[0])] == {
        "mediaType": MANIFEST,
        "digest": digest(documents[0]),
        "size": len(documents[0]),
        "artifactType": "application/x-1",
        "annotations": {"a": "1"},
    }
    assert rows[digest(documents[1])]["artifactType"] == "application/x-sbom"
    answer = client("GET", f"{path}?artifactType=application/x-1")
    assert answer.headers["OCI-Filters-Applied"] == "artifactType"
    assert len(answer.json["manifests"]) == 2
    answer = client("GET", f"{path}?artifactType=application/none")
    assert (answer.status, answer.json["manifests"]) == (200, [])
    client("DELETE", f"/v2/refer/it/manifests/{digest(documents[0])}")
    assert len(client("GET", path).json["manifests"]) == 2
    assert client("GET", "/v2/refer/it/referrers/nonsense").status == 400


def test_an_index_may_refer_too(client: Client) -> None:
    subject = digest(os.urandom(10))
    about = {"mediaType": MANIFEST, "digest": subject, "size": 7}
    document = index(subject=about)
    answer = client.put("refer/index", "x", document, INDEX)
    assert answer.headers["OCI-Subject"] == subject
    rows = client("GET", f"/v2/refer/index/referrers/{subject}").json["manifests"]
    assert [row["digest"] for row in rows] == [digest(document)]
    assert "artifactType" not in rows[0]


def test_many_referrers_come_in_parts(client: Client) -> None:
    subject = digest(os.urandom(10))
    documents = [
        referring(client, subject, number, annotations={"pad": "x" * 1_000_000})
        for number in range(7)
    ]
    path: str | None = f"/v2/refer/it/referrers/{subject}?artifactType=application/x-1"
    for wanted in (path, f"/v2/refer/it/referrers/{subject}"):
        path, seen, answers = wanted, list[str](), 0
        while path:
            answer = client("GET", path)
            assert len(answer.body) < 4 << 20
            seen += [row["digest"] for row in answer.json["manifests"]]
            link = re.fullmatch('<(.*)>; rel="next"', answer.headers.get("Link", ""))
            path = link[1] if link else None
            answers += 1
        expected = documents[1::2] if "artifactType" in str(wanted) else documents
        assert sorted(seen) == sorted(map(digest, expected))
        assert answers == (1 if len(expected) == 3 else 3)


def test_deletion(client: Client) -> None:
    blob = os.urandom(1000)
    document = client.image("gone/it", "a", blob)
    client.put("gone/it", "b", document)
    assert client("DELETE", "/v2/gone/it/manifests/a").status == 202
    assert client("GET", "/v2/gone/it/manifests/a").status == 404
    assert client("DELETE", "/v2/gone/it/manifests/a").status == 404
    assert client("GET", "/v2/gone/it/manifests/b").status == 200
    assert client("DELETE", f"/v2/gone/it/manifests/{digest(document)}").status == 202
    assert client("GET", "/v2/gone/it/manifests/b").status == 404
    assert client("GET", f"/v2/gone/it/manifests/{digest(document)}").status == 404
    assert client("GET", "/v2/gone/it/tags/list").json["tags"] == []
    assert client("DELETE", f"/v2/gone/it/blobs/{digest(blob)}").status == 202
    assert client("GET", f"/v2/gone/it/blobs/{digest(blob)}").status == 404
    answer = client("DELETE", f"/v2/gone/it/blobs/{digest(blob)}")
    assert (answer.status, answer.code) == (404, "BLOB_UNKNOWN")
    assert client("DELETE", f"/v2/gone/other/manifests/{digest(document)}").status == 404


def test_deletion_gives_the_space_back(served: Served, client: Client) -> None:
    shared, alone = os.urandom(5000), os.urandom(5000)
    one = client.image("space/one", "x", shared, alone)
    client.image("space/two", "x", shared)
    client("DELETE", f"/v2/space/one/manifests/{digest(one)}")
    for blob in (shared, alone):
        assert client("DELETE", f"/v2/space/one/blobs/{digest(blob)}").status == 202
    eventually(lambda: not {digest(alone), digest(one)} & served.blobs())
    assert client("GET", f"/v2/space/two/blobs/{digest(shared)}").body == shared


def test_ls_and_rm(program: str, base: Path) -> None:
    blob, other = os.urandom(5000), os.urandom(4000)
    with Served(program, base, "--workers", "1") as served:
        client = served.client()
        first = client.image("ls/it", "a", blob)
        second = client.image("ls/it", "b", blob, other)
        both = index(first, second)
        assert client.put("ls/it", "both", both, INDEX).status == 201
        client.image("ls/that", "a", blob)
        listed = json.loads(served.sampan("registry", "ls", "--format", "json").stdout)
        rows = {(row["Repository"], row["Tag"]): row for row in listed}
        assert set(rows) == {("ls/it", "a"), ("ls/it", "b"), ("ls/it", "both"), ("ls/that", "a")}
        assert rows["ls/it", "a"]["Digest"] == digest(first)
        assert 5000 < rows["ls/it", "a"]["Size"] < 6000 < 9000 < rows["ls/it", "b"]["Size"]
        assert rows["ls/it", "both"]["Size"] > 10_000

        assert served.sampan("registry", "rm", "ls/it:b").returncode == 0
        assert client("GET", "/v2/ls/it/manifests/b").status == 404
        assert client("GET", f"/v2/ls/it/manifests/{digest(second)}").status == 200, (
            "the index has it"
        )
        assert served.sampan("registry", "rm", "ls/it:both").returncode == 0
        assert client("GET", f"/v2/ls/it/manifests/{digest(second)}").status == 404
        assert client("GET", "/v2/ls/it/manifests/a").status == 200
        assert digest(other) not in served.blobs()
        assert served.sampan("registry", "rm", f"ls/it@{digest(first)}").returncode == 0
        assert digest(blob) in served.blobs(), "the other repository has it"
        assert served.sampan("registry", "rm", "ls/that").returncode == 0
        assert served.blobs() == set()
        assert client.image("ls/that", "a", blob)
        assert client("GET", "/v2/ls/that/manifests/a").status == 200
    for words, says in (
        (("no/such",), b"the registry has no no/such"),
        (("ls/that:b",), b"the registry has no ls/that:b"),
        (("Bad Name",), b"invalid repository name"),
        (("ls/that@sha256:0",), b"invalid digest"),
    ):
        result = served.sampan("registry", "rm", *words)
        assert result.returncode == 125
        assert says in result.stderr


def test_an_empty_registry_is_listed(program: str, base: Path) -> None:
    served = Served(program, base)
    result = served.sampan("registry", "ls")
    assert (result.returncode, result.stdout.count(b"\n")) == (0, 1), result


@pytest.mark.parametrize("kind", ["blobs", "manifests"])
def test_local_images_are_not_visible(program: str, base: Path, kind: str) -> None:
    """The blobs are in the store, and no repository has them."""
    blob = os.urandom(1000)
    with Served(program, base, "--workers", "1") as served:
        (base / "root/blobs/sha256" / digest(blob).removeprefix("sha256:")).write_bytes(blob)
        client = served.client()
        client.push("seen/it", b"something")
        assert client("GET", f"/v2/seen/it/{kind}/{digest(blob)}").status == 404
        path = f"/v2/seen/it/blobs/uploads/?mount={digest(blob)}"
        assert client("POST", path).status == 202
        assert client("POST", f"{path}&from=seen/it").status == 202
        client.push("seen/it", blob)
        assert client("GET", f"/v2/seen/it/blobs/{digest(blob)}").body == blob
