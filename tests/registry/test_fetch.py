"""Blobs and manifests over a line that breaks, and through mirrors."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from email.utils import formatdate
from pathlib import Path

import pytest

from badregistry import BadRegistry, Reply, Request
from imagemaker import MadeImage, digest
from sampan.errors import CorruptError, NotFoundError, SampanError
from sampan.model.image import Descriptor
from sampan.model.reference import parse
from sampan.registry import config, fetch, waiting
from sampan.registry.errors import RegistryError
from sampan.registry.fetch import Remote
from sampan.store.blobs import BlobStore

DATA = os.urandom(5_000_000)
NAME = digest(DATA)
BLOB = Descriptor("", NAME, len(DATA))
CUT = len(DATA) * 6 // 10


class Client:
    """A remote without configuration, and a store to fetch into."""

    def __init__(self, registry: BadRegistry, root: Path) -> None:
        root.mkdir()
        self.root = root
        self.blobs = BlobStore(os.open(root, os.O_RDONLY))
        self.notes: list[str] = []
        self.waits: list[float] = []
        self.conf = config.RegistriesConf()
        self.registry = registry

    def remote(self, read_seconds: float = 5.0) -> Remote:
        return Remote(
            parse(self.registry.name()),
            self.conf,
            note=self.notes.append,
            sleep=self.waits.append,
            read_seconds=read_seconds,
            mirror_seconds=0.5,
        )

    def fetch(self, remote: Remote | None = None) -> list[int]:
        seen: list[int] = []
        with self.blobs.ingest(NAME, len(DATA)) as ingest:
            (remote or self.remote()).blob(BLOB, ingest, seen.append)
            os.close(ingest.verify())
            ingest.commit()
        assert max(seen) == len(DATA)
        assert self.blobs.read(NAME, 1 << 24) == DATA
        return seen


@pytest.fixture
def registry() -> Iterator[BadRegistry]:
    with BadRegistry() as server:
        server.blobs[NAME] = DATA
        server.add(MadeImage())
        yield server


@pytest.fixture
def client(registry: BadRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Client:
    for name in ("REGISTRY_AUTH_FILE", "DOCKER_CONFIG", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return Client(registry, tmp_path / "store")


def ranges(registry: BadRegistry) -> list[str | None]:
    return [one.headers.get("range") for one in registry.requests if NAME in one.path]


def first_cut(request: Request) -> Reply | None:
    if NAME in request.path and request.turn == 1:
        return Reply(200, DATA, cut=CUT)
    return None


def test_a_cut_is_resumed(registry: BadRegistry, client: Client) -> None:
    registry.rules.append(first_cut)
    client.fetch()
    assert ranges(registry) == [None, f"bytes={CUT}-"]


@pytest.mark.parametrize(
    "answer",
    [
        Reply(200, DATA),
        Reply(416),
        Reply(
            206, DATA[CUT - 5 :], {"Content-Range": f"bytes {CUT - 5}-{len(DATA) - 1}/{len(DATA)}"}
        ),
        Reply(206, DATA[CUT:], {"Content-Range": f"bytes {CUT}-{len(DATA)}/{len(DATA) + 1}"}),
        Reply(206, DATA[CUT:]),
    ],
    ids=["200", "416", "before", "longer", "silent"],
)
def test_an_answer_that_does_not_go_on_starts_over(
    registry: BadRegistry, client: Client, answer: Reply
) -> None:
    registry.rules += [
        first_cut,
        lambda request: answer if NAME in request.path and request.turn == 2 else None,
    ]
    client.fetch()


def test_a_killed_download_is_taken_up(registry: BadRegistry, client: Client) -> None:
    with client.blobs.ingest(NAME, len(DATA)) as ingest:
        ingest.write(DATA[:CUT])
    client.fetch()
    assert ranges(registry) == [f"bytes={CUT}-"]


def test_a_damaged_partial_is_dropped(registry: BadRegistry, client: Client) -> None:
    with client.blobs.ingest(NAME, len(DATA)) as ingest:
        ingest.write(b"x" * CUT)
    with client.blobs.ingest(NAME, len(DATA)) as ingest:
        client.remote().blob(BLOB, ingest, lambda received: None)
        with pytest.raises(CorruptError):
            ingest.verify()
    assert not list((client.root / "ingest").iterdir())


def test_many_cuts(registry: BadRegistry, client: Client) -> None:
    def often(request: Request) -> Reply | None:
        if NAME in request.path:
            return registry.ranged(request, DATA, cut=1 << 20)
        return None

    registry.rules.append(often)
    seen = client.fetch()
    assert seen == sorted(seen)
    assert len(ranges(registry)) == 5


def test_cuts_without_progress_end(registry: BadRegistry, client: Client) -> None:
    def never(request: Request) -> Reply | None:
        return registry.ranged(request, DATA, cut=10) if NAME in request.path else None

    registry.rules.append(never)
    with pytest.raises(RegistryError, match="cut"):
        client.fetch()
    assert len(ranges(registry)) == 5


def test_a_stall_is_a_cut(registry: BadRegistry, client: Client) -> None:
    registry.rules.append(
        lambda request: (
            Reply(200, DATA, stall=3.0) if NAME in request.path and request.turn == 1 else None
        )
    )
    begun = time.monotonic()
    client.fetch(client.remote(read_seconds=0.4))
    assert time.monotonic() - begun < 3


def test_an_expired_signature_is_renewed(registry: BadRegistry, client: Client) -> None:
    with BadRegistry() as storage:
        registry.rules.append(
            lambda request: (
                Reply(307, headers={"Location": f"{storage.url}/signed?n={request.turn}"})
                if NAME in request.path
                else None
            )
        )
        storage.rules.append(
            lambda request: (
                Reply(200, DATA, cut=CUT)
                if request.path.endswith("n=1") and request.turn == 1
                else Reply(403)
                if request.path.endswith("n=1")
                else storage.ranged(request, DATA)
            )
        )
        client.fetch()
        assert storage.paths() == ["/signed?n=1", "/signed?n=2"]


@pytest.mark.parametrize(
    ("after", "wait"),
    [
        (lambda: "2", 2.0),
        (lambda: formatdate(time.time() + 20, usegmt=True), 20.0),
        (lambda: str(int(time.time()) + 20), 20.0),
        (None, 0.5),
    ],
    ids=["seconds", "date", "timestamp", "absent"],
)
@pytest.mark.parametrize("status", [429, 503])
def test_waiting(
    registry: BadRegistry,
    client: Client,
    status: int,
    after: Callable[[], str] | None,
    wait: float,
) -> None:
    headers = {"Retry-After": after()} if after else {}
    registry.rules.append(
        lambda request: (
            Reply(status, b"slow down", headers)
            if "manifests" in request.path and request.turn == 1
            else None
        )
    )
    client.remote().manifest("1")
    assert wait - 3 <= client.waits[0] <= wait * 1.25 + 0.1
    assert f"answers {status}" in client.notes[0]


def test_waiting_has_an_end(registry: BadRegistry, client: Client) -> None:
    registry.rules.append(
        lambda request: Reply(429, b'{"errors":[{"code":"X","message":"quota"}]}')
    )
    with pytest.raises(RegistryError, match=r"quota.*log in"):
        client.remote().manifest("1")
    assert len(registry.paths("manifests")) == 5
    registry.rules[:] = [lambda request: Reply(429, b"plain words", {"Retry-After": "3600"})]
    client.waits.clear()
    with pytest.raises(RegistryError, match=r"3600 s.*plain words.*mirror"):
        client.remote().manifest("1")
    assert not client.waits


def test_what_a_wait_is_read_from() -> None:
    message = "toomanyrequests: retry-after: 705.874µs, allowed: 44000/minute"
    wanted = waiting.asked(None, message)
    assert wanted is not None and 0.0007 < wanted < 0.00071
    assert waiting.asked("soon", "") is None
    assert waiting.asked("Thu, 01 Jan 1970 00:00:00 GMT", "") == 0.0


def mirrored(client: Client, *mirrors: BadRegistry) -> Remote:
    text = f'[[registry]]\nlocation = "{client.registry.host}"\n' + "".join(
        f'[[registry.mirror]]\nlocation = "{mirror.host}"\n' for mirror in mirrors
    )
    client.conf = config.parse(text, "a test")
    return client.remote()


@pytest.mark.parametrize(
    "answer", [Reply(404), Reply(401), Reply(500), Reply(200, stall=2.0), Reply(200, b"<html>")]
)
def test_a_mirror_that_fails_is_passed_over(
    registry: BadRegistry, client: Client, answer: Reply
) -> None:
    with BadRegistry() as mirror:
        mirror.rules.append(lambda request: answer if "manifests" in request.path else None)
        remote = mirrored(client, mirror)
        fetched = remote.manifest("1")
        assert fetched.data in (fetched.data, MadeImage().manifest)
        if answer.body != b"<html>":  # whether it is a manifest is not the transport's to say
            assert fetched.data == MadeImage().manifest
            assert remote.served_by == registry.host
        assert not any("authorization" in one.headers for one in mirror.requests)


def test_a_mirror_serves(registry: BadRegistry, client: Client) -> None:
    with BadRegistry() as empty, BadRegistry() as mirror:
        mirror.add(MadeImage())
        mirror.blobs[NAME] = DATA
        remote = mirrored(client, empty, mirror)
        remote.manifest("1")
        client.fetch(remote)
        assert remote.served_by == mirror.host
        assert not registry.requests


def test_a_mirror_without_the_blob(registry: BadRegistry, client: Client) -> None:
    with BadRegistry() as mirror:
        mirror.add(MadeImage())
        remote = mirrored(client, mirror)
        remote.manifest("1")
        client.fetch(remote)
        assert ranges(registry) == [None]


def test_the_wrong_digest_is_refused(registry: BadRegistry, client: Client) -> None:
    manifest = MadeImage().manifest
    headers = {"Docker-Content-Digest": "sha256:" + "0" * 64}
    registry.rules.append(
        lambda request: Reply(200, manifest, headers) if "manifests" in request.path else None
    )
    with pytest.raises(CorruptError):
        client.remote().manifest("1")
    with pytest.raises(CorruptError):
        client.remote().manifest("sha256:" + "1" * 64)


def test_what_does_not_exist(client: Client) -> None:
    with pytest.raises(NotFoundError, match="there is none"):
        client.remote().manifest("other")


def test_two_fetch_once(registry: BadRegistry, client: Client) -> None:
    pids = []
    for _ in range(2):
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                remote = client.remote()
                with client.blobs.ingest(NAME, len(DATA)) as ingest:
                    if not ingest.complete:
                        remote.blob(BLOB, ingest, lambda received: time.sleep(0.001))
                        os.close(ingest.verify())
                        ingest.commit()
                status = 0
            finally:
                os._exit(status)
        pids.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in pids] == [0, 0]
    assert len(ranges(registry)) == 1
    assert client.blobs.has(NAME)
    assert not list((client.root / "ingest").iterdir())


def test_a_refused_connection_says_so(client: Client) -> None:
    client.registry.port  # noqa: B018
    remote = Remote(parse("127.0.0.1:1/x"), client.conf, sleep=client.waits.append)
    with pytest.raises(SampanError, match="refused"):
        remote.manifest("1")


class Received:
    """What a pace looks at of an ingest."""

    digest = "sha256:x"
    offset = 0


def test_a_connection_that_drips_is_given_up() -> None:
    received = Received()
    pace = fetch._Pace(received, seconds=0.1)  # type: ignore[arg-type]
    received.offset = fetch.FLOOR  # ten times the floor's rate
    time.sleep(0.12)
    pace.check()
    received.offset += 10
    pace.check()  # within the time that it has
    time.sleep(0.12)
    with pytest.raises(RegistryError, match="less than 1024 bytes a second"):
        pace.check()
