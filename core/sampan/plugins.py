"""Finding and loading plugins: an index of entry points, and pluggy where there is more than one voice.

Scanning distributions takes longer than starting a container, so the entry points are kept in a JSON index that
is stamped with the modification times of sys.path's entries and refreshes itself.  A driver is asked for by
concern and name, and only its module is imported.  Where no extension is installed its hook has one
implementation and is called as a function, which is what pluggy would do; with extensions pluggy does the calling.
"""

from __future__ import annotations

import os
import sys

from sampan import files, jsontext
from sampan.errors import NotFoundError, SampanError
from sampan.settings import CONCERNS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType
    from typing import Any

    import pluggy

    from sampan.drivers import ConfigTable
    from sampan.model.contract import DriverContext, Probe
    from sampan.settings import Settings

EXTENSION = "sampan.extension"
COMMANDS = "sampan.commands"
GROUPS = (*(f"sampan.{concern}" for concern in CONCERNS), EXTENSION, COMMANDS)
HOOKS = {
    "storage": "sampan_storage_driver",
    "network": "sampan_network_backend",
    "runtime": "sampan_runtime",
    "cgroup": "sampan_cgroup_manager",
    "build": "sampan_builder",
    "volume": "sampan_volume_driver",
    "registry": "sampan_registry",
}


class Entry:
    """An entry point: its name is what the user types, value is MODULE or MODULE:ATTRIBUTE."""

    __slots__ = ("distribution", "group", "name", "value", "version")

    def __init__(self, group: str, name: str, value: str, distribution: str, version: str) -> None:
        self.group, self.name, self.value = group, name, value
        self.distribution, self.version = distribution, version


class Plugins:
    """The installed plugins. `run_dir` keeps the index; nothing is imported before it is asked for."""

    def __init__(self, run_dir: str, rows: Sequence[Sequence[str]] | None = None) -> None:
        """rows: what another process has read from the index already."""
        self._entries = read_index(run_dir) if rows is None else [Entry(*row) for row in rows]

    def rows(self) -> list[tuple[str, str, str, str, str]]:
        return [(e.group, e.name, e.value, e.distribution, e.version) for e in self._entries]

    def entries(self, group: str) -> list[Entry]:
        return [entry for entry in self._entries if entry.group == group]

    def names(self, concern: str) -> list[str]:
        return sorted({entry.name for entry in self.entries(f"sampan.{concern}")})

    def entry(self, concern: str, name: str) -> Entry:
        """The one entry of that name; two distributions that claim it are an error naming both."""
        found = [e for e in self.entries(f"sampan.{concern}") if e.name == name]
        if not found:
            raise NotFoundError(
                f"no {concern} plugin is named {name!r}",
                f"installed: {', '.join(self.names(concern)) or 'none'}",
                "sampan plugin ls lists them",
            )
        if len({entry.value for entry in found}) > 1:
            owners = " and ".join(f"{e.distribution} {e.version} ({e.value})" for e in found)
            raise SampanError(
                f"{concern} plugin {name!r} is claimed twice",
                f"by {owners}",
                "uninstall one of the two distributions",
            )
        return found[0]

    def load(self, entry: Entry) -> ModuleType:
        """Import the plugin's module."""
        name = entry.value.partition(":")[0]
        try:
            __import__(name)
            return sys.modules[name]
        except Exception as error:
            raise SampanError(
                f"plugin {entry.name!r} of {entry.distribution} {entry.version} cannot be loaded",
                f"{type(error).__name__}: {error}",
                "reinstall or uninstall that distribution",
            ) from error

    def configure(self, concern: str, name: str, settings: Settings) -> dict[str, Any]:
        """The plugin's own options: its defaults with what the files say; its keys and types are checked."""
        declared: ConfigTable = self.call(concern, name, "sampan_config") or {}
        options = {key: default for key, (_, default, _) in declared.items()}
        for key, value in settings.table(concern, name).items():
            place = settings.sources.get(f"{concern}.{name}.{key}", "configuration")
            if key not in declared:
                raise SampanError(
                    f"{place}: unknown key {concern}.{name}.{key}",
                    f"the plugin knows {', '.join(declared) or 'none'}",
                )
            if not isinstance(value, declared[key][0]):
                raise SampanError(
                    f"{place}: {concern}.{name}.{key} must be a {declared[key][0].__name__}"
                )
            options[key] = value
        return options

    def driver(self, concern: str, name: str, context: DriverContext) -> Any:
        """The driver of that name, made by its plugin's hook."""
        driver = self.call(concern, name, HOOKS[concern], context=context)
        if driver is None:
            raise SampanError(
                f"plugin {name!r} made no {concern} driver", "its hook returned nothing"
            )
        return driver

    def probe(self, concern: str, name: str, context: DriverContext) -> Probe:
        """What the plugin says of this machine; one that says nothing is taken to be usable."""
        from sampan.model.contract import Probe

        answer = self.call(concern, name, "sampan_probe", context=context)
        return answer if answer is not None else Probe(True, "does not probe")

    def call(self, concern: str, name: str, hook: str, **arguments: Any) -> Any:
        """Call one plugin's hook, through the extensions where there are any."""
        module = self.load(self.entry(concern, name))
        if self.entries(EXTENSION):
            return getattr(self.manager([module]).hook, hook)(**arguments)
        function = getattr(module, hook, None)
        return None if function is None else function(**arguments)

    def manager(self, modules: list[ModuleType]) -> pluggy.PluginManager:
        """A pluggy manager with the extensions and the given plugins."""
        import pluggy

        from sampan import hookspecs

        class Manager(pluggy.PluginManager):
            """A function named as a hook is an implementation, as in pytest."""

            def parse_hookimpl_opts(self, plugin: Any, name: str) -> Any:
                options = super().parse_hookimpl_opts(plugin, name)
                if options is None and name in vars(hookspecs) and name.startswith("sampan_"):
                    return {} if callable(getattr(plugin, name)) else None
                return options

        manager = Manager(hookspecs.PROJECT)
        manager.add_hookspecs(hookspecs)
        for module in [*modules, *(self.load(entry) for entry in self.entries(EXTENSION))]:
            manager.register(module)
        return manager

    def announce(self, hook: str, **arguments: Any) -> None:
        """Call a hook of the extensions only."""
        if self.entries(EXTENSION):
            getattr(self.manager([]).hook, hook)(**arguments)


