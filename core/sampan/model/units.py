"""What starts containers with the machine: units of `systemd --user` (systemd.unit(5)), a line for crontab(5)."""

from __future__ import annotations

BOOT = ["start", "--all", "--filter", "should-start-on-boot=true"]


def quote(words: list[str]) -> str:
    """A command line of a unit: systemd's quoting, where % and $ are special (systemd.service(5))."""
    return " ".join(_quoted(word) for word in words)


def _quoted(word: str) -> str:
    text = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    text = text.replace("\n", "\\n").replace("\t", "\\t")
    plain = all(character.isalnum() or character in "-_./:=@,+" for character in word)
    return text if plain and word else f'"{text}"'


def boot(program: list[str]) -> str:
    """The unit that starts, after boot, those whose restart policy says so."""
    return f"""[Unit]
Description=Containers of sampan that start with the machine
Documentation=man:sampan(1)
After=network-online.target
Wants=network-online.target

[Service]
Type=oneshot
RemainAfterExit=yes
KillMode=process
ExecStart={quote([*program, *BOOT])}

[Install]
WantedBy=default.target
"""


def container(
    program: list[str], name: str, *, pidfile: str, stop_seconds: int, policy: str, after: list[str]
) -> str:
    """The unit of one container; systemd watches its monitor, which ends when the container does.

    The control group is the unit's own: in a scope of its own the monitor would not belong to the unit.
    """
    order = "".join(f"After={unit}\nWants={unit}\n" for unit in after)
    return f"""[Unit]
Description=Container {name} of sampan
{order}
[Service]
Type=forking
PIDFile={pidfile}
Delegate=yes
Environment=SAMPAN_CGROUP_MANAGER=delegated
Restart={policy}
KillMode=mixed
TimeoutStopSec={stop_seconds + 60}
ExecStart={quote([*program, "start", name])}
ExecStop={quote([*program, "stop", "--time", str(stop_seconds), name])}

[Install]
WantedBy=default.target
"""


def crontab(program: list[str]) -> str:
    """A line for `crontab -e`, run by a shell; % is a newline to cron."""
    words = [_shell(word).replace("%", "\\%") for word in [*program, *BOOT]]
    return f"@reboot {' '.join(words)}\n"


def _shell(word: str) -> str:
    plain = all(character.isalnum() or character in "-_./:=@,+%" for character in word)
    return word if plain and word else "'" + word.replace("'", "'\\''") + "'"
