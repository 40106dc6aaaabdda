"""Rules that a linter does not know: how paths are handled, what the hot path loads, what no file may hold."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

TOP = Path(__file__).parents[1]
SOURCES = sorted([*(TOP / "core").rglob("*.py"), *(TOP / "plugins").rglob("*.py")])
ROOT_FS = sorted(
    [
        *(TOP / "plugins/runtime/sampan_runtime").glob("*.py"),
        *(TOP / "plugins/storage/sampan_storage").glob("*.py"),
        *(TOP / "core/sampan/linux" / name for name in ("paths.py", "mounts.py", "overlay.py")),
        *(
            TOP / "core/sampan/engine" / f"{name}.py"
            for name in ("surroundings", "supervise", "rooted", "hosts", "execute", "placed")
        ),
        *(
            TOP / "core/sampan/store" / f"{name}.py"
            for name in ("apply", "tree", "metadata", "confine", "reader", "sidecar", "unpacker", "layers", "own")
        ),
    ]
)  # fmt: skip
PATHS = {"os.path.join", "os.path.realpath", "os.path.abspath", "os.makedirs", "os.walk", "os.removedirs", "open",
         "io.open", "os.system", "os.popen"}  # fmt: skip
MODULES = {"shutil", "tarfile", "zipfile", "pathlib", "glob", "tempfile"}
# Files of the host, by a path that nobody else chooses.
HOST_FILES = {
    ("native.py", "create"),  # the bundle's config.json, which the monitor has just written
    ("rooted.py", "_set_zone"),  # /etc/localtime
}
EVERYWHERE = {"tarfile", "pickle", "marshal", "shelve", "dill"}


def name_of(node: ast.expr) -> str:
    """`os.path.join` of the expression that spells it."""
    if isinstance(node, ast.Attribute):
        return f"{name_of(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else "?"


def imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def calls(tree: ast.AST, function: str = "") -> Iterator[tuple[str, ast.Call]]:
    """(innermost function, call) of every call."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Call):
            yield function, node
        inner = node.name if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) else function
        yield from calls(node, inner)


def path_sins(source: str, file: str = "x.py") -> list[str]:
    """What a module that touches a root file system may not do (paths are descriptors)."""
    tree = ast.parse(source)
    found = [f"imports {name}" for name in imports(tree) if name.partition(".")[0] in MODULES]
    for function, call in calls(tree):
        name = name_of(call.func)
        if name in PATHS and (file, function) not in HOST_FILES:
            found.append(f"line {call.lineno}: {name}()")
    return found


def sins(source: str) -> list[str]:
    """What no module may do."""
    tree = ast.parse(source)
    found = [f"imports {name}" for name in imports(tree) if name.partition(".")[0] in EVERYWHERE]
    for _, call in calls(tree):
        name = name_of(call.func)
        if name in ("eval", "exec", "compile", "os.system", "os.popen"):
            found.append(f"line {call.lineno}: {name}()")
        if any(k.arg == "shell" and getattr(k.value, "value", True) for k in call.keywords):
            found.append(f"line {call.lineno}: shell=True")
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler) and _swallows(node):
            found.append(f"line {node.lineno}: an exception of any kind is swallowed")
    return found


def _swallows(handler: ast.ExceptHandler) -> bool:
    broad = handler.type is None or name_of(handler.type) in ("Exception", "BaseException")
    return broad and all(isinstance(row, ast.Pass | ast.Continue) for row in handler.body)


@pytest.mark.parametrize("path", ROOT_FS, ids=lambda path: path.name)
def test_root_file_systems_are_touched_by_descriptor(path: Path) -> None:
    assert path_sins(path.read_text(), path.name) == []


def test_no_exemption_is_left_over() -> None:
    """Each one stands for a call that is still there."""
    there = {
        (path.name, function)
        for path in ROOT_FS
        for function, call in calls(ast.parse(path.read_text()))
        if name_of(call.func) in PATHS
    }
    assert there == HOST_FILES


