"""A registry that misbehaves in every known way, and `pull` from it: the right verdict, soon, in little memory."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from badregistry import BadRegistry, Reply, Request
from imagemaker import MadeImage, digest, layer_tar
from sampan.model import image as model
from system_tools import Sampan

MEBIBYTES = 100
SECONDS = 2.0
BLOB = os.urandom(1 << 20)
# A process counts as its own what its parent had when it was forked: this small one stands between.
MEASURED = """
import resource, subprocess, sys
status = subprocess.run(sys.argv[2:]).returncode
open(sys.argv[1], "w").write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))
sys.exit(status)
"""


class Case(NamedTuple):
    """verdict: a part of the error's one line, "" if the pull succeeds; seconds: beyond which it is too slow."""

    spoil: Callable[[BadRegistry, MadeImage], object]
    verdict: str
    seconds: float = SECONDS


def rule(
    part: str, reply: Callable[[BadRegistry, Request], Reply | None]
) -> Callable[[BadRegistry, MadeImage], object]:
    """Requests whose path has that part are answered so."""

    def spoil(registry: BadRegistry, image: MadeImage) -> None:
        name = part or digest(image.layers[0])

        def answer(request: Request) -> Reply | None:
            return reply(registry, request) if name in request.path else None

        registry.rules.append(answer)

    return spoil


def blob(
    reply: Callable[[BadRegistry, Request], Reply | None],
) -> Callable[[BadRegistry, MadeImage], object]:
    return rule("", reply)


def layer(registry: BadRegistry, request: Request) -> bytes:
    return registry.blobs[request.path.rsplit("/", 1)[1]]


def manifest(
    change: Callable[[dict[str, Any]], Any], text: Callable[[str], str] = str
) -> Callable[[BadRegistry, MadeImage], object]:
    """The manifest as changed, its digest its own."""

    def spoil(registry: BadRegistry, image: MadeImage) -> None:
        document = json.loads(image.manifest)
        change(document)
        registry.put(text(json.dumps(document)).encode(), model.OCI_MANIFEST, "1")

    return spoil


def keep(document: dict[str, Any]) -> None:
    """Only the text is changed."""


def replaced(data: bytes, diff: bytes | None = None) -> Callable[[BadRegistry, MadeImage], object]:
    """An image whose only layer has these bytes; diff: what they should unpack to."""

    def spoil(registry: BadRegistry, image: MadeImage) -> None:
        config = {
            "architecture": "amd64",
            "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": [digest(diff or image.tars[0])]},
        }
        raw = json.dumps(config).encode()
        document = json.loads(image.manifest)
        document["config"] |= {"digest": digest(raw), "size": len(raw)}
        document["layers"] = [{**document["layers"][0], "digest": digest(data), "size": len(data)}]
        registry.blobs |= {digest(raw): raw, digest(data): data}
        registry.put(json.dumps(document).encode(), model.OCI_MANIFEST, "1")

    return spoil


def redirect(where: str) -> Callable[[BadRegistry, Request], Reply]:
    return lambda registry, request: Reply(
        307, headers={"Location": where.format(host=registry.host, path=request.path)}
    )


def elsewhere(registry: BadRegistry, request: Request) -> Reply | None:
    return (
        None
        if "/elsewhere" in request.path
        else redirect("http://{host}/elsewhere{path}")(registry, request)
    )


def moved(registry: BadRegistry, image: MadeImage) -> None:
    blob(elsewhere)(registry, image)
    rule("/elsewhere", lambda registry, request: Reply(200, layer(registry, request)))(
        registry, image
    )


def first(reply: Reply) -> Callable[[BadRegistry, Request], Reply | None]:
    return lambda registry, request: reply if request.turn == 1 else None


def token_loop(registry: BadRegistry, request: Request) -> Reply:
    if request.path.startswith("/token"):
        return Reply(200, b'{"token": "T"}')
    return Reply(
        401, headers={"WWW-Authenticate": f'Bearer realm="{registry.url}/token",service="x"'}
    )


