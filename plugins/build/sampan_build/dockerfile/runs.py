"""RUN as a value: what is executed, with which environment and mounts, and what of it identifies the step."""

from __future__ import annotations

from dataclasses import dataclass, field

from sampan.drivers import Command, RunMount
from sampan_build.dockerfile.arguments import ArgumentError
from sampan_build.dockerfile.configuration import joined
from sampan_build.dockerfile.parser import heredoc
from sampan_build.dockerfile.scopes import proxies
from sampan_build.dockerfile.sources import Source, digest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from sampan.drivers import Layers
    from sampan_build.dockerfile import values as v
    from sampan_build.dockerfile.configuration import Configuration
    from sampan_build.dockerfile.mounts import Mount
    from sampan_build.dockerfile.options import Options
    from sampan_build.dockerfile.scopes import Scope

    # of a mount that takes files: where they are, and their path there
    Finder = Callable[[Mount], tuple[Source, str]]

SCRIPTS = "/dev/pipes"  # where BuildKit puts a heredoc that begins with #!
AGENT = "/run/buildkit/ssh_agent"


@dataclass(slots=True)
class RunPlan:
    """command has its mounts without the layers of stages; mount_sources tells the source of each, or None.

    script: a program that a heredoc is, by name.
    """

    command: Command
    identity: list[object]
    mount_sources: list[Source | None] = field(default_factory=lambda: list[Source | None]())
    script: tuple[str, bytes] | None = None

    @property
    def sources(self) -> list[Source]:
        return [source for source in self.mount_sources if source is not None]

    def complete(self, layers_of: Callable[[Source], Layers]) -> Command:
        """The command with the layers of its mounts."""
        mounts = [
            mount if source is None else mount._replace(layers=layers_of(source))
            for mount, source in zip(self.command.mounts, self.mount_sources, strict=True)
        ]
        return self.command._replace(mounts=mounts)


def plan(row: v.Run, made: Configuration, scope: Scope, options: Options, find: Finder) -> RunPlan:
    """The plan of a RUN whose variables are expanded."""
    if row.security != "sandbox":
        raise ArgumentError(
            "security.insecure is not allowed",
            "a build has no more rights than `sampan run`",
            "--security",
        )
    words, script = _words(row.command)
    arguments = [*made.shell, *words] if row.command.is_shell and script is None else words
    network = options.network if row.network == "default" else row.network
    planned = RunPlan(
        Command(
            arguments,
            {**proxies(scope.given), **scope.variables},
            made.workdir,
            made.user,
            network,
            hosts=options.hosts,
            options=options.run,
        ),
        [
            arguments,
            sorted(scope.variables.items()),
            made.workdir,
            made.user,
            network,
            list(options.hosts),
        ],
        script=(script[0], script[1].encode("utf-8", "surrogateescape")) if script else None,
    )
    planned.identity.append(script and list(script))
    if options.run:  # limits and privileges decide what a command does
        planned.identity.append(dict(options.run))
    for mount in row.mounts:
        _add(planned, mount, made, options, find)
    return planned


def _words(command: v.Command) -> tuple[list[str], tuple[str, str] | None]:
    """The words with their heredocs, as BuildKit puts them together; or a script and its path."""
    words = list(command.words)
    if not command.heredocs:
        return words, None
    if heredoc(words[0]):  # nothing but a heredoc
        first = command.heredocs[0]
        text = _unix(first.text())
        if text.startswith("#!"):
            return [f"{SCRIPTS}/{first.name}"], (first.name, text)
        return [text], None
    full = words[0]
    for doc in command.heredocs:
        full += f"\n{_unix(doc.content)}{doc.name}"
    return [full], None


def _unix(text: str) -> str:
    """A file with CRLF is read as one with LF: no command is to see a CR that an editor has put there."""
    return text.replace("\r\n", "\n")


def _add(
    planned: RunPlan, mount: Mount, made: Configuration, options: Options, find: Finder
) -> None:
    target = joined(made.workdir, mount.target) if mount.target else made.workdir
    said: list[object] = [mount.type, target, mount.source, mount.readonly, mount.id]
    uid, gid = mount.uid or 0, mount.gid or 0
    source: Source | None = None
    found: RunMount | None = None
    command = planned.command
    if mount.type == "bind":
        source, path = find(mount)
        found = RunMount("layers", target, path, readonly=mount.readonly)
    elif mount.type == "cache":
        mode = 0o755 if mount.mode is None else mount.mode
        path = ""
        if mount.origin:
            source, path = find(mount)
        key = digest("cache mount", mount.id, uid, gid, mode)
        found = RunMount(
            "cache",
            target,
            path,
            readonly=mount.readonly,
            key=key,
            sharing=mount.sharing,
            mode=mode,
            uid=uid,
            gid=gid,
        )
        said += [mode, uid, gid]
    elif mount.type == "tmpfs":
        found = RunMount("tmpfs", target, readonly=False, size=mount.size)
    elif mount.type == "secret":
        data = options.secrets.get(mount.id)
        said += [mount.env, mount.mode, uid, gid]
        if data is None:
            if mount.required:
                raise ArgumentError(
                    f"secret {mount.id}: not found", f"give it: --secret id={mount.id},src=FILE"
                )
        else:
            if mount.env is not None:
                secrets = {**command.secrets, mount.env or mount.id: data}
                command = command._replace(secrets=secrets)
            if mount.target:
                mode = 0o400 if mount.mode is None else mount.mode
                found = RunMount("file", target, data=data, mode=mode, uid=uid, gid=gid)
    elif mount.type == "ssh":
        path = options.ssh.get(mount.id, "")
        if not path and mount.required:
            raise ArgumentError(f"unset ssh forward key {mount.id}", f"give it: --ssh {mount.id}")
        if path:
            count = sum(one.kind == "socket" for one in command.mounts)
            target = joined(made.workdir, mount.target) if mount.target else f"{AGENT}.{count}"
            found = RunMount("socket", target, path)
            command = command._replace(environment={**command.environment, "SSH_AUTH_SOCK": target})
    planned.identity.append(said)
    if found is not None:
        command = command._replace(mounts=[*command.mounts, found])
        planned.mount_sources.append(source)
    planned.command = command
