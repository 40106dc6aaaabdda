"""sampan stats."""

from __future__ import annotations

import os
import time

from sampan.cli.context import engine as make_engine
from sampan.cli.each import named
from sampan.cli.parse import FLAG, INTEGER, Option, Verb, parse
from sampan.errors import InUseError, UsageError
from sampan.model import sizes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from sampan.engine import Engine
    from sampan.engine.stats import Sample
    from sampan.store.containers import Container

VERB = Verb(
    "stats",
    "Show what containers use of the machine",
    "[CONTAINER...]",
    [
        Option("--all -a", FLAG, "Show all containers, also those that do not run"),
        Option("--format", help="table, json or a Go template", metavar="FORMAT"),
        Option("--interval -i", INTEGER, "Seconds between two looks", default=5),
        Option("--latest -l", FLAG, "The container that was created last"),
        Option("--no-reset", FLAG, "Do not clear the screen"),
        Option("--no-stream", FLAG, "Show it once"),
        Option("--no-trunc", FLAG, "Do not shorten ids"),
    ],
)
COLUMNS = [
    ("ID", "ID"),
    ("NAME", "Name"),
    ("CPU %", "CPUPerc"),
    ("MEM USAGE / LIMIT", "MemUsage"),
    ("MEM %", "MemPerc"),
    ("NET IO", "NetIO"),
    ("BLOCK IO", "BlockIO"),
    ("PIDS", "PIDs"),
    ("CPU TIME", "CPUTime"),
    ("AVG CPU %", "AvgCPU"),
]
JSON = (
    "id", "name", "cpu_time", "cpu_percent", "avg_cpu", "mem_usage", "mem_percent", "net_io", "block_io", "pids",
)  # fmt: skip
FIRST = 0.5  # seconds between the two looks that the first figures are made of


def main(words: list[str]) -> int:
    values, arguments = parse(VERB, words)
    if values["interval"] < 1:
        raise UsageError("invalid interval", "must be a positive number greater zero")
    engine = make_engine()
    if values["all"] and arguments:
        raise UsageError("sampan stats", "--all and containers cannot be used together")
    arguments = named(engine, VERB, arguments, {**values, "all": False})
    before = _samples(engine, arguments, values["all"])
    time.sleep(FIRST)
    clear = os.isatty(1) and not values["no_reset"] and not values["no_stream"]
    while True:
        now = _samples(engine, arguments, values["all"])
        rows = [
            _row(
                container, taken, before.get(container.id, (container, None))[1], values["no_trunc"]
            )
            for container, taken in now.values()
        ]
        _show(rows, values["format"], clear)
        if values["no_stream"]:
            return 0
        before = now
        time.sleep(values["interval"])


def _samples(
    engine: Engine, words: list[str], everything: bool
) -> dict[str, tuple[Container, Sample | None]]:
    from sampan.engine.stats import sample

    if words:
        found = [engine.containers.get(word) for word in words]
        for container in found:
            if not container.live:
                raise InUseError(
                    f"cannot show what container {container.name} uses",
                    "it is not running: container state improper",
                    f"sampan start {container.name}",
                )
    else:
        found = [one for one in engine.containers.all() if one.live or everything]
    return {container.id: (container, sample(engine, container)) for container in found}


def _show(rows: list[dict[str, Any]], template: str | None, clear: bool) -> None:
    from sampan.cli.format import render_rows

    if clear:
        print("\033[2J\033[H", end="")
    shown = [{key: row[key] for key in JSON} for row in rows]
    print(render_rows(template, rows, COLUMNS, json_rows=shown), flush=True)


def _row(
    container: Container, taken: Sample | None, before: Sample | None, full: bool
) -> dict[str, Any]:
    """What tables and templates may name; the lower-case keys are podman's JSON."""
    identity = container.id if full else container.id[:12]
    if taken is None:
        blank = dict.fromkeys((key for _, key in COLUMNS[2:]), "--")
        names = {"ID": identity, "Name": container.name, "id": identity, "name": container.name}
        return {**blank, **dict.fromkeys(JSON, "--"), **names}
    from sampan.engine.top import duration
    from sampan.model import times

    assert container.run is not None
    lived = max(0.001, time.time() - times.parse(container.run["started"]))
    average = 100 * taken.cpu / lived
    now = average
    if before is not None and taken.moment > before.moment:
        now = 100 * max(0.0, taken.cpu - before.cpu) / (taken.moment - before.moment)
    usage = f"{sizes.decimal_text(taken.memory)} / {sizes.decimal_text(taken.limit)}"
    row: dict[str, Any] = {
        "ID": identity, "ContainerID": container.id, "Container": identity, "Name": container.name,
        "CPUPerc": f"{now:.2f}%", "CPU": now, "AvgCPU": f"{average:.2f}%",
        "MemUsage": usage, "MemUsageBytes": f"{taken.memory} / {taken.limit}",
        "MemLimit": taken.limit, "MemPerc": f"{100 * taken.memory / taken.limit:.2f}%",
        "NetIO": f"{sizes.decimal_text(taken.net[0])} / {sizes.decimal_text(taken.net[1])}",
        "NetInput": taken.net[0], "NetOutput": taken.net[1],
        "BlockIO": f"{sizes.decimal_text(taken.block[0])} / {sizes.decimal_text(taken.block[1])}",
        "BlockInput": taken.block[0], "BlockOutput": taken.block[1],
        "PIDs": taken.pids, "PIDS": taken.pids, "CPUTime": duration(taken.cpu), "UpTime": duration(lived),
        "CPUNano": int(taken.cpu * 1e9), "SystemNano": time.time_ns(), "Up": duration(lived),
    }  # fmt: skip
    return row | {
        "id": identity, "name": container.name, "cpu_time": row["CPUTime"],
        "cpu_percent": row["CPUPerc"], "avg_cpu": row["AvgCPU"], "mem_usage": usage,
        "mem_percent": row["MemPerc"], "net_io": row["NetIO"], "block_io": row["BlockIO"],
        "pids": str(taken.pids),
    }  # fmt: skip
