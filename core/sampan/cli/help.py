"""The overview of commands."""

from __future__ import annotations

from sampan.cli import CONTAINER, HIDDEN, VERBS

GLOBAL_HELP = """Options:
  --root PATH             where images and containers are kept (SAMPAN_ROOT)
  --run-dir PATH          where the state of running containers is kept (SAMPAN_RUN_DIR)
  --storage-driver NAME   storage driver (SAMPAN_STORAGE_DRIVER)
  --runtime NAME          OCI runtime (SAMPAN_RUNTIME)
  --cgroup-manager NAME   cgroup manager (SAMPAN_CGROUP_MANAGER)
  --events-backend NAME   file or none (SAMPAN_EVENTS_BACKEND)
  --log-level LEVEL       trace, debug, info, warn, error, fatal or panic
  -D, --debug             the log level debug
  --noout                 print nothing on standard output
  --runtime-flag FLAG     a flag for the OCI runtime
  -h, --help              show this help
  -v, --version           show the version"""


REMOTE_HELP = "  --remote                work on a service (refused: there is no client yet)"


def overview(*, remote: bool = True) -> str:
    shown = {name: text for name, (_, text) in VERBS.items()} | {"container": "Manage containers"}
    width = max(map(len, shown)) + 2
    rows = [f"  {name:{width}}{text}" for name, text in shown.items()]
    return "\n".join(
        [
            "A container engine for people without root.",
            "",
            "Usage:",
            "  sampan [options] [command]",
            "",
            "Available Commands:",
            *sorted(rows),
            "",
            GLOBAL_HELP,
            *([REMOTE_HELP] if remote else []),
        ]
    )


def container_overview() -> str:
    rows = [f"  {name}" for name in sorted(CONTAINER) if name not in HIDDEN]
    return "\n".join(
        [
            "Manage containers",
            "",
            "Usage:",
            "  sampan container [command]",
            "",
            "Available Commands:",
            *rows,
        ]
    )
