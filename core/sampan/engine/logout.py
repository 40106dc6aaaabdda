"""Whether a container in the background outlives the login or the job in which it is started; said once a session."""

from __future__ import annotations

import os

from sampan import files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sampan.engine import Engine

JOBS = {  # variable of a job: the batch system
    "SLURM_JOB_ID": "Slurm",
    "PBS_JOBID": "PBS",
    "LSB_JOBID": "LSF",
    "COBALT_JOBID": "Cobalt",
    "OAR_JOB_ID": "OAR",
    "_CONDOR_SCRATCH_DIR": "HTCondor",
}
LOGIND = (  # the later ones win
    "/usr/lib/systemd/logind.conf.d",
    "/etc/systemd/logind.conf",
    "/run/systemd/logind.conf.d",
    "/etc/systemd/logind.conf.d",
)
NOTE = "told-of-logout"  # in the run directory: the session that was told


def notice(engine: Engine, cgroup: str) -> str:
    """What is to be said of a container that has just been started; "" if nothing.

    cgroup: that of the container, "" if it has none of its own.
    """
    text = reason(cgroup)
    if not text:
        return ""
    session = _read("/proc/self/sessionid") + os.environ.get("XDG_SESSION_ID", "")
    directory = files.open_directory(engine.settings.run_dir)
    try:
        if _noted(directory) == session:
            return ""
        files.write_atomic(directory, NOTE, session.encode(), sync=False)
    finally:
        os.close(directory)
    return text


def reason(cgroup: str) -> str:
    """Why a container will not outlive this login or job, and what helps; "" if nothing is known against it."""
    for variable, system in JOBS.items():
        if os.environ.get(variable):
            return f"containers end with this job of {system} ({variable}), as all its processes do"
    if not os.path.isdir("/run/systemd/system") or _lingers():
        return ""
    hint = "loginctl enable-linger lets them go on"
    if "/user@" in (cgroup or _read("/proc/self/cgroup")):
        return f"containers end with your last login, as your systemd manager does; {hint}"
    if "/session-" in _read("/proc/self/cgroup") and kills_users():
        return f"containers end with this login (KillUserProcesses=yes in logind.conf); {hint}"
    return ""


def _lingers() -> bool:
    import pwd

    try:
        name = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return False
    return os.path.exists(f"/var/lib/systemd/linger/{name}")


def kills_users(places: tuple[str, ...] = LOGIND) -> bool:
    """KillUserProcesses= of logind.conf(5)."""
    found = False
    for place in places:
        try:
            names = [
                f"{place}/{name}" for name in sorted(os.listdir(place)) if name.endswith(".conf")
            ]
        except (FileNotFoundError, NotADirectoryError):
            names = [place]
        for name in names:
            for line in _read(name).splitlines():
                key, _, value = line.strip().partition("=")
                if key.strip() == "KillUserProcesses":
                    found = value.strip().lower() in ("yes", "true", "on", "1")
    return found


def _noted(directory: int) -> str:
    try:
        return files.read(directory, NOTE, 256).decode()
    except FileNotFoundError:
        return ""


def _read(path: str) -> str:
    try:
        with open(path, "rb") as file:
            return file.read(1 << 16).decode(errors="replace").strip()
    except OSError:
        return ""
