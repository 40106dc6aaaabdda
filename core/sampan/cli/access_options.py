"""The options of whatever speaks to a registry, and what they mean."""

from __future__ import annotations

from sampan.cli.parse import FLAG, Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from sampan.registry.access import Access

AUTHFILE = Option("--authfile", help="The file of credentials to read", metavar="PATH")
TLS_VERIFY = Option("--tls-verify", FLAG, "Require https and check certificates", default="")
OPTIONS = [
    AUTHFILE,
    Option("--cert-dir", help="Directory of certificates and keys", metavar="PATH"),
    Option("--creds", help="Name and password for the registry", metavar="USER:PASSWORD"),
    TLS_VERIFY,
]


def access_of(values: dict[str, Any]) -> Access:
    from sampan.registry.access import Access, parse_credential

    creds = values.get("creds")
    return Access(
        None if values["tls_verify"] == "" else bool(values["tls_verify"]),
        parse_credential(creds) if creds else None,
        values.get("authfile") or "",
        values.get("cert_dir") or "",
    )
