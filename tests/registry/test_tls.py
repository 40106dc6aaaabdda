"""Certificates: checked, unless the user says otherwise; and https stays https."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from badregistry import BadRegistry, Reply
from certificates import self_signed
from imagemaker import MadeImage
from sampan.model.reference import parse
from sampan.registry import config
from sampan.registry.access import Access
from sampan.registry.errors import RegistryError, UnreachableError
from sampan.registry.fetch import Remote


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed one for 127.0.0.1: cert.pem and key.pem in the directory."""
    directory = tmp_path_factory.mktemp("tls")
    self_signed(directory)
    return directory


@pytest.fixture
def registry(certificate: Path) -> Iterator[BadRegistry]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
    with BadRegistry(context) as server:
        server.add(MadeImage())
        yield server


@pytest.fixture(autouse=True)
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


def fetch(registry: BadRegistry, conf: str = "", tls_verify: bool | None = None) -> bytes:
    remote = Remote(
        parse(registry.name()),
        config.parse(conf, "a test"),
        access=Access(tls_verify),
        sleep=lambda seconds: None,
    )
    return remote.manifest("1").data


@pytest.mark.parametrize("tls_verify", [None, True])
def test_a_certificate_of_nobody_is_refused(registry: BadRegistry, tls_verify: bool | None) -> None:
    with pytest.raises(UnreachableError, match="CERTIFICATE_VERIFY_FAILED"):
        fetch(registry, tls_verify=tls_verify)
    assert not registry.requests


def test_without_verification(registry: BadRegistry) -> None:
    assert fetch(registry, tls_verify=False) == MadeImage().manifest
    insecure = f'[[registry]]\nlocation = "{registry.host}"\ninsecure = true'
    assert fetch(registry, insecure) == MadeImage().manifest
    with pytest.raises(UnreachableError):  # the word of the command line counts more
        fetch(registry, insecure, tls_verify=True)


def test_an_authority_of_certs_d(registry: BadRegistry, certificate: Path, tmp_path: Path) -> None:
    directory = tmp_path / "config/containers/certs.d" / registry.host
    directory.mkdir(parents=True)
    (directory / "ca.crt").write_bytes((certificate / "cert.pem").read_bytes())
    assert fetch(registry, tls_verify=True) == MadeImage().manifest


@pytest.mark.parametrize("given", ["certs.d", "--cert-dir", "nothing"])
def test_a_certificate_of_the_client(certificate: Path, tmp_path: Path, given: str) -> None:
    """A registry that lets in only who shows a certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
    context.load_verify_locations(certificate / "cert.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    with BadRegistry(context) as server:
        server.add(MadeImage())
        directory = tmp_path / "config/containers/certs.d" / server.host
        if given == "--cert-dir":
            directory = tmp_path / "other"
        directory.mkdir(parents=True)
        (directory / "ca.crt").write_bytes((certificate / "cert.pem").read_bytes())
        if given != "nothing":
            (directory / "client.cert").write_bytes((certificate / "cert.pem").read_bytes())
            (directory / "client.key").write_bytes((certificate / "key.pem").read_bytes())
        access = Access(True, cert_dir=str(directory) if given == "--cert-dir" else "")
        remote = Remote(
            parse(server.name()),
            config.RegistriesConf(),
            access=access,
            sleep=lambda seconds: None,
        )
        if given == "nothing":
            with pytest.raises(UnreachableError):
                remote.manifest("1")
            assert not server.requests
        else:
            assert remote.manifest("1").data == MadeImage().manifest


def test_https_never_becomes_http(registry: BadRegistry) -> None:
    with BadRegistry() as plain:
        plain.add(MadeImage())
        registry.rules.append(
            lambda request: (
                Reply(307, headers={"Location": f"{plain.url}{request.path}"})
                if "/manifests/" in request.path
                else None
            )
        )
        with pytest.raises(RegistryError, match="from https to http"):
            fetch(registry, tls_verify=False)
        assert not plain.requests
