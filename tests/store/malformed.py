"""Archives that are wrong in one way each. A bug that is found adds one."""

from __future__ import annotations

from tarmaker import BLOCK, gnu_long, header, pad, pax

NAMED = b"the-entry"

MALFORMED: dict[str, bytes] = {
    "bad checksum": header(NAMED, checksum=b"000000\0 "),
    "checksum is text": header(NAMED, checksum=b"abcdefgh"),
    "negative size": header(NAMED, size=-1),
    "very negative size": header(NAMED, raw={124: b"\xff" * 12}),
    "huge size": header(NAMED, raw={124: b"\x80" + b"\xff" * 11}),
    "size is text": header(NAMED, raw={124: b"hello world!"}),
    "mode is text": header(NAMED, raw={100: b"rwxrwxrw"}),
    "negative uid": header(NAMED, uid=-1),
    "huge uid": header(NAMED, raw={108: b"\x80\0\0\1\0\0\0\0"}),
    "cut data": header(NAMED, size=10_000) + b"x" * 600,
    "cut header": header(b"first") + header(NAMED)[:300],
    "unknown type": header(NAMED, b"Z"),
    "dump directory": header(NAMED, b"D"),
    "multi volume": header(NAMED, b"M"),
    "empty name": header(b""),
    "long name too long": gnu_long(b"x" * 5000) + header(NAMED),
    "pax path with NUL": pax([(b"path", b"a\0b")]) + header(NAMED),
    "pax name too long": pax([(b"path", b"x" * 4096)]) + header(NAMED),
    "pax without length": header(b"p", b"x", size=8) + pad(b"path=abc") + header(NAMED),
    "pax cut": header(b"p", b"x", size=9) + pad(b"99 path=a") + header(NAMED),
    "pax length zero": header(b"p", b"x", size=9) + pad(b"0 path=ab") + header(NAMED),
    "pax length huge": header(b"p", b"x", size=40) + pad(b"9" * 30 + b" path=ab\n") + header(NAMED),
    "pax size negative": pax([(b"size", b"-5")]) + header(NAMED),
    "pax size is text": pax([(b"size", b"ten")]) + header(NAMED),
    "pax size beyond": pax([(b"size", b"9" * 20)]) + header(NAMED),
    "pax time is text": pax([(b"mtime", b"now")]) + header(NAMED),
    "pax time beyond": pax([(b"mtime", b"9" * 23)]) + header(NAMED),
    "pax 2 MiB": header(b"p", b"x", size=2 << 20) + bytes(2 << 20) + header(NAMED),
    "pax in pieces": pax([(b"comment", b"x" * 700_000)]) * 2 + header(NAMED),
    "pax says 8 EiB": header(b"p", b"x", size=1 << 63) + header(NAMED),
    "extension at the end": pax([(b"path", b"x")]),
    "sparse out of order": pax(
        [(b"GNU.sparse.size", b"9999"), (b"GNU.sparse.map", b"512,512,0,512")]
    ) + header(NAMED, size=1024) + bytes(1024),
    "sparse past its end": pax([(b"GNU.sparse.size", b"10"), (b"GNU.sparse.map", b"8,512")])
    + header(NAMED, size=512) + bytes(512),
    "sparse of 2 EiB": pax([(b"GNU.sparse.size", b"%d" % (1 << 61)), (b"GNU.sparse.map", b"0,1")])
    + header(NAMED, size=1) + bytes(512),
    "sparse map odd": pax([(b"GNU.sparse.size", b"10"), (b"GNU.sparse.map", b"0,1,2")])
    + header(NAMED, size=1) + bytes(512),
    "sparse without size": pax([(b"GNU.sparse.map", b"0,1")]) + header(NAMED, size=1) + bytes(512),
    "sparse 1.0 map endless": pax(
        [(b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"), (b"GNU.sparse.realsize", b"9")]
    ) + header(NAMED, size=1024) + b"9" * 1024,
    "sparse 1.0 map huge": pax(
        [(b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"), (b"GNU.sparse.realsize", b"9")]
    ) + header(NAMED, size=512) + pad(b"99999999\n0\n"),
    "old sparse endless": header(NAMED, b"S", raw={482: b"\1", 483: b"%011o" % 99})
    + (b"%011o\0%011o\0" % (1, 1) * 21 + b"\1" + bytes(7)) * 4000,
    "data after the end": bytes(BLOCK) + header(NAMED),
    "garbage": b"\1" * 2048,
    "attribute is no base64": pax([(b"LIBARCHIVE.xattr.user.x", b"a")]) + header(NAMED),
}  # fmt: skip
