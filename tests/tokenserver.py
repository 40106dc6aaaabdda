"""A token service for Debian's docker-registry (distribution, "Token authentication"): one user, real signatures."""

from __future__ import annotations

import base64
import json
import subprocess
import time
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from httpthread import HttpThread, Quiet

SERVICE, ISSUER = "a registry", "an issuer"


class TokenServer(HttpThread):
    """`with TokenServer(directory, user, password) as tokens:`; asked: (authenticated, scopes) of each request.

    certificate: what the registry is to trust (rootcertbundle).  Without a name and password it grants
    pull alone.
    """

    def __init__(self, directory: Path, user: str, password: str, seconds: int = 60) -> None:
        self.certificate = directory / "token.crt"
        self._key = directory / "token.key"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=tokens",
             "-keyout", str(self._key), "-out", str(self.certificate)],
            check=True, capture_output=True,
        )  # fmt: skip
        self._basic = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
        self._seconds = seconds
        self.asked: list[tuple[bool, list[str]]] = []
        service = self

        class Handler(Quiet):
            def do_GET(self) -> None:
                service._answer(self)

        super().__init__(Handler)

    @property
    def configuration(self) -> str:
        """The `auth` of the registry's configuration."""
        return (
            f"auth: {{token: {{realm: 'http://{self.host}/token', service: {SERVICE}, issuer: {ISSUER}, "
            f"rootcertbundle: {self.certificate}}}}}\n"
        )

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        given = handler.headers.get("Authorization")
        if given is not None and given != self._basic:
            handler.send_error(401)
            return
        scopes = [text for key, text in parse_qsl(urlsplit(handler.path).query) if key == "scope"]
        words = [word for scope in scopes for word in scope.split(" ") if word]
        self.asked.append((given is not None, words))
        body = json.dumps(
            {"token": self._token([self._access(word, bool(given)) for word in words])}
        ).encode()
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    @staticmethod
    def _access(scope: str, known: bool) -> dict[str, Any]:
        kind, name, actions = scope.split(":")
        granted = (
            actions.split(",") if known else [one for one in actions.split(",") if one == "pull"]
        )
        return {"type": kind, "name": name, "actions": granted}

    def _token(self, access: list[dict[str, Any]]) -> str:
        certificate = subprocess.run(
            ["openssl", "x509", "-in", str(self.certificate), "-outform", "DER"],
            check=True, capture_output=True,
        ).stdout  # fmt: skip
        header = {"typ": "JWT", "alg": "RS256", "x5c": [base64.b64encode(certificate).decode()]}
        now = int(time.time())
        claims = {
            "iss": ISSUER, "sub": "", "aud": SERVICE, "exp": now + self._seconds, "nbf": now - 5,
            "iat": now, "jti": str(now), "access": access,
        }  # fmt: skip
        text = b".".join(_words(json.dumps(part).encode()) for part in (header, claims))
        signature = subprocess.run(
            ["openssl", "dgst", "-sha256", "-sign", str(self._key)],
            input=text, check=True, capture_output=True,
        ).stdout  # fmt: skip
        return (text + b"." + _words(signature)).decode()


def _words(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")
