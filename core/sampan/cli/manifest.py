"""sampan manifest: lists of images for several platforms."""

from __future__ import annotations

import json

from sampan.cli.access_options import OPTIONS, access_of
from sampan.cli.context import engine as make_engine
from sampan.cli.parse import FLAG, LIST, Option, Verb, parse
from sampan.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from sampan.engine.manifests import Marks

MARKS = [
    Option("--annotation", LIST, "An annotation of the entry", "KEY=VALUE"),
    Option("--arch", help="Its architecture", metavar="ARCH"),
    Option("--features", LIST, "Features of its platform"),
    Option("--os", help="Its operating system", metavar="OS"),
    Option("--os-features", LIST, "Features of its operating system"),
    Option("--os-version", help="Its operating system's version", metavar="VERSION"),
    Option("--variant", help="The variant of its architecture", metavar="VARIANT"),
]
ALL = Option("--all", FLAG, "Of an index all images, not this machine's alone")
VERBS = {
    "add": Verb(
        "manifest add",
        "Add an image to a list",
        "LIST IMAGE",
        [ALL, *MARKS, *OPTIONS],
        minimum=2,
        maximum=2,
    ),
    "annotate": Verb(
        "manifest annotate",
        "Change what a list says of an image",
        "LIST IMAGE",
        MARKS,
        minimum=2,
        maximum=2,
    ),
    "create": Verb(
        "manifest create",
        "Make a list",
        "LIST [IMAGE...]",
        [ALL, Option("--amend -a", FLAG, "Add to the list if it is there"), *OPTIONS],
        minimum=1,
    ),
    "exists": Verb(
        "manifest exists",
        "Leave with 0 if the list exists, 1 if not",
        "LIST",
        [],
        minimum=1,
        maximum=1,
    ),
    "inspect": Verb(
        "manifest inspect",
        "Show a list of the store or of a registry",
        "LIST",
        [Option("--verbose -v", FLAG, "Accepted and without meaning, as in podman"), *OPTIONS],
        minimum=1,
        maximum=1,
    ),
    "ls": Verb(
        "manifest ls",
        "List the lists",
        "",
        [Option("--format", help="table, json or a Go template")],
        maximum=0,
    ),
    "push": Verb(
        "manifest push",
        "Push a list to a registry",
        "LIST [DESTINATION]",
        [
            Option("--all", FLAG, "Push its images too"),
            Option(
                "--digestfile",
                help="Write the digest of the pushed list into a file",
                metavar="PATH",
            ),
            Option("--format -f", help="oci or v2s2", default="oci"),
            Option("--purge -p", FLAG, "Remove the list when it is pushed"),
            Option("--quiet -q", FLAG, "Do not show what is copied"),
            Option("--remove-signatures", FLAG, "Accepted: signatures are never copied"),
            Option("--rm", FLAG, "As --purge"),
            *OPTIONS,
        ],
        minimum=1,
        maximum=2,
    ),
    "remove": Verb(
        "manifest remove", "Take an image out of a list", "LIST DIGEST", [], minimum=2, maximum=2
    ),
    "rm": Verb("manifest rm", "Remove lists", "LIST [LIST...]", [], minimum=1),
}


def main(words: list[str]) -> int:
    if not words or words[0] in ("--help", "-h"):
        print(_overview())
        if not words:
            raise UsageError("missing command 'sampan manifest COMMAND'")
        return 0
    if words[0] not in VERBS:
        raise UsageError(
            f"unrecognized command 'sampan manifest {words[0]}'", "", "see 'sampan manifest --help'"
        )
    values, names = parse(VERBS[words[0]], words[1:])
    return ACTIONS[words[0]](values, names) or 0


def _create(values: dict[str, Any], names: list[str]) -> None:
    from sampan.cli.progress import show
    from sampan.engine import manifests

    with show(True) as progress:
        made = manifests.create(
            make_engine(),
            names[0],
            names[1:],
            everything=values["all"],
            amend=values["amend"],
            access=access_of(values),
            progress=progress,
        )
    print(manifests.identity(made))


