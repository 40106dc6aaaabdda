"""Pushes to a registry that nobody here wrote, open, with TLS and passwords, with tokens; skopeo reads them."""

from __future__ import annotations

import base64
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from certificates import self_signed
from engine.standin import StandIn
from imagemaker import MadeImage, layer_tar
from registry.conftest import PASSWORD, USER, htpasswd, registry, stand_in
from sampan.engine.pull import pull
from sampan.engine.push import push
from sampan.engine.recompress import Compression, parse
from sampan.errors import SampanError
from sampan.model import image as model
from sampan.registry import login
from sampan.registry.access import Access, Credential
from sampan.registry.config import RegistriesConf
from sampan.registry.errors import RegistryError
from sampan.store.images import Image
from tokenserver import TokenServer

pytestmark = pytest.mark.usefixtures("no_configuration")


class Place(NamedTuple):
    """A registry, how sampan is to speak to it, and the same for skopeo."""

    host: str
    access: Access
    skopeo: list[str]


GOOD = Credential(USER, PASSWORD)


@pytest.fixture(scope="module", params=["open", "password", "token"])
def place(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Place]:
    root = tmp_path_factory.mktemp("registry")
    creds = f"{USER}:{PASSWORD}"
    if request.param == "open":
        with registry(root) as host:
            yield Place(host, Access(), ["--tls-verify=false"])
    elif request.param == "password":
        tls = self_signed(root)
        with registry(root, htpasswd(root), tls) as host:
            access = Access(tls_verify=True, credential=GOOD, cert_dir=str(root / "certs"))
            (root / "certs").mkdir()
            (root / "certs" / "ca.crt").write_bytes(tls[0].read_bytes())
            yield Place(host, access, [f"--cert-dir={root}/certs", f"--creds={creds}"])
    else:
        with (
            TokenServer(root, USER, PASSWORD) as tokens,
            registry(root, tokens.configuration) as host,
        ):
            auth = base64.b64encode(creds.encode()).decode()
            document = {"auths": {tokens.host: {"auth": auth}, host: {"auth": auth}}}
            (root / "auth.json").write_text(json.dumps(document))
            access = Access(authfile=str(root / "auth.json"))
            yield Place(host, access, ["--tls-verify=false", f"--creds={creds}"])


def made(engine: StandIn, *names: str, kind: str = model.OCI_MANIFEST) -> Image:
    image = MadeImage([layer_tar({"a": os.urandom(9 << 20)}), layer_tar({"b": b"2"})])
    with engine.images.lease() as lease:
        for data in image.blobs.values():
            engine.blobs.put(data, lease)
        return engine.images.add(engine.blobs.put(image.manifest, lease), list(names))


def inspect(place: Place, name: str, *options: str) -> str:
    done = subprocess.run(
        ["skopeo", "inspect", *place.skopeo, *options, f"docker://{name}"],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    return done.stdout


def test_there_and_back(place: Place, tmp_path: Path) -> None:
    engine = stand_in(tmp_path / "source")
    name = f"{place.host}/team/app:1"
    image = made(engine, name)
    assert push(engine, name, access=place.access) == image.digest  # type: ignore[arg-type]
    assert json.loads(inspect(place, name))["Digest"] == image.digest
    pulled = pull(stand_in(tmp_path / "other"), name, access=place.access)
    assert (pulled.digest, pulled.id) == (image.digest, image.id)
    copy = [
        "skopeo",
        "copy",
        "-q",
        *(f"--src-{one[2:]}" for one in place.skopeo),
        f"docker://{name}",
        f"dir:{tmp_path}/d",
    ]
    subprocess.run(copy, check=True, timeout=60)


def test_a_second_repository_is_mounted_to(place: Place, tmp_path: Path) -> None:
    """The blobs of an image of the same registry are not sent again."""
    engine = stand_in(tmp_path / "source")
    first, second = f"{place.host}/team/one:1", f"{place.host}/other/two:1"
    made(engine, first)
    push(engine, first, access=place.access)  # type: ignore[arg-type]
    outcomes: dict[str, str] = {}

    class Told:
        def note(self, text: str) -> None: ...
        def begin(self, digest: str, size: int, kind: str) -> None: ...
        def update(self, digest: str, received: int) -> None: ...
        def end(self, digest: str, outcome: str) -> None:
            outcomes[digest] = outcome

    push(engine, first, second, access=place.access, progress=Told())  # type: ignore[arg-type]
    assert set(outcomes.values()) == {"mounted"}
    assert inspect(place, second, "--raw") == inspect(place, first, "--raw")


@pytest.mark.parametrize(("algorithm", "suffix"), [("zstd:7", "+zstd"), ("gzip:6", "+gzip")])
def test_recompressed(place: Place, tmp_path: Path, algorithm: str, suffix: str) -> None:
    engine = stand_in(tmp_path / "source")
    name = f"{place.host}/team/packed:1"
    image = made(engine, name)
    compression = parse(algorithm, force=True)
    digest = push(engine, name, compression=compression, access=place.access)  # type: ignore[arg-type]
    assert digest != image.digest
    manifest = json.loads(inspect(place, name, "--raw"))
    assert all(layer["mediaType"].endswith(suffix) for layer in manifest["layers"])
    assert manifest["config"]["digest"] == image.id
    again = push(engine, name, compression=compression, access=place.access)  # type: ignore[arg-type]
    assert again == digest, "the same bytes each time"
    back = [
        "skopeo",
        "copy",
        "-q",
        *(f"--src-{one[2:]}" for one in place.skopeo),
        f"docker://{name}",
        f"oci:{tmp_path}/back:x",
    ]
    subprocess.run(back, check=True, timeout=60)


def test_another_form(place: Place, tmp_path: Path) -> None:
    engine = stand_in(tmp_path / "source")
    name = f"{place.host}/team/form:1"
    image = made(engine, name)
    push(engine, name, form="docker", access=place.access)  # type: ignore[arg-type]
    manifest = json.loads(inspect(place, name, "--raw"))
    assert manifest["mediaType"] == model.DOCKER_MANIFEST
    assert manifest["config"] == {
        **manifest["config"],
        "mediaType": model.DOCKER_CONFIG,
        "digest": image.id,
    }
    with pytest.raises(SampanError, match="zstd"):
        push(engine, name, form="docker", compression=Compression("zstd"), access=place.access)  # type: ignore[arg-type]


def test_login(place: Place) -> None:
    conf = RegistriesConf()
    if place.access.credential is None:
        return
    assert login.check(place.host, conf, place.access)
    wrong = place.access._replace(credential=Credential(USER, "wrong"))
    with pytest.raises(login.RefusedError, match="invalid username/password"):
        login.check(place.host, conf, wrong)


def test_without_a_credential(place: Place, tmp_path: Path) -> None:
    if place.access == Access():
        return
    engine = stand_in(tmp_path / "source")
    name = f"{place.host}/team/refused:1"
    made(engine, name)
    nobody = place.access._replace(credential=None, authfile=str(tmp_path / "none"))
    with pytest.raises(RegistryError, match=r"unauthorized|denied|401"):
        push(engine, name, access=nobody)  # type: ignore[arg-type]
    assert not engine.leftovers()
