"""Pushing a blob: where it is sent, what is asked first, and how a broken upload goes on (R07, R09)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from badregistry import BadRegistry, Reply, Request, Rule
from imagemaker import digest
from sampan.errors import CorruptError
from sampan.model import image as model
from sampan.model.image import Descriptor
from sampan.model.reference import parse
from sampan.registry.access import Access, Credential
from sampan.registry.config import RegistriesConf
from sampan.registry.errors import RegistryError
from sampan.registry.upload import Upload

DATA = os.urandom(3_000_000)
BLOB = Descriptor(model.OCI_LAYER_GZIP, digest(DATA), len(DATA))


@pytest.fixture
def registry() -> Iterator[BadRegistry]:
    with BadRegistry() as found:
        yield found


@pytest.fixture(autouse=True)
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(tmp_path / "none"))


class Client:
    def __init__(self, registry: BadRegistry, path: Path, monolithic: int = 0) -> None:
        self.upload = Upload(
            parse(registry.name("team/x")),
            RegistriesConf(),
            access=Access(credential=Credential("user", "secret")),
            sleep=lambda seconds: None,
            read_seconds=5.0,
            monolithic=monolithic,
        )
        path.write_bytes(DATA)
        self.path = path
        self.told: list[int] = []

    def push(self, *origins: str) -> str:
        fd = os.open(self.path, os.O_RDONLY)
        try:
            return self.upload.blob(BLOB, fd, origins, self.told.append)
        finally:
            os.close(fd)


@pytest.fixture
def client(registry: BadRegistry, tmp_path: Path) -> Client:
    return Client(registry, tmp_path / "blob")


def methods(registry: BadRegistry) -> list[str]:
    return [
        f"{one.method} {one.path.partition('?')[0]}"
        for one in registry.requests
        if "/blobs/" in one.path
    ]


def test_in_parts(registry: BadRegistry, client: Client) -> None:
    assert client.push() == "done"
    assert registry.blobs[BLOB.digest] == DATA
    assert [one.split()[0] for one in methods(registry)] == ["HEAD", "POST", "PATCH", "PUT"]
    assert client.told[-1] == len(DATA) and sorted(client.told) == client.told
    assert client.push() == "exists"
    assert [one.split()[0] for one in methods(registry)][4:] == ["HEAD"]


def test_at_once(registry: BadRegistry, tmp_path: Path) -> None:
    client = Client(registry, tmp_path / "blob", monolithic=len(DATA))
    assert client.push() == "done"
    assert registry.blobs[BLOB.digest] == DATA
    assert [one.split()[0] for one in methods(registry)] == ["HEAD", "POST", "PUT"]


@pytest.mark.parametrize("cuts", [[1_000_000], [0], [2_000_000, 500_000], [len(DATA) - 1]])
def test_a_broken_upload_goes_on(registry: BadRegistry, client: Client, cuts: list[int]) -> None:
    registry.cuts = list(cuts)
    assert client.push() == "done"
    assert registry.blobs[BLOB.digest] == DATA
    sent = sum(len(one.body) for one in registry.requests)
    assert sent == len(DATA), "no byte is sent twice"


def test_it_does_not_go_on_for_ever(registry: BadRegistry, client: Client) -> None:
    registry.cuts = [10] * 50
    with pytest.raises(RegistryError, match="no answer"):
        client.push()
    assert 40 <= len(registry.cuts) <= 46


def test_an_upload_that_is_forgotten_begins_anew(registry: BadRegistry, client: Client) -> None:
    registry.cuts = [1_000_000]
    registry.rules.append(
        lambda request: (
            Reply(404) if request.method == "GET" and "/uploads/" in request.path else None
        )
    )
    assert client.push() == "done"
    assert registry.blobs[BLOB.digest] == DATA


@pytest.mark.parametrize("status", [500, 503, 429])
def test_a_refused_part_is_not_sent_blindly_again(
    registry: BadRegistry, client: Client, status: int
) -> None:
    """The registry has taken half of the bytes and says that something is wrong."""

    def half(request: Request) -> Reply | None:
        if request.method != "PATCH" or request.turn > 1:
            return None
        registry.uploads[request.path.rsplit("/", 1)[1]] += request.body[:1_500_000]
        return Reply(status)

    registry.rules.append(half)
    assert client.push() == "done"
    assert registry.blobs[BLOB.digest] == DATA


def moved(location: str, first: bool = True) -> Rule:
    """A registry whose POST names this Location."""

    def rule(request: Request) -> Reply | None:
        if request.method != "POST":
            return None
        return Reply(202, headers={"Location": location})

    return rule


def test_locations(registry: BadRegistry, client: Client) -> None:
    """Relative, with a query of its own, and another one in each answer."""
    registry.uploads["one"] = registry.uploads["two"] = bytearray()
    registry.rules.append(moved("one?state=a%2Fb&n=1"))

    def patched(request: Request) -> Reply | None:
        if request.method != "PATCH":
            return None
        assert request.path == "/v2/team/x/blobs/uploads/one?state=a%2Fb&n=1"
        registry.uploads["two"] += request.body
        return Reply(202, headers={"Location": "/v2/team/x/blobs/uploads/two?state=c"})

    registry.rules.append(patched)
    assert client.push() == "done"
    (put,) = [one for one in registry.requests if one.method == "PUT"]
    assert put.path.startswith("/v2/team/x/blobs/uploads/two?state=c&digest=sha256%3A")
    assert registry.blobs[BLOB.digest] == DATA


def test_another_host_gets_the_bytes_and_no_credential(
    registry: BadRegistry, client: Client
) -> None:
    def basic(request: Request) -> Reply | None:
        if "authorization" in request.headers:
            return None
        return Reply(401, headers={"WWW-Authenticate": 'Basic realm="x"'})

    registry.rules.append(basic)
    with BadRegistry() as storage:
        storage.uploads["far"] = bytearray()
        registry.rules.append(moved(f"{storage.url}/v2/s/blobs/uploads/far"))
        assert client.push() == "done"
        assert storage.blobs[BLOB.digest] == DATA
        assert not [one for one in storage.requests if "authorization" in one.headers]
    assert [one for one in registry.requests if "authorization" in one.headers]


@pytest.mark.parametrize("location", ["file:///etc/passwd", "http://example.com/x", "ftp://x/"])
def test_a_location_that_may_not_be_followed(
    registry: BadRegistry, client: Client, location: str
) -> None:
    registry.rules.append(moved(location))
    with pytest.raises(RegistryError, match="cannot follow"):
        client.push()


def mount(status: int) -> Rule:
    def rule(request: Request) -> Reply | None:
        if request.method != "POST" or "mount=" not in request.path:
            return None
        assert "from=team%2Fold" in request.path
        return Reply(status) if status != 202 else None

    return rule


@pytest.mark.parametrize(
    ("status", "outcome", "posts"),
    [(201, "mounted", 1), (202, "done", 1), (404, "done", 2), (405, "done", 2)],
)
def test_mounts(
    registry: BadRegistry, client: Client, status: int, outcome: str, posts: int
) -> None:
    """Only 201 is a mount; 202 is the begin of an upload, which needs no second POST."""
    registry.rules.append(mount(status))
    assert client.push("team/old") == outcome
    assert len([one for one in registry.requests if one.method == "POST"]) == posts
    assert (BLOB.digest in registry.blobs) == (outcome == "done")


@pytest.mark.parametrize("status", [401, 403, 405, 500])
def test_a_registry_that_refuses_head_is_pushed_to(
    registry: BadRegistry, client: Client, status: int
) -> None:
    registry.rules.append(lambda request: Reply(status) if request.method == "HEAD" else None)
    assert client.push() == "done"
    assert registry.blobs[BLOB.digest] == DATA


def test_a_token_that_ends_in_the_middle_is_renewed(registry: BadRegistry, client: Client) -> None:
    tokens = 0

    def bearer(request: Request) -> Reply | None:
        nonlocal tokens
        if request.path.startswith("/token"):
            tokens += 1
            return Reply(200, b'{"token": "T%d"}' % tokens)
        wanted = f"Bearer T{1 if request.method in ('HEAD', 'POST') else 2}"
        if request.headers.get("authorization") == wanted:
            return None
        realm = f'Bearer realm="{registry.url}/token",service="s"'
        return Reply(401, headers={"WWW-Authenticate": realm})

    registry.rules.append(bearer)
    assert client.push() == "done"
    assert registry.blobs[BLOB.digest] == DATA and tokens == 2
    scopes = [one.path for one in registry.requests if one.path.startswith("/token")]
    assert all("scope=repository%3Ateam%2Fx%3Apull%2Cpush" in scope for scope in scopes)


def test_a_manifest_is_the_bytes_that_were_sent(registry: BadRegistry, client: Client) -> None:
    data = b'{"schemaVersion":2,  "odd": "spaces"}'
    assert client.upload.manifest(data, model.OCI_MANIFEST, "v1") == digest(data)
    assert registry.manifests["v1"] == (data, model.OCI_MANIFEST)
    registry.rules.append(
        lambda request: (
            Reply(201, headers={"Docker-Content-Digest": digest(b"other")})
            if request.method == "PUT"
            else None
        )
    )
    with pytest.raises(CorruptError, match="made sha256"):
        client.upload.manifest(data, model.OCI_MANIFEST, "v1")


def test_a_refusal_says_why(registry: BadRegistry, client: Client) -> None:
    body = b'{"errors":[{"code":"DENIED","message":"the quota is used up"}]}'
    registry.rules.append(lambda request: Reply(403, body) if request.method == "POST" else None)
    with pytest.raises(RegistryError, match="quota is used up"):
        client.push()
