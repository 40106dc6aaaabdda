"""sampan commit."""

from __future__ import annotations

from sampan.cli.context import engine as make_engine
from sampan.cli.parse import FLAG, LIST, Option, Verb, parse
from sampan.cli.run import write_file
from sampan.errors import SampanError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sampan.engine.commit import CommitOptions

VERB = Verb(
    "commit",
    "Make an image of a container's changes",
    "CONTAINER [IMAGE]",
    [
        Option("--author -a", help="Who made the image", metavar="TEXT"),
        Option(
            "--change -c", LIST, "Change the configuration (CMD, ENV, LABEL, ...)", "INSTRUCTION"
        ),
        Option("--format -f", help="Format of the manifest: oci or docker", default="oci"),
        Option("--iidfile", help="Write the image's id to a file", metavar="FILE"),
        Option("--include-volumes", FLAG, "Declare the container's mounts as volumes of the image"),
        Option("--message -m", help="Comment of the history", metavar="TEXT"),
        Option("--pause -p", FLAG, "Stop the container's processes meanwhile"),
        Option("--quiet -q", FLAG, "Show no progress"),
        Option("--squash -s", FLAG, "Make one layer of all"),
    ],
    minimum=1,
    maximum=2,
)


def main(words: list[str]) -> int:
    values, names = parse(VERB, words)
    from sampan.cli.progress import meter, notices
    from sampan.engine.commit import commit

    chosen: CommitOptions = {
        "author": values["author"] or "",
        "message": values["message"] or "",
        "change": values["change"],
        "format": values["format"],
        "pause": values["pause"],
        "squash": values["squash"],
        "include_volumes": values["include_volumes"],
    }
    engine = make_engine()
    with meter(f"Committing {names[0]}", quiet=values["quiet"]) as progress:
        try:
            image = commit(
                engine, names[0], (*names, "")[1], chosen, progress, notices(values["quiet"])
            )
        except OSError as error:
            raise SampanError("cannot commit", error.strerror or str(error)) from None
    write_file(values["iidfile"], image.id)
    print(image.id.removeprefix("sha256:"))
    return 0
