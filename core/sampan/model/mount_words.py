"""The words of -v, --mount and --tmpfs made into values (`sampan.model.mounts`), with Docker's and podman's meaning.

Pure, but for the home directory and the working directory that a source may start from.
"""

from __future__ import annotations

import os

from sampan.errors import UnsupportedError, UsageError
from sampan.model.options import pairs
from sampan.model.sizes import size
from sampan.model.volume import check_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sampan.model.mounts import Mount

PAIRS = (("suid", "nosuid"), ("dev", "nodev"), ("exec", "noexec"))
PROPAGATION = ("private", "rprivate", "slave", "rslave", "shared", "rshared")
ACCESS = {"rw", "ro", *(word for pair in PAIRS for word in pair)}
BIND = {*ACCESS, *PROPAGATION, "bind", "rbind", "z", "Z", "U"}
VOLUME = {*ACCESS, *PROPAGATION, "z", "Z", "U", "copy", "nocopy"}
TMPFS = {*ACCESS, "size", "mode", "uid", "gid", "nr_inodes", "huge", "tmpcopyup", "notmpcopyup"}
REFUSED = {
    "idmap": "an unprivileged user cannot map ids of a mount",
    "O": "sampan mounts no overlay over a directory of the host",
    "upperdir": "it belongs to overlay mounts (O), of which sampan has none",
    "workdir": "it belongs to overlay mounts (O), of which sampan has none",
}
SAME = {
    "consistency",
    "cached",
    "delegated",
    "consistent",
}  # Docker's, for machines that are not this one


def volume(word: str, driver: str = "local") -> Mount:
    """The mount of `-v [SOURCE:]TARGET[:OPTIONS]`: a path of the host, a volume, or an anonymous one."""
    parts = word.split(":", 2)
    if len(parts) == 1:
        return named("", parts[0], [], driver)
    source, target = parts[:2]
    options = [o for o in (parts[2] if len(parts) > 2 else "").split(",") if o]
    if not source:
        raise UsageError(
            f"invalid mount {word!r}", "host directory cannot be empty", "[SOURCE:]TARGET[:OPTIONS]"
        )
    if source.startswith(("/", ".", "~")):
        return bind(source, target, options)
    return named(source, target, options, driver)


def check_target(target: str) -> str:
    """The absolute path in its shortest form."""
    path = os.path.normpath(target)
    if not target.startswith("/") or path in ("/", "//"):
        raise UsageError(f"invalid mount target {target!r}", "it must be an absolute path below /")
    return path if not path.startswith("//") else path[1:]


def _check(options: list[str], known: set[str], target: str) -> list[str]:
    for option in options:
        name = option.partition("=")[0]
        if name in REFUSED:
            raise UnsupportedError(
                f"mount option {option!r} for {target} is not supported", REFUSED[name]
            )
        if name not in known | SAME:
            raise UsageError(
                f"invalid mount option {option!r} for {target}",
                "",
                f"known: {', '.join(sorted(known))}",
            )
    for pair in (
        *PAIRS,
        ("rw", "ro"),
        ("copy", "nocopy"),
        ("z", "Z"),
        ("bind", "rbind"),
        PROPAGATION,
    ):
        given = [option for option in options if option in pair]
        if len(set(given)) > 1:
            raise UsageError(
                f"invalid mount options for {target}", f"only one of {', '.join(given)} can be had"
            )
    return [option for option in dict.fromkeys(options) if option not in SAME]


def _kept(options: list[str], *, propagation: bool = True) -> list[str]:
    """The flags of the mount; what an image or another user could misuse is off unless it is asked for."""
    kept = [option for option in options if option in ACCESS or option in PROPAGATION]
    for loose, tight in PAIRS[:2]:
        if loose not in kept and tight not in kept:
            kept.append(tight)
    if propagation and not any(option in PROPAGATION for option in kept):
        kept.append("rprivate")
    return kept


def _extras(options: list[str]) -> Mount:
    extras: Mount = {}
    if "U" in options:
        extras["chown"] = True
    if relabel := next((option for option in options if option in ("z", "Z")), ""):
        extras["relabel"] = relabel
    return extras


def bind(source: str, target: str, options: list[str]) -> Mount:
    """A path of the host; the options are a closed set."""
    check_target(target)
    options = _check(options, BIND, target)
    path = os.path.abspath(os.path.expanduser(source))
    recursive = "bind" if "bind" in options else "rbind"
    return {
        "destination": target, "type": "bind", "source": path, "options": [recursive, *_kept(options)],
        **_extras(options),
    }  # fmt: skip


