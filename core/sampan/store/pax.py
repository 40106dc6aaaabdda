"""The extensions of tar: pax records, GNU's numbers and the three ways to write down a sparse file.

pax(1), "pax Extended Header"; libarchive's tar(5); GNU tar's manual, "Sparse Formats".
"""

from __future__ import annotations

from sampan.errors import CorruptError, SampanError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

Records = dict[bytes, bytes]
Segments = list[tuple[int, int]]  # (offset, size) of data; all else is a hole

MAX_SEGMENTS = 1 << 16
SCHILY = b"SCHILY.xattr."
LIBARCHIVE = b"LIBARCHIVE.xattr."
_WHAT = "cannot unpack the layer"


class Malformed(Exception):
    """Why a header is malformed; the reader adds the entry's name."""


def number(field: bytes) -> int:
    """A numeric header field: octal digits, or base-256 with the high bit set (GNU)."""
    if field[0] & 0x80:
        value = int.from_bytes(field, "big")
        bits = 8 * len(field)
        return value - (1 << bits) if field[0] & 0x40 else value & (1 << (bits - 1)) - 1
    text = field.rstrip(b"\0 ")
    try:
        return int(text, 8) if text else 0
    except ValueError:
        pass
    text = field.partition(b"\0")[0].strip()
    try:
        return int(text, 8) if text else 0
    except ValueError:
        raise Malformed(f"{field!r} is no octal number") from None


def records(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The (key, value) pairs of a pax header: "LENGTH KEY=VALUE\\n", any bytes in the value."""
    position = 0
    while position < len(data):
        space = data.find(b" ", position, position + 21)
        digits = data[position:space]
        if space < 0 or not digits.isdigit():
            if not data[position:].strip(b"\0"):
                return  # padded by a writer that did not know better
            raise Malformed("a pax record has no length")
        end = position + int(digits)
        equals = data.find(b"=", space + 1, end)
        if end > len(data) or equals < 0 or data[end - 1 : end] != b"\n":
            raise Malformed("a pax record is cut")
        yield data[space + 1 : equals], data[equals + 1 : end - 1]
        position = end


def decimal(value: bytes, what: str) -> int:
    try:
        if len(value) > 24:
            raise ValueError
        return int(value)
    except ValueError:
        raise Malformed(f"{what} is no number") from None


def time_ns(value: bytes) -> int:
    """Seconds with a fraction, negative ones too, as nanoseconds."""
    whole, _, fraction = value.partition(b".")
    negative = whole.startswith(b"-")
    if fraction and not fraction.isdigit():
        raise Malformed("a time is no number")
    seconds = decimal(whole if whole not in (b"", b"-") else whole + b"0", "a time")
    nanoseconds = int(fraction[:9].ljust(9, b"0")) if fraction else 0
    return seconds * 1_000_000_000 + (-nanoseconds if negative else nanoseconds)


def xattrs(pax: Records) -> dict[bytes, bytes]:
    """Extended attributes; SCHILY's raw value goes before libarchive's base64."""
    found: dict[bytes, bytes] = {}
    for key, value in pax.items():
        if key.startswith(LIBARCHIVE):
            import base64
            from urllib.parse import unquote_to_bytes

            try:
                plain = base64.b64decode(value + b"=" * (-len(value) % 4))
            except ValueError:
                raise Malformed("an extended attribute is no base64") from None
            found.setdefault(unquote_to_bytes(key[len(LIBARCHIVE) :]), plain)
    for key, value in pax.items():
        if key.startswith(SCHILY):
            found[key[len(SCHILY) :]] = value
    return found


def check_segments(segments: Segments, stored: int, real: int) -> Segments:
    """Sparse segments in order, apart, inside the file, and as long as the data that is there."""
    position = total = 0
    for offset, size in segments:
        if offset < position or size < 0 or offset + size > real:
            raise Malformed("its sparse map is out of order")
        position = offset + size
        total += size
    if total != stored:
        raise Malformed(f"its sparse map covers {total} bytes, {stored} are stored")
    return segments


def old_gnu_segments(area: bytes) -> Segments:
    """The (offset, size) pairs of an old GNU sparse header or extension block."""
    found: Segments = []
    for start in range(0, len(area) - 23, 24):
        if not area[start + 12]:  # an unused slot
            break
        found.append((number(area[start : start + 12]), number(area[start + 12 : start + 24])))
    return found


def text_segments(value: bytes) -> Segments:
    """GNU.sparse.map of format 0.1: offset,size,offset,size..."""
    numbers = [decimal(part, "the sparse map") for part in value.split(b",")] if value else []
    if len(numbers) % 2 or len(numbers) > 2 * MAX_SEGMENTS:
        raise Malformed("its sparse map is malformed")
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def corrupt(name: bytes, why: str) -> CorruptError:
    return CorruptError(f"{_WHAT}: {show(name)}", why)


def renamed(error: SampanError, what: str) -> SampanError:
    """The error of an archive that is no layer: `what` failed."""
    return type(error)(error.what.replace(_WHAT, what, 1), error.why, error.hint)


def show(name: bytes) -> str:
    """An entry's name for a message: nothing in it reaches a terminal as it is."""
    text = name[:200].decode("utf-8", "backslashreplace")
    return (
        "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text) or "''"
    )
