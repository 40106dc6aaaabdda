"""sampan rm."""

from __future__ import annotations

from sampan.cli.context import engine as make_engine
from sampan.cli.each import each
from sampan.cli.parse import FLAG, INTEGER, LIST, Option, Verb, parse

VERB = Verb(
    "rm",
    "Remove containers",
    "CONTAINER [CONTAINER...]",
    [
        Option("--all -a", FLAG, "Remove all containers"),
        Option("--cidfile", LIST, "Read the container's id from a file", "FILE"),
        Option("--depend", FLAG, "Remove the containers too that join its namespaces"),
        Option(
            "--force -f", FLAG, "Stop and remove a running container; a missing one is no error"
        ),
        Option("--filter", LIST, "Only what matches", "KEY=VALUE"),
        Option("--ignore -i", FLAG, "A missing container is no error"),
        Option("--latest -l", FLAG, "The container that was created last"),
        Option(
            "--time -t", INTEGER, "Seconds to wait before a running container is killed", default=0
        ),
        Option("--volumes -v", FLAG, "Remove the container's anonymous volumes"),
    ],
)


def main(words: list[str]) -> int:
    from sampan.engine.remove import dependents, remove

    values, arguments = parse(VERB, words)
    engine = make_engine()

    def one(word: str) -> str:
        container_id = engine.containers.find(word)
        others = dependents(engine, container_id) if values["depend"] else []
        removed = remove(
            engine,
            word,
            force=values["force"],
            timeout=values["time"],
            volumes=values["volumes"],
            depend=values["depend"],
        )
        for other in others:
            print(other)
        return removed

    return each(
        engine,
        VERB,
        arguments,
        one,
        values=values,
        ignore=values["ignore"] or values["force"],
        missing=1,
    )
