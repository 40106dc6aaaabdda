"""sampan logout."""

from __future__ import annotations

from sampan.cli.access_options import AUTHFILE
from sampan.cli.login import default_registry, key_of, split
from sampan.cli.parse import FLAG, Option, Verb, parse
from sampan.errors import NotFoundError, UsageError

VERB = Verb(
    "logout",
    "Log out of a registry",
    "[REGISTRY]",
    [Option("--all -a", FLAG, "Forget all credentials of the file"), AUTHFILE],
    maximum=1,
)


def main(words: list[str]) -> int:
    values, names = parse(VERB, words)
    if values["all"] and names:
        raise UsageError("--all takes no arguments")
    from sampan.registry import config, credentials

    # the two that `login` writes to; podman's and Docker's other files are theirs
    files = credentials.files(values["authfile"] or "")[:2]
    if values["all"]:
        for path in files:
            credentials.erase_all(path)
        print("Removed login credentials for all registries")
        return 0
    registry = key_of(names[0] if names else default_registry(config.load()))
    gone = any([credentials.erase(registry, path) for path in files])
    left = credentials.lookup(*split(registry), values["authfile"] or "")
    if not gone and left is None:
        raise NotFoundError(f"not logged into {registry}", exit_status=125)
    if gone:
        print(f"Removed login credentials for {registry}")
    if left is not None and left.source:
        print(
            f"Not logged into {registry} with sampan. Existing credentials were established via {left.source}"
        )
    return 0