BOMB = gzip.compress(bytes(1 << 28), 1)
CASES = {
    "ok": Case(lambda registry, image: None, ""),
    "reset once": Case(
        blob(lambda r, q: Reply(200, layer(r, q), cut=500_000) if q.turn == 1 else None), "", 5
    ),
    "cut for ever": Case(blob(lambda r, q: Reply(200, layer(r, q), cut=500_000)), "was cut", 20),
    "short": Case(blob(lambda r, q: Reply(200, layer(r, q)[:-1])), "the registry sends"),
    "long": Case(blob(lambda r, q: Reply(200, layer(r, q) + b"x")), "the registry sends"),
    "corrupt": Case(
        blob(lambda r, q: Reply(200, layer(r, q)[:-9] + b"corrupted")), "its bytes have the digest"
    ),
    "wrong digest header": Case(
        rule(
            "/manifests/",
            lambda r, q: Reply(200, r.manifests["1"][0], {"Docker-Content-Digest": digest(b"x")}),
        ),
        "it should be",
    ),
    "401 for ever": Case(rule("/", token_loop), "answers 401"),
    "500": Case(rule("/manifests/", lambda r, q: Reply(500)), "answers 500", 5),
    "429": Case(
        rule("/manifests/", lambda r, q: Reply(429, headers={"Retry-After": "1"})),
        "log in for a higher limit",
        12,
    ),
    "429 for an hour": Case(
        rule("/manifests/", lambda r, q: Reply(429, headers={"Retry-After": "3600"})),
        "asks to wait 3600 s",
    ),
    "503 once": Case(rule("/manifests/", first(Reply(503, headers={"Retry-After": "1"}))), "", 5),
    "redirects in a circle": Case(rule("/manifests/", redirect("{path}")), "go in a circle"),
    "redirect to a file": Case(blob(redirect("file:///etc/passwd")), "not to http(s)"),
    "redirect to plain http elsewhere": Case(
        blob(redirect("http://192.0.2.1{path}")), "plain http on 192.0.2.1"
    ),
    "redirect within the host": Case(moved, ""),
    "huge manifest": Case(
        manifest(lambda d: d.update(annotations={"a": "A" * (8 << 20)})), "at most 4194304"
    ),
    "deep manifest": Case(
        manifest(keep, lambda t: t[:-1] + ', "x": ' + "[" * 100_000 + "]" * 100_000 + "}"),
        "nested deeper",
    ),
    "bad JSON": Case(manifest(keep, lambda t: t[:-5]), "bad JSON"),
    "HTML": Case(manifest(keep, lambda t: "<html>log in</html>"), "bad JSON"),
    "no types": Case(
        manifest(lambda d: (d.pop("mediaType", None), d["config"].pop("mediaType", None))), ""
    ),
    "wrong size": Case(manifest(lambda d: d["layers"][0].update(size=7)), "7 bytes"),
    "negative size": Case(manifest(lambda d: d["layers"][0].update(size=-1)), "bad size -1"),
    "size in words": Case(manifest(lambda d: d["layers"][0].update(size="7")), "bad size"),
    "20,000 layers": Case(manifest(lambda d: d.update(layers=d["layers"] * 20_000)), "at most"),
    "a key twice": Case(manifest(keep, lambda t: t[:-1] + ', "layers": []}'), "is there twice"),
    "two kinds at once": Case(
        manifest(lambda d: d.update(manifests=[])), "a manifest and an index at once"
    ),
    "schema 1": Case(manifest(lambda d: d.update(schemaVersion=1, fsLayers=[])), "schema 1"),
    "a digest that is a path": Case(
        manifest(lambda d: d["layers"][0].update(digest="sha256:../../etc/passwd")), "bad digest"
    ),
    "urls that want a credential": Case(
        manifest(lambda d: d["layers"][0].update(urls=["http://127.0.0.1:1/steal"])), ""
    ),
    "a bomb": Case(replaced(BOMB), "its content is", 10),
    "bad gzip": Case(replaced(b"\x1f\x8b" + b"notgzip" * 1000), "bad gzip"),
    "a layer that is no archive": Case(
        replaced(gzip.compress(b"junk" * 4096), b"junk" * 4096), "cannot unpack"
    ),
}


@pytest.fixture
def bad() -> Iterator[BadRegistry]:
    with BadRegistry() as found:
        yield found


@pytest.mark.parametrize("name", CASES)
def test_a_pull(fresh: Sampan, bad: BadRegistry, tmp_path: Path, name: str) -> None:
    case = CASES[name]
    image = MadeImage([layer_tar({"file": BLOB})])
    bad.add(image)
    case.spoil(bad, image)
    begun = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, str(tmp_path / "peak"), fresh.program, "pull", "-q", bad.name()],
        env=fresh.environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    out, errors = done.stdout, done.stderr
    seconds = time.monotonic() - begun
    assert (done.returncode == 0) == (not case.verdict), errors
    if case.verdict:
        assert case.verdict in errors and errors.count("\n") == 1 and not out, errors
        assert fresh.text("images", "-q") == ""
        fresh.text("system", "prune", "-f")
        left = [
            path.name
            for place in ("ingest", "blobs/sha256")
            for path in (fresh.root / place).glob("*")
        ]
        assert not [one for one in left if not one.endswith(".partial")], left
    assert seconds < case.seconds + 1, seconds  # the interpreter's start on a busy machine is in it
    assert int((tmp_path / "peak").read_text()) / 1024 < MEBIBYTES
