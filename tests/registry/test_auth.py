"""Challenges, tokens, redirects: where a credential goes and where it does not."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from badregistry import BadRegistry, Reply, Request
from imagemaker import MadeImage
from sampan.errors import CorruptError, SampanError
from sampan.model.reference import parse
from sampan.registry import auth, config, login
from sampan.registry import credentials as credentials_of
from sampan.registry.access import Access, Credential
from sampan.registry.errors import RegistryError
from sampan.registry.fetch import Remote
from sampan.registry.proxy import proxy_for

SECRET = "canary-password"
BASIC = "Basic " + base64.b64encode(f"me:{SECRET}".encode()).decode()


@pytest.fixture
def registry() -> Iterator[BadRegistry]:
    with BadRegistry() as server:
        server.add(MadeImage())
        yield server


@pytest.fixture(autouse=True)
def credentials(registry: BadRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "auth.json"
    path.write_text(json.dumps({"auths": {registry.host: {"auth": BASIC.split()[1]}}}))
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(path))
    return path


def manifest(registry: BadRegistry, tls_verify: bool | None = None) -> bytes:
    remote = Remote(
        parse(registry.name("a/b")),
        config.RegistriesConf(),
        access=Access(tls_verify),
        sleep=lambda s: None,
    )
    return remote.manifest("1").data


def challenge(registry: BadRegistry, *headers: str, accept: str) -> None:
    """401 with these headers until the Authorization is the right one."""

    def rule(request: Request) -> Reply | None:
        if "/manifests/" not in request.path or request.headers.get("authorization") == accept:
            return None
        return Reply(401, b"", [("WWW-Authenticate", header) for header in headers])

    registry.rules.append(rule)


def tokens(registry: BadRegistry, key: str = "token") -> None:
    registry.rules.append(
        lambda request: (
            Reply(200, json.dumps({key: "T"}).encode())
            if request.path.startswith("/token")
            else None
        )
    )


@pytest.mark.parametrize(
    "headers",
    [
        [
            'Basic realm="x", Bearer realm="{url}/token",service="s",'
            'scope="repository:a/b:pull,push"'
        ],
        ['Basic realm="x"', 'Bearer realm="{url}/token",scope="repository:a/b:pull,push"'],
        ['bearer realm = "{url}/token" , scope = "repository:a/b:pull,push"'],
        ['BEARER scope="repository:a/b:pull,push",error="a \\"b\\"",realm="{url}/token"'],
        ['Negotiate abc==, Bearer realm="{url}/token",scope="repository:a/b:pull,push"'],
    ],
)
def test_bearer(registry: BadRegistry, headers: list[str]) -> None:
    challenge(registry, *(h.replace("{url}", registry.url) for h in headers), accept="Bearer T")
    tokens(registry)
    manifest(registry)
    asked = registry.paths("/token")
    assert len(asked) == 1
    assert "scope=repository%3Aa%2Fb%3Apull%2Cpush" in asked[0]
    token_request = next(one for one in registry.requests if one.path == asked[0])
    assert token_request.headers["authorization"] == BASIC


def test_a_missing_scope_is_made(registry: BadRegistry) -> None:
    challenge(registry, f'Bearer realm="{registry.url}/token?x=1"', accept="Bearer T")
    tokens(registry, "access_token")
    manifest(registry)
    assert registry.paths("/token") == ["/token?x=1&scope=repository%3Aa%2Fb%3Apull"]


def test_a_login_asks_for_no_repository(registry: BadRegistry) -> None:
    """A token without a scope says who one is; `repository::pull` would be refused as malformed."""
    given = Access(credential=Credential("me", SECRET))

    def first(request: Request) -> Reply | None:
        if request.path != "/v2/" or request.headers.get("authorization") == "Bearer T":
            return None
        return Reply(
            401, headers={"WWW-Authenticate": f'Bearer realm="{registry.url}/token",service="s"'}
        )

    registry.rules.append(first)
    tokens(registry)
    assert login.check(registry.host, config.RegistriesConf(), given)
    assert registry.paths("/token") == ["/token?service=s"]


def test_basic_alone(registry: BadRegistry) -> None:
    challenge(registry, 'Basic realm="x"', accept=BASIC)
    manifest(registry)


def test_anonymous(registry: BadRegistry, credentials: Path) -> None:
    credentials.write_text("{}")
    challenge(registry, f'Bearer realm="{registry.url}/token"', accept="Bearer T")
    tokens(registry)
    manifest(registry)
    assert not any(BASIC in one.headers.values() for one in registry.requests)
    registry.rules.clear()
    challenge(registry, 'Basic realm="x"', accept=BASIC)
    with pytest.raises(RegistryError, match="log in"):
        manifest(registry)


def test_a_header_that_cannot_be_read_is_quoted(registry: BadRegistry) -> None:
    challenge(registry, 'Bearer realm="x', accept="")
    with pytest.raises(CorruptError, match='Bearer realm="x'):
        manifest(registry)


def test_a_realm_elsewhere_gets_no_password(registry: BadRegistry) -> None:
    with BadRegistry() as elsewhere:
        challenge(registry, f'Bearer realm="{elsewhere.url}/token"', accept="Bearer T")
        tokens(elsewhere)
        manifest(registry)
        assert elsewhere.paths("/token")
        assert not any("authorization" in one.headers for one in elsewhere.requests)


def test_a_realm_of_plain_http_is_refused(registry: BadRegistry) -> None:
    challenge(registry, 'Bearer realm="http://registry.invalid/token"', accept="Bearer T")
    with pytest.raises(RegistryError, match="not reached by https"):
        manifest(registry)


def test_a_refusal_after_the_token_ends(registry: BadRegistry) -> None:
    challenge(registry, f'Bearer realm="{registry.url}/token"', accept="never")
    tokens(registry)
    with pytest.raises(RegistryError) as caught:
        manifest(registry)
    assert caught.value.status == 401
    assert len(registry.paths("/token")) == 1
    assert SECRET not in str(caught.value) and BASIC not in str(caught.value)


def test_a_redirect_takes_no_credential_elsewhere(registry: BadRegistry) -> None:
    challenge(registry, 'Basic realm="x"', accept=BASIC)
    made = MadeImage()
    with BadRegistry() as elsewhere:
        elsewhere.rules.append(
            lambda request: Reply(400) if "authorization" in request.headers
            else Reply(200, made.manifest)
        )  # fmt: skip
        registry.rules.append(
            lambda request: (
                Reply(307, headers={"Location": f"{elsewhere.url}/m"})
                if "/manifests/" in request.path
                else None
            )
        )
        assert manifest(registry) == made.manifest


def test_relative_redirects_and_circles(registry: BadRegistry) -> None:
    registry.rules.append(
        lambda request: (
            Reply(302, headers={"Location": "../manifests/sha256-x"})
            if request.path.endswith("/manifests/1")
            else Reply(200, MadeImage().manifest)
            if request.path.endswith("sha256-x")
            else None
        )
    )
    assert manifest(registry) == MadeImage().manifest
    for location, word in (
        ("1", "circle"),
        ("file:///etc/passwd", "not to http"),
        ("//", "redirect"),
        ("http://example.invalid/x", "plain http"),
    ):
        registry.rules[:] = [
            lambda request, to=location: (
                Reply(307, headers={"Location": to})  # type: ignore[misc]
                if "/manifests/" in request.path
                else None
            )
        ]
        with pytest.raises(RegistryError, match=word):
            manifest(registry)
    registry.rules[:] = [
        lambda request: (
            Reply(307, headers={"Location": f"{request.path}x"})
            if "/manifests/" in request.path
            else None
        )
    ]
    with pytest.raises(RegistryError, match="more than 10"):
        manifest(registry)


def test_plain_http_needs_a_reason(registry: BadRegistry) -> None:
    with pytest.raises(SampanError, match="TLS"):
        manifest(registry, tls_verify=True)
    assert manifest(registry, tls_verify=False)


@pytest.mark.parametrize(
    ("registry_url", "realm", "may"),
    [
        ("https://registry-1.docker.io", "https://auth.docker.io/token", True),
        ("https://registry.gitlab.com", "https://gitlab.com/jwt/auth", True),
        ("https://ghcr.io", "https://ghcr.io/token", True),
        ("https://quay.io", "https://evil.io/token", False),
        ("https://registry.co.uk", "https://evil.co.uk/token", False),
        ("https://10.0.0.1", "https://10.0.0.2/token", False),
        ("http://127.0.0.1:5000", "http://127.0.0.1:5001/token", False),
        ("https://registry-1.docker.io", "http://auth.docker.io/token", False),
        ("https://registry-1.docker.io", "https://auth.docker.io:8443/token", False),
        ("https://registry-1.docker.io", "https://auth.docker.io.evil.com/token", False),
    ],
)
def test_where_a_password_may_go(registry_url: str, realm: str, may: bool) -> None:
    assert auth.may_send(registry_url, realm) is may


def test_lookup(tmp_path: Path) -> None:
    def entry(user: str) -> dict[str, str]:
        return {"auth": base64.b64encode(f"{user}:p:w".encode()).decode()}

    path = tmp_path / "a.json"
    path.write_text(
        json.dumps(
            {
                "auths": {
                    "quay.io": entry("host"),
                    "quay.io/team": entry("team"),
                    "https://index.docker.io/v1/": entry("hub"),
                    "t.io": {"identitytoken": "I"},
                }
            }
        )
    )
    found = credentials_of.lookup("quay.io", "team/x", str(path))
    assert found is not None and found.user == "team" and found.password == "p:w"
    found = credentials_of.lookup("quay.io", "teams/x", str(path))
    assert found is not None and found.user == "host"
    found = credentials_of.lookup("docker.io", "library/x", str(path))
    assert found is not None and found.user == "hub"
    found = credentials_of.lookup("t.io", "x", str(path))
    assert found is not None and found.identity_token == "I" and "I" not in repr(found)[1:-1]
    assert credentials_of.lookup("quay.io.evil", "x", str(path)) is None
    path.write_text('{"auths": {"quay.io": {"auth": "?"}}}')
    with pytest.raises(CorruptError):
        credentials_of.lookup("quay.io", "x", str(path))


@pytest.mark.parametrize(
    ("exceptions", "host", "direct"),
    [
        ("", "r.example.com", False),
        ("*", "r.example.com", True),
        ("example.com", "r.example.com", True),
        (".example.com", "r.example.com:5000", True),
        ("r.example.com:5000", "r.example.com:5000", True),
        ("r.example.com:5001", "r.example.com:5000", False),
        ("10.0.0.0/8", "10.1.2.3:5000", True),
        ("10.0.0.0/8", "11.1.2.3", False),
        ("ample.com", "r.example.com", False),
        ("", "localhost:5000", True),
    ],
)
def test_proxies(exceptions: str, host: str, direct: bool) -> None:
    environment = {"HTTPS_PROXY": "http://127.0.0.1:3128", "NO_PROXY": exceptions}
    wanted = None if direct else "http://127.0.0.1:3128"
    assert proxy_for("https", host, environment) == wanted
