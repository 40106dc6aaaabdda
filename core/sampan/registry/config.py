"""registries.conf (containers-registries.conf(5), version 2): search list, aliases, mirrors,
locations.

One main file is read: $CONTAINERS_REGISTRIES_CONF, else the user's, else /etc's.  The drop-ins of
registries.conf.d, /etc's and then the user's, are laid over it, and last sampan's own file of the same
format, sampan/registries.conf beside its settings.
"""

from __future__ import annotations

import os
import tomllib
from typing import Any, NamedTuple

from sampan.errors import SampanError, UsageError
from sampan.model import reference
from sampan.model.image import all_strings, is_list, is_object
from sampan.model.reference import DEFAULT_DOMAIN, Reference

SYSTEM = "/etc/containers/registries.conf"
OWN_SYSTEM = "/etc/sampan/registries.conf"
_HOSTS = {DEFAULT_DOMAIN: "registry-1.docker.io"}  # names whose API is elsewhere


class Endpoint(NamedTuple):
    """Where a repository is asked for. host: HOST[:PORT] of the API; path: the repository there."""

    name: str  # the registry's name, by which credentials are kept
    path: str
    insecure: bool
    mirror: bool

    @property
    def host(self) -> str:
        return _HOSTS.get(self.name, self.name)


class Mirror(NamedTuple):
    location: str
    insecure: bool
    pull: str  # all, digest-only, tag-only


class Registry(NamedTuple):
    """One [[registry]]: what is under `prefix` is at `location`."""

    prefix: str
    location: str
    insecure: bool
    blocked: bool
    mirrors: tuple[Mirror, ...]


class RegistriesConf(NamedTuple):
    search: tuple[str, ...] = ()
    aliases: tuple[tuple[str, str], ...] = ()
    registries: tuple[Registry, ...] = ()

    def candidates(self, text: str) -> list[Reference]:
        """The full names that `text` can stand for, in the order in which they are tried."""
        given = reference.parse(text)
        if reference.has_domain(text):
            return [given]
        short = text.partition("@")[0]
        head, colon, tail = short.rpartition(":")
        bare = head if colon and "/" not in tail else short
        alias = dict(self.aliases).get(bare)
        if alias:
            target = reference.parse(alias)
            return [Reference(target.domain, target.path, given.tag, given.digest)]
        if not self.search:
            return [given]
        return [reference.parse(f"{registry}/{text}") for registry in self.search]

    def endpoints(self, name: Reference) -> list[Endpoint]:
        """The mirrors and then the registry itself. SampanError if it is blocked."""
        entry = self._entry(name)
        if entry is None:
            return [Endpoint(name.domain, name.path, False, False)]
        if entry.blocked:
            raise SampanError(
                f"cannot pull {name}", f"{entry.prefix} is blocked", "registries.conf says so"
            )
        found: list[Endpoint] = []
        for mirror in entry.mirrors:
            wanted = "digest-only" if name.digest else "tag-only"
            if mirror.pull in ("all", wanted):
                domain, path = _rewrite(name, entry.prefix, mirror.location)
                found.append(Endpoint(domain, path, mirror.insecure, True))
        domain, path = _rewrite(name, entry.prefix, entry.location)
        found.append(Endpoint(domain, path, entry.insecure, False))
        return found

    def _entry(self, name: Reference) -> Registry | None:
        """The [[registry]] with the longest prefix that matches."""
        fitting = [entry for entry in self.registries if _matches(name, entry.prefix)]
        return max(fitting, key=lambda entry: len(entry.prefix), default=None)


def load() -> RegistriesConf:
    """The configuration of this user on this machine."""
    home = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    user = f"{home}/containers/registries.conf"
    main = os.environ.get("CONTAINERS_REGISTRIES_CONF")
    if not main:
        main = user if os.path.exists(user) else SYSTEM
    conf = RegistriesConf()
    own = (OWN_SYSTEM, f"{home}/sampan/registries.conf")
    for path in (main, *_drop_ins(f"{SYSTEM}.d"), *_drop_ins(f"{user}.d"), *own):
        conf = _overlay(conf, _read(path))
    return conf


