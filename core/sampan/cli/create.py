"""sampan create."""

from __future__ import annotations

from sampan.cli import container_options
from sampan.cli.context import engine as make_engine
from sampan.cli.parse import Verb, parse
from sampan.cli.run import find_image, replace, settle, write_file
from sampan.errors import InUseError

VERB = Verb(
    "create",
    "Create a container without starting it",
    "IMAGE [COMMAND [ARG...]]",
    container_options.all_options([]),
    minimum=1,
    interspersed=False,
)


def main(words: list[str]) -> int:
    import os

    from sampan.engine.create import create

    values, arguments = parse(VERB, words)
    if values["cidfile"] and os.path.exists(values["cidfile"]):
        raise InUseError(
            "container id file exists",
            f"{values['cidfile']} may belong to another container",
            f"stop that one and delete {values['cidfile']}",
        )
    engine = make_engine()
    chosen = container_options.build(values, arguments[1:], engine.settings, detach=False)
    settle(engine, chosen)
    image = find_image(engine, arguments[0], values)
    if values["replace"]:
        replace(engine, values)
    created = create(engine, image, chosen)
    write_file(values["cidfile"], created.record["id"])
    print(created.record["id"])
    return 0
