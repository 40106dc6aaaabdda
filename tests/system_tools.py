"""What system tests share: a way to call the installed program with a store of its own."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

DEBIAN = "debian:bookworm"
BUSYBOX = "busybox"
Result = subprocess.CompletedProcess[bytes]


class Sampan:
    """`sampan(...)` runs the program and returns the finished process."""

    def __init__(self, program: str, root: Path, run_dir: Path, registries_conf: str) -> None:
        self.program, self.root, self.run_dir = program, root, run_dir
        run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.environment = {
            **{k: v for k, v in os.environ.items() if k in ("HOME", "PATH", "USER", "LANG")},
            "SAMPAN_ROOT": str(root),
            "SAMPAN_RUN_DIR": str(run_dir),
            "CONTAINERS_REGISTRIES_CONF": registries_conf,
        }

    def __call__(
        self,
        *words: str,
        input: bytes | None = None,
        env: dict[str, str] | None = None,
        timeout: float = 60,
        **more: Any,
    ) -> Result:
        if input is None and "stdin" not in more:
            more["stdin"] = subprocess.DEVNULL
        return subprocess.run(
            [self.program, *words],
            input=input,
            capture_output="stdout" not in more,
            env={**self.environment, **(env or {})},
            timeout=timeout,
            check=False,
            **more,
        )

    def text(self, *words: str, **more: Any) -> str:
        """Standard output of a command that must succeed."""
        result = self(*words, **more)
        assert result.returncode == 0, (words, result.returncode, result.stderr)
        return result.stdout.decode().rstrip("\n")

    def spawn(self, *words: str, **more: Any) -> subprocess.Popen[bytes]:
        more.setdefault("stdin", subprocess.DEVNULL)
        return subprocess.Popen([self.program, *words], env=self.environment, **more)

    def state(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.text("inspect", name))[0]["State"]
        return found

    def leftovers(self) -> list[str]:
        """What a store without containers should not hold."""
        found: list[str] = []
        for directory in ("containers", "names", "ingest", "leases"):
            path = self.root / directory
            if path.exists():
                found += [f"{directory}/{p.name}" for p in path.iterdir() if p.name != ".lock"]
        overlay = self.root / "overlay"
        if overlay.exists():
            found += [
                f"overlay/{p.name}"
                for p in overlay.iterdir()
                if p.name.startswith(("c", ".tmp")) and not _is_layer(p)
            ]
        run = self.run_dir / "containers"
        if run.exists():
            found += [f"run/{p.name}" for p in run.iterdir()]
        return found


def _is_layer(path: Path) -> bool:
    return len(path.name) == 24


def virtual_environment(place: Path, program: str, python: str, *flags: str) -> Path:
    """A fresh virtual environment that sees the installed sampan; returns its own `sampan`."""
    subprocess.run([python, "-m", "venv", *flags, str(place)], check=True)
    inside = next((place / "lib").glob("python3*")) / "site-packages"
    installed = subprocess.run(
        [Path(program).parent / "python", "-c", "import site; print(site.getsitepackages()[0])"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    hook = inside / "sampan-from-outside.pth"
    hook.write_text(f"import site; site.addsitedir({installed!r})\n")
    script = place / "bin/sampan"
    script.write_text(f"#!{place}/bin/python3\nfrom sampan.cli import main\nmain()\n")
    script.chmod(0o755)
    return script


def until(condition: Callable[[], bool], seconds: float = 10) -> bool:
    """Whether the condition comes true in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return condition()


def ended(pid: int) -> bool:
    """Whether the process is gone, or a zombie that its parent has not taken yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


def has_subordinate_ids() -> bool:
    import getpass

    user = getpass.getuser()
    try:
        with open("/etc/subuid", encoding="utf-8") as file:
            return any(line.split(":")[0] in (user, str(os.getuid())) for line in file)
    except FileNotFoundError:
        return False
