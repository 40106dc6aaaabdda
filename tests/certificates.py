"""Certificates that nobody has signed."""

from __future__ import annotations

import subprocess
from pathlib import Path


def self_signed(directory: Path) -> tuple[Path, Path]:
    """One for 127.0.0.1 and its key: cert.pem and key.pem in the directory."""
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
         "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1",
         "-keyout", "key.pem", "-out", "cert.pem"],
        check=True, cwd=directory, capture_output=True,
    )  # fmt: skip
    return directory / "cert.pem", directory / "key.pem"