def _add(values: dict[str, Any], names: list[str]) -> None:
    from sampan.cli.progress import show
    from sampan.engine import manifests

    with show(True) as progress:
        made = manifests.add(
            make_engine(),
            names[0],
            names[1],
            everything=values["all"],
            marks=_marks(values),
            access=access_of(values),
            progress=progress,
        )
    print(manifests.identity(made))


def _annotate(values: dict[str, Any], names: list[str]) -> None:
    from sampan.engine import manifests

    print(manifests.identity(manifests.annotate(make_engine(), names[0], names[1], _marks(values))))


def _exists(values: dict[str, Any], names: list[str]) -> int:
    from sampan.engine.images import full_name
    from sampan.store.lists import Lists

    return 0 if Lists(make_engine().root_fd).exists(full_name(names[0])) else 1


def _inspect(values: dict[str, Any], names: list[str]) -> None:
    from sampan.cli.progress import show
    from sampan.engine import manifests

    with show(True) as progress:
        found = manifests.document(make_engine(), names[0], access_of(values), progress)
    print(json.dumps(found, indent=4))


def _ls(values: dict[str, Any], names: list[str]) -> None:
    from sampan.cli.format import render_rows
    from sampan.engine.manifests import identity
    from sampan.store.lists import Lists

    rows = [
        {"Name": one.name, "ID": identity(one)[:12], "Images": len(one.entries)}
        for one in Lists(make_engine().root_fd).all()
    ]
    text = render_rows(
        values["format"], rows, [("NAME", "Name"), ("LIST ID", "ID"), ("IMAGES", "Images")]
    )
    if text:
        print(text)


def _push(values: dict[str, Any], names: list[str]) -> None:
    from sampan.cli.progress import show
    from sampan.cli.push import form_of, write_digest
    from sampan.engine import manifests
    from sampan.engine.images import full_name
    from sampan.store.lists import Lists

    engine = make_engine()
    with show(values["quiet"]) as progress:
        digest = manifests.push(
            engine,
            names[0],
            names[1] if len(names) > 1 else "",
            everything=values["all"],
            form=form_of(values["format"]) or "oci",
            access=access_of(values),
            progress=progress,
        )
    write_digest(values["digestfile"], digest)
    if values["purge"] or values["rm"]:
        Lists(engine.root_fd).remove(full_name(names[0]))


def _remove(values: dict[str, Any], names: list[str]) -> None:
    from sampan.engine import manifests

    print(manifests.identity(manifests.remove(make_engine(), names[0], names[1])))


def _rm(values: dict[str, Any], names: list[str]) -> None:
    from sampan.engine.images import full_name
    from sampan.store.lists import Lists

    engine = make_engine()
    for name in names:
        Lists(engine.root_fd).remove(full_name(name))
        print(full_name(name))
    engine.images.collect()


def _marks(values: dict[str, Any]) -> Marks:
    from sampan.engine.manifests import Marks

    annotations: dict[str, str] = {}
    for text in values["annotation"]:
        key, equals, value = text.partition("=")
        if not key or not equals:
            raise UsageError("sampan manifest", f'--annotation "{text}" is not KEY=VALUE')
        annotations[key] = value
    given = {
        "architecture": values["arch"],
        "os": values["os"],
        "os.version": values["os_version"],
        "os.features": values["os_features"],
        "variant": values["variant"],
        "features": values["features"],
    }
    return Marks({key: value for key, value in given.items() if value}, annotations)


def _overview() -> str:
    rows = [f"  {name:10}{verb.summary}" for name, verb in sorted(VERBS.items())]
    head = [
        "Manage lists of images for several platforms",
        "",
        "Usage:",
        "  sampan manifest [command]",
    ]
    return "\n".join([*head, "", "Available Commands:", *rows])


ACTIONS: dict[str, Callable[[dict[str, Any], list[str]], int | None]] = {
    "add": _add,
    "annotate": _annotate,
    "create": _create,
    "exists": _exists,
    "inspect": _inspect,
    "ls": _ls,
    "push": _push,
    "remove": _remove,
    "rm": _rm,
}
