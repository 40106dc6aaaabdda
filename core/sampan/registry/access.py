"""How the user wants a registry to be spoken to, beyond what the files say: --tls-verify, --creds ..."""

from __future__ import annotations

from typing import NamedTuple

from sampan.errors import UsageError


class Credential(NamedTuple):
    """A name and password, or an identity token for an OAuth2 token service.

    source: the file or helper that it comes from, for the user.
    """

    user: str
    password: str
    identity_token: str = ""
    source: str = ""

    def __repr__(self) -> str:  # never in a log or a traceback
        return "Credential(...)"

    def basic(self) -> str:
        import base64

        raw = f"{self.user}:{self.password}".encode()
        return f"Basic {base64.b64encode(raw).decode()}"


class Access(NamedTuple):
    """tls_verify: None leaves it to the configuration; False accepts any certificate and plain http, True neither.

    credential: instead of what the files have; it goes to the registry itself, not to its mirrors.
    authfile: the only file of credentials that is read; cert_dir: as a directory of containers-certs.d(5).
    """

    tls_verify: bool | None = None
    credential: Credential | None = None
    authfile: str = ""
    cert_dir: str = ""


def parse_credential(text: str) -> Credential:
    """USER:PASSWORD of --creds."""
    user, colon, password = text.partition(":")
    if not user or not colon:
        raise UsageError("cannot use --creds", "it is not USER:PASSWORD")
    return Credential(user, password, "", "--creds")