def named(name: str, target: str, options: list[str], driver: str = "local") -> Mount:
    """A volume; an empty name is that of a new one."""
    check_target(target)
    if name:
        check_name(name)
    options = _check(options, VOLUME, target)
    return {
        "destination": target, "type": "volume", "name": name, "options": _kept(options), "driver": driver,
        "driver_options": {}, "labels": {}, "copy": "nocopy" not in options, "subpath": "", **_extras(options),
    }  # fmt: skip


def tmpfs(word: str) -> Mount:
    """The mount of `--tmpfs TARGET[:OPTIONS]`."""
    target, _, text = word.partition(":")
    if not target.startswith("/"):
        raise UsageError(f"invalid tmpfs {word!r}", "its target must be an absolute path")
    options = [option for option in text.split(",") if option]
    for option in options:
        if option.partition("=")[0] not in TMPFS | SAME | set(PROPAGATION):
            raise UsageError(f"invalid tmpfs option {option!r} for {target}")
    copy = "notmpcopyup" not in options  # podman's default
    kept = [
        o for o in options if not o.endswith("tmpcopyup") and o not in SAME and o not in PROPAGATION
    ]
    for loose, tight in PAIRS:
        if loose not in kept and tight not in kept:
            kept.append(tight)
    made = {"destination": target, "type": "tmpfs", "source": "tmpfs", "options": kept}
    return made | {"copy": True} if copy else made


class _Words:
    """The keys of one --mount; each is taken once, and what is left is unknown."""

    def __init__(self, word: str, driver: str) -> None:
        import csv

        self.word, self.driver = word, driver
        try:
            rows = list(csv.reader([word], strict=True))
        except csv.Error as error:
            raise UsageError(f"invalid mount {word!r}", str(error)) from None
        self.values: list[tuple[str, str | None]] = []
        for part in rows[0] if rows else []:
            key, equals, value = part.partition("=")
            self.values.append(
                (key.strip().lower() if key not in ("U", "Z") else key, value if equals else None)
            )

    def fail(self, why: str, hint: str = "") -> UsageError:
        return UsageError(f"invalid mount {self.word!r}", why, hint)

    def all(self, *keys: str) -> list[str]:
        """The values of a key that may be repeated."""
        found = [value for key, value in self.values if key in keys]
        self.values = [pair for pair in self.values if pair[0] not in keys]
        if None in found:
            raise self.fail(f"{keys[0]} needs a value")
        return [value for value in found if value is not None]

    def one(self, *keys: str) -> str:
        """A text; "" if it is not given."""
        found = self.all(*keys)
        if len(found) > 1:
            raise self.fail(f"{keys[0]} is given twice")
        if found == [""]:
            raise self.fail(f"{keys[0]} is empty")
        return found[0] if found else ""

    def flag(self, *keys: str) -> bool | None:
        """True, False, or None if it is not given."""
        found = [value for key, value in self.values if key in keys]
        self.values = [pair for pair in self.values if pair[0] not in keys]
        answer: bool | None = None
        for value in found:
            if (value or "true").lower() not in ("true", "1", "false", "0"):
                raise self.fail(f"invalid value {value!r} for {keys[0]}", "true or false")
            answer = (value or "true").lower() in ("true", "1")
        return answer

    def options(self, *names: str) -> list[str]:
        """The flags that a mount of any type has; `names` are further ones of this type."""
        made: list[str] = []
        readonly, writable = self.flag("ro", "readonly"), self.flag("rw", "readwrite")
        if readonly is not None and writable is not None:
            raise self.fail("only one of ro and rw can be had")
        if readonly is not None or writable is not None:
            made.append("ro" if readonly or writable is False else "rw")
        for loose, tight in PAIRS:
            for name, opposite in ((loose, tight), (tight, loose)):
                if (answer := self.flag(name)) is not None:
                    made.append(name if answer else opposite)
        for name in names:
            if self.flag(name):
                made.append(name)
        return made

    def end(self, kind: str) -> None:
        if self.values:
            key = self.values[0][0]
            if key in REFUSED:
                raise UnsupportedError(f"mount option {key!r} is not supported", REFUSED[key])
            raise self.fail(f"unknown option {key!r} of type {kind}")


