"""What every `--format` prints: a table, JSON, or a Go template for each row.

Rows are plain dicts.  Text that came from an image or a registry may hold terminal sequences, so
whatever is printed passes `escape`: in tables all of it, in templates and JSON all but newline
and tab.
"""

from __future__ import annotations

from sampan.cli.values import text_of, to_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

_MINIMUM, _PADDING = 12, 2  # of a column, as podman has them
_DANGEROUS = (
    *range(0x20),
    *range(0x7F, 0xA0),
    0x61C,
    0x200E,
    0x200F,
    *range(0x2028, 0x202F),
    *range(0x2066, 0x206A),
)
_TABLE = {code: f"\\u{code:04x}" for code in _DANGEROUS}
_LOOSE = {code: text for code, text in _TABLE.items() if code not in (0x09, 0x0A)}


def escape(text: str) -> str:
    """The text with control characters (C0, DEL, C1, line separators, bidi) written out as
    \\uNNNN.
    """
    return text if text.isprintable() else text.translate(_TABLE)


def escape_lines(text: str) -> str:
    """As `escape`, but newline and tab stay."""
    return text if text.isprintable() else text.translate(_LOOSE)


def render(template: str, value: object) -> str:
    """A template over one value; `json` alone gives the value as indented JSON."""
    if template == "json":
        return json_text(value)
    from sampan.cli.template import Template

    return Template(template).render(value, escape_lines)


def json_text(value: object) -> str:
    """Indented JSON without raw control characters; the escapes are JSON's own."""
    return escape_lines(to_json(value, 4))


def render_rows(
    template: str | None,
    rows: Sequence[Mapping[str, Any]],
    columns: Sequence[tuple[str, str]],
    *,
    heading: bool = True,
    headers: Mapping[str, str] | None = None,
    json_rows: Sequence[Mapping[str, Any]] | None = None,
) -> str:
    """The rows as lines; the last one's newline is left to `print`.

    template: None or "table" prints `columns` (HEADER, key); "table TEMPLATE" aligns the
    template's tabs under headers; "json" an array (of `json_rows` if given); another one is
    printed for each row.  headers: HEADER by key, for what `columns` does not have.
    """
    if template == "json":
        chosen = rows if json_rows is None else json_rows
        return json_text(list(chosen))
    if template is None or template.strip() == "table":
        table = [[header for header, _ in columns]] if heading else []
        table += [[_cell(row, key) for _, key in columns] for row in rows]
        return align(table).removesuffix("\n")
    from sampan.cli.template import Template

    if template.startswith("table "):
        known = {key: header for header, key in columns} | dict(headers or {})
        parsed = Template(template[6:].strip(), columns=True)
        lines = [parsed.render(_Headers(known))] if heading else []
        lines += [parsed.render(row, escape) for row in rows]
        return align([line.rstrip("\n").split("\t") for line in lines]).removesuffix("\n")
    parsed = Template(template)
    lines = [parsed.render(row, escape_lines) for row in rows]
    return "\n".join(line.removesuffix("\n") for line in lines)


def align(table: Iterable[Sequence[str]]) -> str:
    """Columns two spaces apart; the last one is not padded."""
    rows = list(table)
    count = max((len(row) for row in rows), default=0)
    widths = [
        max(max((len(row[at]) for row in rows if at < len(row)), default=0) + _PADDING, _MINIMUM)
        for at in range(count)
    ]
    lines: list[str] = []
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row[:-1], widths, strict=False)]
        lines.append("".join([*cells, *row[-1:]]).rstrip() + "\n")
    return "".join(lines)


def _cell(row: Mapping[str, Any], key: str) -> str:
    value = row.get(key, "")
    return escape("" if value is None else text_of(value))


class _Headers(dict[str, str]):
    """Stands in for a row: each field is its header."""

    def __contains__(self, key: object) -> bool:
        return True

    def __missing__(self, key: str) -> str:
        out = ""
        for at, character in enumerate(key):
            if at and character.isupper() and not key[at - 1].isupper():
                out += " "
            out += character.upper()
        return out
