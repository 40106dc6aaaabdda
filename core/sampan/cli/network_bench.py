"""sampan network bench: a row for each mode, as soon as it is measured."""

from __future__ import annotations

import os
import sys

from sampan.engine import netbench

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from sampan.engine import Engine

COLUMNS = [
    ("NETWORK", "Network"),
    ("ATTACH ms", "AttachMs"),
    ("IN MB/s", "InMBs"),
    ("OUT MB/s", "OutMBs"),
    ("LATENCY us", "LatencyUs"),
    ("P99 us", "LatencyP99Us"),
    ("CONNECTS/s", "ConnectsPerSecond"),
]
WIDTH = 13


def bench(engine: Engine, names: list[str], form: str | None) -> int:
    """0, or 1 if one that was named cannot be measured."""
    plain = not form or form == "table"
    if plain:
        print(_line([title for title, _ in COLUMNS]), flush=True)
    rows: list[dict[str, Any]] = []
    _tell("measuring, some seconds for each")
    for row in netbench.bench(engine, names):
        rows.append(row)
        if plain:
            _tell("")
            print(_shown(row), flush=True)
            _tell("measuring")
    _tell("")
    if not plain:
        from sampan.cli.format import render_rows

        print(render_rows(form, rows, COLUMNS, heading=True))
    return int(bool(names) and any(row["Usable"] != "yes" for row in rows))


def _shown(row: dict[str, Any]) -> str:
    if row["Usable"] != "yes":
        return f"{row['Network']:{WIDTH}}{row['Why']}"
    return _line([_text(row[key]) for _, key in COLUMNS])


def _text(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.0f}" if isinstance(value, float) else str(value)


def _line(words: list[str]) -> str:
    return "".join(f"{word:{WIDTH}}" for word in words).rstrip()


def _tell(text: str) -> None:
    """Who looks on is told that it goes on."""
    if os.isatty(2):
        sys.stderr.write(f"\r\x1b[K{text}")
        sys.stderr.flush()