def mount(word: str, driver: str = "local") -> Mount:
    """The mount of `--mount type=...,target=...`."""
    words = _Words(word, driver)
    kind = words.one("type") or "volume"
    makers = {"bind": _bind, "volume": _volume, "tmpfs": _tmpfs, "image": _image, "devpts": _devpts}
    if kind not in makers:
        raise words.fail(f"type {kind!r} is not known", f"known: {', '.join(makers)}")
    target = words.one("target", "destination", "dst")
    if not target.startswith("/"):
        raise words.fail("it has no absolute target", "target=/PATH")
    check_target(target)
    words.flag("consistency")
    made = makers[kind](words, target)
    words.end(kind)
    return made


def _propagation(words: _Words) -> list[str]:
    text = words.one("bind-propagation", "propagation")
    if text and text not in PROPAGATION:
        raise words.fail(f"invalid propagation {text!r}", f"one of {', '.join(PROPAGATION)}")
    short = [name for name in PROPAGATION if words.flag(name)]
    return [text] if text else short


def _labelled(words: _Words) -> list[str]:
    """z, Z and U."""
    made = [name for name in ("z", "Z") if words.flag(name)]
    relabel = words.one("relabel")
    if relabel:
        if relabel not in ("shared", "private"):
            raise words.fail(f"invalid relabel {relabel!r}", "shared or private")
        made.append({"shared": "z", "private": "Z"}[relabel])
    if words.flag("U", "chown", "u"):
        made.append("U")
    return made


def _bind(words: _Words, target: str) -> Mount:
    source = words.one("source", "src")
    if not source:
        raise words.fail("it has no source", "source=/HOST/PATH")
    nonrecursive, recursive = words.flag("bind-nonrecursive"), words.one("bind-recursive")
    if recursive not in ("", "enabled", "disabled"):
        raise UnsupportedError(
            f"mount option 'bind-recursive={recursive}' is not supported", "", "enabled or disabled"
        )
    plain = ["bind"] if nonrecursive or recursive == "disabled" else []
    options = [*plain, *words.options("bind", "rbind"), *_propagation(words), *_labelled(words)]
    return bind(source, target, list(dict.fromkeys(options)))


def _volume(words: _Words, target: str) -> Mount:
    source, driver = words.one("source", "src"), words.one("volume-driver") or words.driver
    nocopy = words.flag("nocopy", "volume-nocopy")
    subpath = words.one("subpath", "volume-subpath")
    labels, settings = words.all("volume-label"), words.all("volume-opt")
    options = [
        *words.options(),
        *_propagation(words),
        *_labelled(words),
        *(["nocopy"] if nocopy else []),
    ]
    if subpath and not source:
        raise words.fail("a subpath of a new volume cannot exist")
    if source.startswith(("/", ".")):
        raise words.fail(
            f"{source!r} is no name of a volume", "type=bind mounts a path of the host"
        )
    made = named(source, target, options, driver)
    made["labels"] = pairs(labels, "volume-label")
    made["driver_options"] = pairs(settings, "volume-opt")
    made["subpath"] = _subpath(words, subpath)
    return made


def _subpath(words: _Words, text: str) -> str:
    if text.startswith("/") or ".." in text.split("/"):
        raise words.fail(f"subpath {text!r} leads out of the volume", "a path below it, without ..")
    return text


def _image(words: _Words, target: str) -> Mount:
    source = words.one("source", "src")
    if not source:
        raise words.fail("it has no source", "source=IMAGE")
    subpath = _subpath(words, words.one("subpath", "image-subpath").lstrip("/"))
    options = words.options()
    if "rw" not in options and "ro" not in options:
        options.append("ro")
    return {
        "destination": target, "type": "image", "source": source, "options": _kept(options), "subpath": subpath,
    }  # fmt: skip


def _tmpfs(words: _Words, target: str) -> Mount:
    options = words.options("tmpcopyup", "notmpcopyup")
    if text := words.one("tmpfs-size", "size"):
        options.append(f"size={size(text, 'tmpfs-size')}")
    if text := words.one("tmpfs-mode", "mode"):
        if not text or set(text) - set("01234567"):
            raise words.fail(f"invalid mode {text!r}", "octal digits")
        options.append(f"mode={text}")
    words.flag("u", "U", "chown")  # a tmpfs is the user's already
    return tmpfs(f"{target}:{','.join(options)}")


def _devpts(words: _Words, target: str) -> Mount:
    options = ["newinstance", "nosuid", "noexec", "ptmxmode=0666"]
    for key, default in (("uid", ""), ("gid", ""), ("mode", "0620"), ("max", "")):
        if value := words.one(key) or default:
            if not value.isascii() or not value.isdigit():
                raise words.fail(f"invalid {key} {value!r}", "a number")
            options.append(f"{key}={value}")
    return {"destination": target, "type": "devpts", "source": "devpts", "options": options}
