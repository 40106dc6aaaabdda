"""Names, as Docker's distribution/reference has them."""

from __future__ import annotations

import subprocess
import sys

import pytest

from sampan.errors import UsageError
from sampan.model.reference import Reference, has_domain, is_digest, parse

DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("text", "full", "familiar"),
    [
        ("alpine", "docker.io/library/alpine:latest", "alpine:latest"),
        ("alpine:3", "docker.io/library/alpine:3", "alpine:3"),
        ("library/x", "docker.io/library/x:latest", "x:latest"),
        ("me/x", "docker.io/me/x:latest", "me/x:latest"),
        ("docker.io/x", "docker.io/library/x:latest", "x:latest"),
        ("index.docker.io/x", "docker.io/library/x:latest", "x:latest"),
        ("localhost/x", "localhost/x:latest", "localhost/x:latest"),
        ("localhost:5000/a", "localhost:5000/a:latest", "localhost:5000/a:latest"),
        ("a.b/c", "a.b/c:latest", "a.b/c:latest"),
        ("Host/x", "Host/x:latest", "Host/x:latest"),
        ("[::1]:5000/a:1", "[::1]:5000/a:1", "[::1]:5000/a:1"),
        ("quay.io/a/b/c-d_e__f.g--h:V1.0-x_", "quay.io/a/b/c-d_e__f.g--h:V1.0-x_", ""),
        (f"x@{DIGEST}", f"docker.io/library/x@{DIGEST}", f"x@{DIGEST}"),
        (f"x:1@{DIGEST}", f"docker.io/library/x:1@{DIGEST}", f"x:1@{DIGEST}"),
    ],
)
def test_parse(text: str, full: str, familiar: str) -> None:
    parsed = parse(text)
    assert str(parsed) == full
    assert parsed.familiar == (familiar or full)
    assert parse(full) == parsed


def test_the_digest_wins() -> None:
    parsed = parse(f"x:1@{DIGEST}")
    assert (parsed.tag, parsed.digest, parsed.selector) == ("1", DIGEST, DIGEST)
    assert parse("x").selector == "latest"
    assert parsed.repository == "docker.io/library/x"
    assert parsed != Reference("docker.io", "library/x", "1")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("REPO/Upper", "lower case"),
        ("Alpine", "lower case"),
        ("a.b/C", "lower case"),
        ("", "no part"),
        ("a/", "no part"),
        ("a//b", "no part"),
        ("-a", "no part"),
        ("a..b", "no part"),
        ("a___b", "no part"),
        ("a._b", "no part"),
        ("a b", "no part"),
        ("../../etc", "not a registry"),
        ("a.b/../c", "no part"),
        ("x:", "tag"),
        ("x:-a", "tag"),
        ("x:" + "a" * 129, "tag"),
        ("x:a/b", "not a registry"),
        ("h:99999/x", "not a registry"),
        ("-h.x/x", "not a registry"),
        ("[::x]/a", "not a registry"),
        (f"x@{DIGEST.upper()}", "not sha256:"),
        ("x@sha512:" + "a" * 128, "not sha256:"),
        ("x@", "not sha256:"),
        ("a" * 64, "an image's id"),
        ("a.b/" + "a" * 256, "255"),
        ("x\n", "no part"),
        ("ä", "no part"),
    ],
)
def test_refused(text: str, why: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(text)
    assert why in str(caught.value)
    assert len(str(caught.value)) < 700


def test_helpers() -> None:
    assert has_domain("localhost/x") and has_domain("a:1/x") and not has_domain("a/x")
    assert is_digest(DIGEST)
    for wrong in ("sha256:../" + "a" * 61, DIGEST[:-1], DIGEST + "a", DIGEST.upper(), None, 7):
        assert not is_digest(wrong)


def test_the_way_to_run_stays_light() -> None:
    """What `run` imports of the image side drags nothing heavy along."""
    heavy = {
        "typing", "dataclasses", "pathlib", "hashlib", "contextlib", "urllib", "click", "fcntl",
    }  # fmt: skip
    names = ("model.reference", "store.blobs", "store.entries", "cli.format")
    lines = ";".join(f"import sampan.{name}" for name in names)
    code = f"import sys;before=set(sys.modules);{lines};print(*(set(sys.modules)-before))"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import sys;sys.path[:0]={sys.path!r};{code}"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert not heavy & {name.partition(".")[0] for name in done.stdout.split()}
