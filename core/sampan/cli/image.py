"""sampan image: the verbs on images, each in its own module, loaded when it is typed."""

from __future__ import annotations

from sampan.errors import UsageError

VERBS = {  # name: (module, function, one line)
    "build": ("build", "main", "Build an image from a Dockerfile"),
    "diff": ("diff", "main", "Show what an image changes of the layers below, or of another image"),
    "exists": ("image_inspect", "exists", "Leave with 0 if the image exists, 1 if not"),
    "history": ("history", "main", "Show the history of an image"),
    "import": ("import_image", "main", "Make an image of a tar archive"),
    "inspect": ("image_inspect", "inspect", "Show images in detail"),
    "list": ("images", "main", "List images"),
    "load": ("load", "main", "Load images from an archive or a directory"),
    "ls": ("images", "main", "List images"),
    "prune": ("image_inspect", "prune", "Remove untagged images"),
    "pull": ("pull", "main", "Pull images from a registry"),
    "push": ("push", "main", "Push an image to a registry, a layout or an archive"),
    "rm": ("rmi", "main", "Remove images"),
    "save": ("save", "main", "Write images to an archive or a directory"),
    "search": ("search", "main", "Search registries for images"),
    "tag": ("tag", "main", "Give an image another name"),
    "tree": ("image_tree", "main", "Show the layers of an image"),
    "untag": ("untag", "main", "Take names from an image"),
}


def main(words: list[str]) -> int:
    if not words or words[0] in ("--help", "-h"):
        print(_overview())
        if not words:
            raise UsageError("missing command 'sampan image COMMAND'")
        return 0
    if words[0] not in VERBS:
        raise UsageError(
            f"unrecognized command 'sampan image {words[0]}'", "", "see 'sampan image --help'"
        )
    import importlib

    module_name, function, _ = VERBS[words[0]]
    module = importlib.import_module(f"sampan.cli.{module_name}")
    return int(getattr(module, function)(words[1:]) or 0)


def _overview() -> str:
    rows = [f"  {name:10}{text}" for name, (_, _, text) in sorted(VERBS.items())]
    head = ["Manage images", "", "Usage:", "  sampan image [command]", "", "Available Commands:"]
    return "\n".join([*head, *rows])