def _stamp() -> list[list[Any]]:
    stamp: list[list[Any]] = []
    for path in sys.path:
        try:
            stamp.append([path, os.stat(path or ".").st_mtime_ns])
        except OSError:
            stamp.append([path, 0])
    return stamp


def read_index(run_dir: str) -> list[Entry]:
    """The entries from the index, made anew if sys.path or one of its entries has changed."""
    stamp = _stamp()
    name = f"plugins{sys.prefix.replace('/', '-')[-100:]}.json"
    try:
        with open(f"{run_dir}/{name}", "rb") as file:
            document = jsontext.loads(file.read())
        if document["stamp"] == stamp:
            return [Entry(*row) for row in document["entries"]]
    except (OSError, ValueError, KeyError, TypeError):
        pass  # a cache: whatever is wrong with it, it is made again
    rows = scan()
    try:
        fd = files.open_directory(run_dir)
        try:
            data = jsontext.dumps({"stamp": stamp, "entries": rows}).encode()
            files.write_atomic(fd, name, data, sync=False)
        finally:
            os.close(fd)
    except OSError:
        pass  # no cache, only slower
    return [Entry(*row) for row in rows]


def scan() -> list[tuple[str, str, str, str, str]]:
    """(group, name, value, distribution, version) of every entry point of our groups."""
    from importlib import metadata

    rows: list[tuple[str, str, str, str, str]] = []
    seen: set[str] = set()
    for distribution in metadata.distributions():
        label = distribution.metadata["Name"] or "unknown"
        if label in seen:  # an earlier entry of sys.path hides a later one
            continue
        seen.add(label)
        rows += [
            (point.group, point.name, point.value, label, distribution.version)
            for point in distribution.entry_points
            if point.group in GROUPS
        ]
    return rows
