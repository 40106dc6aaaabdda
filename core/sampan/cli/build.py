"""sampan build: an image from a Dockerfile, by the builder of that name.

Progress goes to standard error.  Standard output has the names and, as its last line, the id; or the archive of
`-o -` and nothing else.
"""

from __future__ import annotations

import json
import os

from sampan.cli.access_options import access_of
from sampan.cli.build_options import all_options
from sampan.cli.context import check_runtime
from sampan.cli.context import engine as make_engine
from sampan.cli.format import escape, escape_lines
from sampan.cli.parse import Verb, parse
from sampan.errors import UnsupportedError, from_os_error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from sampan.drivers.build import BuildRequest
    from sampan.engine import Engine
    from sampan.store.images import Image

VERB = Verb(
    "build",
    "Build an image from a Dockerfile",
    "[CONTEXT]",
    all_options(),
    maximum=1,
)


def main(words: list[str]) -> int:
    values, arguments = parse(VERB, words)
    from sampan.cli.build_request import request
    from sampan.engine import events, output

    made = request(values, arguments)
    if values["check"] or values["call"] in ("check", "lint"):
        return _check(values["builder"], made)
    outputs: list[dict[str, str]] = made.options["output"]
    output.check(outputs, made.tags)
    if values["iidfile"]:
        _forget(values["iidfile"])
    engine = make_engine()
    _check_runtime(engine)
    before = {image.id for image in engine.images.list()} if outputs else set[str]()
    image = _build(engine, values, made)
    events.of_image(engine, image, "build", made.tags[0] if made.tags else image.id)
    if outputs:
        from sampan.cli.progress import show

        with show(values["quiet"]) as progress:
            access = access_of(values)
            output.write(engine, image, outputs, made.tags, access=access, progress=progress)
    _write_files(values, image, engine.blobs.size(image.digest) or 0, made.tags)
    output.settle(engine, image, outputs, before)
    if not output.to_stdout(outputs):
        _report(values["quiet"], image, made.tags)
    return 0


def _check_runtime(engine: Engine) -> None:
    try:
        check_runtime(engine.settings)
    except UnsupportedError as error:
        error.exit_status = 1  # what podman's build leaves with
        raise


def _build(engine: Engine, values: dict[str, Any], made: BuildRequest) -> Image:
    """Build it under the display that was asked for."""
    from sampan.cli.build_progress import display
    from sampan.engine import building

    log = _open_log(values["logfile"]) if values["logfile"] else -1
    kind = "quiet" if values["quiet"] else _kind(values["progress"])
    shown = display(kind, log if log >= 0 else 2)
    failed = True
    try:
        image: Image = building.build(engine, values["builder"], made, shown)
        failed = False
        return image
    finally:
        shown.close(failed=failed)
        if log >= 0:
            os.close(log)


def _kind(given: str | None) -> str:
    return given or os.environ.get("BUILDKIT_PROGRESS") or "auto"


def _open_log(path: str) -> int:
    try:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise from_os_error("cannot write the log", error) from None


def _report(quiet: bool, image: Image, tags: Sequence[str]) -> None:
    """The last line is the id: scripts read it, with Docker's sha256: where it is alone, as podman's else."""
    if quiet:
        print(image.id)
        return
    for name in tags:
        print(f"Successfully tagged {name}")
    print(image.id.removeprefix("sha256:"))


def _forget(path: str) -> None:
    """No id of an earlier build stays where this one fails."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        return
    except OSError as error:
        raise from_os_error("cannot write the image's id", error) from None


def _write_files(values: dict[str, Any], image: Image, size: int, tags: Sequence[str]) -> None:
    """--iidfile and --metadata-file. size: of the manifest."""
    if values["iidfile"]:
        _write(values["iidfile"], image.id)
    if values["metadata_file"]:
        told: dict[str, Any] = {
            "containerimage.config.digest": image.id,
            "containerimage.descriptor": {
                "mediaType": image.media_type,
                "digest": image.digest,
                "size": size,
                "platform": {"os": image.os, "architecture": image.architecture},
            },
            "containerimage.digest": image.digest,
        }
        if tags:
            told["image.name"] = ",".join(tags)
        _write(values["metadata_file"], json.dumps(told, indent=2))


def _write(path: str, text: str) -> None:
    try:
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise from_os_error(f"cannot write {path}", error) from None


def _check(builder: str, made: BuildRequest) -> int:
    """What the builder finds, in the words of `docker build --check`; 1 if there is anything."""
    from sampan.engine import building

    findings = building.check(make_engine(), builder, made)
    if not findings:
        print("Check complete, no warnings found.")
        return 0
    count = len(findings)
    word = "1 warning has" if count == 1 else f"{count} warnings have"
    print(f"Check complete, {word} been found!")
    for finding in findings:
        print(_told(finding))
    return 1


def _told(finding: Mapping[str, Any]) -> str:
    """One finding. `source` is the text of the file, if the builder gives it."""
    url = f" - {finding['url']}" if finding.get("url") else ""
    rows = [f"\nWARNING: {finding['rule']}{url}", escape_lines(finding["text"])]
    if finding.get("line"):
        rows.append(f"{escape(finding['file'])}:{finding['line']}")
        if finding.get("source"):
            first, last = finding["line"], finding.get("end") or finding["line"]
            rows += _excerpt(finding["source"].split("\n"), first, max(first, last))
    return "\n".join(rows)


def _excerpt(lines: Sequence[str], first: int, last: int) -> list[str]:
    """The lines with those around them, as BuildKit shows them (solver/errdefs/source.go)."""
    around = 2 if first == last else 1
    rule = "-" * 20
    rows = [
        f" {number:3} | {'>>>' if first <= number <= last else '   '} {escape(lines[number - 1])}"
        for number in range(max(1, first - around), min(len(lines), last + around) + 1)
    ]
    return [rule, *rows, rule]