def test_nothing_forbidden_anywhere() -> None:
    assert len(SOURCES) > 90
    found = {str(path.relative_to(TOP)): sins(path.read_text()) for path in SOURCES}
    assert {path: rows for path, rows in found.items() if rows} == {}


@pytest.mark.parametrize(
    "source",
    ["import os\nos.path.join(root, name)", "open(path)", "import shutil", "from tarfile import open as o",
     "import os\ndef f():\n  class A:\n    x = [os.makedirs(y) for y in z]", "from pathlib import Path"],
)  # fmt: skip
def test_the_path_rule_sees(source: str) -> None:
    assert path_sins(source)


@pytest.mark.parametrize(
    "source",
    ["try:\n  f()\nexcept Exception:\n  pass", "try:\n  f()\nexcept:\n  pass", "import pickle", "eval(x)",
     "import subprocess\nsubprocess.run(x, shell=True)", "subprocess.Popen(x, shell=y)", "import tarfile as t",
     "for x in y:\n  try:\n    f()\n  except BaseException:\n    continue"],
)  # fmt: skip
def test_the_general_rule_sees(source: str) -> None:
    assert sins(source)
    assert not sins(
        "import subprocess\ntry:\n  subprocess.run(x, shell=False)\nexcept OSError:\n  pass"
    )


HOT = ["sampan.cli.run", "sampan.cli.ps", "sampan.cli.exec", "sampan.cli.start", "sampan.engine.supervise",
       "sampan.engine.monitor", "sampan_runtime.native", "sampan_storage.overlay",
       "sampan_network.none"]  # fmt: skip
SLOW = {
    "typing", "dataclasses", "click", "pluggy", "pathlib", "hashlib", "urllib3", "rich", "logging", "inspect", "socket",
    "signal", "subprocess", "tempfile", "shutil", "threading", "asyncio", "tomli", "datetime",
    "json", "re", "enum", "functools", "warnings",
}  # fmt: skip


def test_the_hot_path_loads_little() -> None:
    """In an interpreter without site-packages' own start-up files."""
    code = (
        "import sys; before = set(sys.modules);"
        "[__import__(name) for name in sys.argv[1:]];"
        "print(*sorted({m.partition('.')[0] for m in set(sys.modules) - before}))"
    )
    places = [TOP / "core", *(TOP / "plugins").iterdir()]
    environment = {"PYTHONPATH": os.pathsep.join(map(str, places))}
    done = subprocess.run(
        [sys.executable, "-S", "-c", code, *HOT], env=environment, capture_output=True, text=True, check=True
    )  # fmt: skip
    loaded = set(done.stdout.split())
    assert "sampan_runtime" in loaded and loaded & SLOW == set()


def repository_files() -> list[Path]:
    skipped = {".git", "__pycache__", ".venv", "node_modules"}
    found: list[Path] = []
    for base, names, others in os.walk(TOP):
        names[:] = [
            n
            for n in names
            if n not in skipped and not n.endswith((".egg-info", "_cache")) and n[0] != "."
        ]
        found += [Path(base) / name for name in others if not name.endswith((".pyc", ".so"))]
    return found


def test_no_file_holds_a_path_of_a_developers_machine() -> None:
    homes = ["/ho" + "me/", "/Us" + "ers/", "/ro" + "ot/", "/wo" + "rk/", "/op" + "t/", "C:" + "\\"]
    allowed = ("/opt/jdk", "/home/u", "/root/", "/home/d", "}/work/work")
    found: list[str] = []
    for path in repository_files():
        text = path.read_bytes().decode(errors="replace")
        for number, line in enumerate(text.splitlines(), 1):
            cleaned = line
            for word in allowed:
                cleaned = cleaned.replace(word, "")
            found += [
                f"{path.relative_to(TOP)}:{number}: {line.strip()[:80]}"
                for home in homes
                if home in cleaned
            ]
    assert found == []
