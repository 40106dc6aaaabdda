"""sampan network ls and inspect: the modes that --network names, and whether they work here."""

from __future__ import annotations

from sampan.cli.context import engine as make_engine
from sampan.errors import NotFoundError, SampanError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from sampan.engine import Engine

COLUMNS = [("NETWORK ID", "ID"), ("NAME", "Name"), ("DRIVER", "Driver"), ("USABLE", "Usable")]


def exists(name: str) -> bool:
    return name in make_engine().plugins.names("network")


def ls(values: dict[str, Any]) -> None:
    rows = [row for row in _rows(make_engine()) if row["Name"] == row["Driver"]]
    if values["quiet"]:
        print("\n".join(row["Name"] for row in rows))
        return
    from sampan.cli.format import render_rows

    print(render_rows(values["format"], rows, COLUMNS, heading=not values["noheading"]))


def inspect(names: list[str]) -> None:
    import json

    rows = {row["Name"]: row for row in _rows(make_engine())}
    for name in names:
        if name not in rows:
            raise NotFoundError(
                f"no network with name or ID {name} found", "no such network", exit_status=1
            )
    print(json.dumps([rows[name] for name in names], indent=4))


def _rows(engine: Engine) -> list[dict[str, Any]]:
    """Of every name; a second name of a mode has that mode's as its driver."""
    found: list[dict[str, Any]] = []
    for name in engine.plugins.names("network"):
        try:
            probe = engine.plugins.probe("network", name, engine.context("network", name))
            backend = engine.network(name)
        except SampanError as error:  # a plugin that cannot be loaded
            found.append(
                {"ID": "-", "Name": name, "Driver": name, "Usable": "no", "Why": str(error)}
            )
            continue
        found.append(
            {
                "ID": "-",
                **backend.describe(name),
                "Name": name,
                "Usable": "yes" if probe.usable else "no",
                "Why": probe.why if probe.usable else f"{probe.why}; {probe.fix}",
                "Publishes": list(backend.publishes),
            }
        )
    return found