def parse(text: str, path: str) -> RegistriesConf:
    """One file's content. UsageError names the file and the key."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"cannot read {path}", str(error)) from error
    search: Any = document.get("unqualified-search-registries", [])
    aliases: Any = document.get("aliases", {})
    if not is_list(search) or not all_strings(search):
        raise UsageError(f"cannot read {path}", "unqualified-search-registries is a list of names")
    if not is_object(aliases) or not all_strings(aliases.values()):
        raise UsageError(f"cannot read {path}", "[aliases] is a table of names")
    entries: Any = document.get("registry", [])
    if not is_list(entries):
        raise UsageError(f"cannot read {path}", "[[registry]] is a list of tables")
    registries = tuple(_registry(entry, path) for entry in entries)
    return RegistriesConf(tuple(search), tuple(aliases.items()), registries)


def _registry(entry: Any, path: str) -> Registry:
    where = f"[[registry]] in {path}"
    location = _text(entry, "location", where)
    prefix = _text(entry, "prefix", where) or location
    if not prefix:
        raise UsageError(f"cannot read {where}", "it has neither prefix nor location")
    by_digest = _flag(entry, "mirror-by-digest-only", where)
    listed: Any = entry.get("mirror", [])
    mirrors: list[Mirror] = []
    for mirror in listed if is_list(listed) else []:
        inside = f"[[registry.mirror]] in {path}"
        pull = _text(mirror, "pull-from-mirror", inside) or ("digest-only" if by_digest else "all")
        if pull not in ("all", "digest-only", "tag-only"):
            raise UsageError(f"cannot read {inside}", f'pull-from-mirror is not "{pull[:40]}"')
        at = _text(mirror, "location", inside)
        if not at:
            raise UsageError(f"cannot read {inside}", "it has no location")
        mirrors.append(Mirror(at, _flag(mirror, "insecure", inside), pull))
    insecure, blocked = (_flag(entry, key, where) for key in ("insecure", "blocked"))
    return Registry(prefix, location, insecure, blocked, tuple(mirrors))


def _text(table: Any, key: str, where: str) -> str:
    value = table.get(key, "") if is_object(table) else None
    if not isinstance(value, str):
        raise UsageError(f"cannot read {where}", f"{key} is not a text")
    return value.rstrip("/")


def _flag(table: Any, key: str, where: str) -> bool:
    value = table.get(key, False) if is_object(table) else None
    if not isinstance(value, bool):
        raise UsageError(f"cannot read {where}", f"{key} is not true or false")
    return value


def _read(path: str) -> RegistriesConf:
    try:
        with open(path, encoding="utf-8") as file:
            return parse(file.read(), path)
    except FileNotFoundError:
        return RegistriesConf()
    except (OSError, UnicodeDecodeError) as error:
        raise SampanError(f"cannot read {path}", str(error)) from error


def _drop_ins(directory: str) -> list[str]:
    try:
        names = sorted(name for name in os.listdir(directory) if name.endswith(".conf"))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise SampanError(f"cannot read {directory}", str(error)) from error
    return [f"{directory}/{name}" for name in names]


def _overlay(below: RegistriesConf, above: RegistriesConf) -> RegistriesConf:
    replaced = {entry.prefix for entry in above.registries}
    kept = tuple(entry for entry in below.registries if entry.prefix not in replaced)
    return RegistriesConf(
        above.search or below.search,
        tuple((dict(below.aliases) | dict(above.aliases)).items()),
        kept + above.registries,
    )


def _matches(name: Reference, prefix: str) -> bool:
    """Whether the prefix ends at a boundary of the name; `*.example.com` is a wildcard for
    hosts.
    """
    if prefix.startswith("*."):
        host, slash, path = prefix.partition("/")
        bare = name.domain.partition(":")[0]
        if not bare.endswith(host[1:]):
            return False
        return not slash or f"{name.path}/".startswith(f"{path}/")
    full = str(name)
    return full.startswith(prefix) and (len(full) == len(prefix) or full[len(prefix)] in "/:@")


def _rewrite(name: Reference, prefix: str, location: str) -> tuple[str, str]:
    """The registry and repository at the location that stands for the prefix."""
    if not location:
        return name.domain, name.path
    rest = name.path if prefix.startswith("*.") else name.repository.removeprefix(prefix)
    target = f"{location}/{rest.lstrip('/')}".rstrip("/")
    domain, _, path = target.partition("/")
    return domain, path
