"""sampan push."""

from __future__ import annotations

from sampan.cli.access_options import OPTIONS, access_of
from sampan.cli.context import engine as make_engine
from sampan.cli.parse import FLAG, INTEGER, Option, Verb, parse
from sampan.errors import SampanError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from sampan.engine.recompress import Compression

FORMATS = {"": "", "oci": "oci", "v2s2": "docker", "docker": "docker"}
COMPRESSION = [
    Option("--compression", help="gzip or zstd, with :LEVEL if wanted", metavar="ALGORITHM"),
    Option("--compression-format", help="gzip or zstd", metavar="ALGORITHM"),
    Option("--compression-level", INTEGER, "1-9 for gzip, 1-22 for zstd"),
    Option("--force-compression", FLAG, "Compress again what is compressed in that way"),
]
VERB = Verb(
    "push",
    "Push an image to a registry, a layout or an archive",
    "IMAGE [DESTINATION]",
    [
        Option(
            "--digestfile", help="Write the digest of the pushed image into a file", metavar="PATH"
        ),
        Option("--disable-content-trust", FLAG, "Accepted and without meaning, as in podman"),
        Option("--format -f", help="oci or v2s2: another form of manifest", metavar="FORM"),
        Option("--quiet -q", FLAG, "Do not show what is copied"),
        Option("--remove-signatures", FLAG, "Accepted: signatures are never copied"),
        *COMPRESSION,
        *OPTIONS,
    ],
    minimum=1,
    maximum=2,
)


def main(words: list[str]) -> int:
    values, names = parse(VERB, words)
    from sampan.cli.progress import show
    from sampan.engine.push import push

    with show(values["quiet"]) as progress:
        digest = push(
            make_engine(),
            names[0],
            names[1] if len(names) > 1 else "",
            form=form_of(values["format"]),
            compression=compression_of(values),
            access=access_of(values),
            progress=progress,
        )
    write_digest(values["digestfile"], digest)
    return 0


def form_of(text: str | None) -> str:
    if (text or "") not in FORMATS:
        raise UsageError(f'unknown format "{text}"', "", "oci and v2s2 are known")
    return FORMATS[text or ""]


def compression_of(values: dict[str, Any]) -> Compression | None:
    text = values["compression"] or values["compression_format"]
    if not text:
        if values["compression_level"] is not None or values["force_compression"]:
            raise UsageError("sampan push", "--compression-format is missing", "name gzip or zstd")
        return None
    from sampan.engine.recompress import parse as parse_compression

    return parse_compression(text, values["compression_level"], values["force_compression"])


def write_digest(path: str | None, digest: str) -> None:
    if path:
        try:
            with open(path, "w") as file:
                file.write(digest)
        except OSError as error:
            raise SampanError(f"cannot write {path}", error.strerror or "") from None
