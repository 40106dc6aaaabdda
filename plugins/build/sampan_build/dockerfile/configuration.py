"""What instructions make of an image's configuration, and how its history tells of them, in BuildKit's words.

(image-spec, config.md; moby/buildkit, frontend/dockerfile/dockerfile2llb/convert.go)
"""

from __future__ import annotations

import copy
import json

from sampan_build.dockerfile import values as v
from sampan_build.dockerfile.paths import clean

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
SHELL = ("/bin/sh", "-c")
COMMENT = "buildkit.dockerfile.v0"
KEPT = ("architecture", "os", "os.version", "os.features", "variant", "author")


class Configuration:
    """An image's configuration while a stage goes on.  `inner` is its `config` object."""

    def __init__(self, document: Mapping[str, Any] | None = None) -> None:
        """document: that of the base image; None of scratch."""
        document = document or {}
        self.outer: dict[str, Any] = {key: document[key] for key in KEPT if key in document}
        self.inner: dict[str, Any] = copy.deepcopy(dict(document.get("config") or {}))
        self.history: list[dict[str, Any]] = [dict(row) for row in document.get("history") or ()]
        self.triggers: list[str] = list(self.inner.pop("OnBuild", None) or ())
        self._has_command = False  # CMD was said in this stage

    def child(self) -> Configuration:
        """The one that a stage made FROM this one begins with, which has run the triggers."""
        made = Configuration()
        made.outer = dict(self.outer)
        made.inner = copy.deepcopy(self.inner)
        made.inner.pop("OnBuild", None)
        made.history = [dict(row) for row in self.history]
        return made

    @property
    def environment(self) -> dict[str, str]:
        """ENV of the image; a PATH is always there."""
        pairs = (word.partition("=") for word in self.inner.get("Env") or ())
        found = {name: value for name, _, value in pairs}
        return found if "PATH" in found else {"PATH": PATH, **found}

    @property
    def shell(self) -> tuple[str, ...]:
        return tuple(self.inner.get("Shell") or SHELL)

    @property
    def workdir(self) -> str:
        return clean(f"/{self.inner.get('WorkingDir') or ''}")

    @property
    def user(self) -> str:
        return str(self.inner.get("User") or "")

    def words(self, command: v.Command) -> list[str]:
        """The arguments of CMD, ENTRYPOINT and HEALTHCHECK."""
        return [*self.shell, *command.words] if command.is_shell else list(command.words)

    def note(self, text: str, created: str, *, empty: bool) -> None:
        """An entry of the history."""
        row: dict[str, Any] = {"created": created, "created_by": text, "comment": COMMENT}
        if empty:
            row["empty_layer"] = True
        self.history.append(row)

    def apply(self, row: v.Instruction) -> str:
        """Change the configuration as the instruction says; returns the history's word on it.

        What RUN, COPY and ADD change is no part of it.
        """
        method = getattr(self, f"_{type(row).__name__.lower()}")
        return str(method(row))

    def _env(self, row: v.Env) -> str:
        environment = self.environment
        environment.update((pair.name, pair.value) for pair in row.pairs)
        self.inner["Env"] = [f"{name}={value}" for name, value in environment.items()]
        return f"ENV {_pairs(row.pairs)}"

    def _label(self, row: v.Label) -> str:
        labels: dict[str, str] = dict(self.inner.get("Labels") or {})
        labels.update((pair.name, pair.value) for pair in row.pairs)
        self.inner["Labels"] = labels
        return f"LABEL {_pairs(row.pairs)}"

    def _arg(self, row: v.Arg) -> str:
        words = [name if value is None else f"{name}={value}" for name, value in row.arguments]
        return f"ARG {' '.join(words)}"

    def _workdir(self, row: v.Workdir) -> str:
        self.inner["WorkingDir"] = joined(self.workdir, row.path)
        return f"WORKDIR {self.inner['WorkingDir']}"

    def _user(self, row: v.User) -> str:
        self.inner["User"] = row.user
        return f"USER {row.user}"

    def _volume(self, row: v.Volume) -> str:
        self.inner["Volumes"] = {
            **(self.inner.get("Volumes") or {}),
            **{path: {} for path in row.paths},
        }
        return f"VOLUME [{' '.join(row.paths)}]"

    def _expose(self, row: v.Expose) -> str:
        names = [name for ports in row.ports for name in ports.names()]
        self.inner["ExposedPorts"] = {
            **(self.inner.get("ExposedPorts") or {}), **{name: {} for name in names}
        }  # fmt: skip
        return f"EXPOSE [{' '.join(names)}]"

    def _cmd(self, row: v.Cmd) -> str:
        self.inner["Cmd"] = self.words(row.command)
        self._has_command = True
        return f"CMD {_quoted(self.inner['Cmd'])}"

    def _entrypoint(self, row: v.Entrypoint) -> str:
        self.inner["Entrypoint"] = self.words(row.command)
        if not self._has_command:
            self.inner.pop("Cmd", None)
        return f"ENTRYPOINT {_quoted(self.inner['Entrypoint'])}"

    def _shell(self, row: v.Shell) -> str:
        self.inner["Shell"] = list(row.words)
        return f"SHELL [{' '.join(row.words)}]"

    def _stopsignal(self, row: v.StopSignal) -> str:
        self.inner["StopSignal"] = row.signal
        return f"STOPSIGNAL {row.signal}"

    def _healthcheck(self, row: v.Healthcheck) -> str:
        times = {
            "Interval": row.interval, "Timeout": row.timeout, "StartPeriod": row.start_period,
            "StartInterval": row.start_interval, "Retries": row.retries,
        }  # fmt: skip
        self.inner["Healthcheck"] = {
            "Test": list(row.test),
            **{k: n for k, n in times.items() if n},
        }
        seconds = [
            f"{row.interval / 1e9:g}s",
            f"{row.timeout / 1e9:g}s",
            f"{row.start_period / 1e9:g}s",
        ]
        return f"HEALTHCHECK &{{{_quoted(row.test)} {' '.join(seconds)} '{row.retries}'}}"

    def _onbuild(self, row: v.Onbuild) -> str:
        self.inner["OnBuild"] = [*(self.inner.get("OnBuild") or ()), row.expression]
        return f"ONBUILD {row.expression}"

    def _maintainer(self, row: v.Maintainer) -> str:
        self.outer["author"] = row.name
        return f"MAINTAINER {row.name}"

    def document(self, created: str) -> dict[str, Any]:
        """The whole document but for its layers."""
        inner = {key: value for key, value in self.inner.items() if value not in (None, "", [], {})}
        environment = self.environment
        inner["Env"] = [f"{name}={value}" for name, value in environment.items()]
        return {**self.outer, "created": created, "config": inner, "history": self.history}


def joined(directory: str, path: str) -> str:
    """A path as WORKDIR, COPY and ADD take it, relative to a directory."""
    return clean(path if path.startswith("/") else f"{directory}/{path}")


def run_text(arguments: Sequence[str], declared: Sequence[str]) -> str:
    """The history's word on a RUN. declared: what `Scope.history` says."""
    return " ".join(["RUN", *declared, *arguments, "# buildkit"])


def transfer_text(row: v.Transfer) -> str:
    name = "ADD" if isinstance(row, v.Add) else "COPY"
    contents = [f"<<{doc.name}" for doc in row.contents]
    return " ".join([name, *row.sources, *contents, row.destination, "# buildkit"])


def _pairs(pairs: Sequence[v.Pair]) -> str:
    return " ".join(f"{pair.name}={pair.value}" for pair in pairs)


def _quoted(words: Sequence[str]) -> str:
    return "[" + " ".join(json.dumps(word, ensure_ascii=False) for word in words) + "]"
