"""Plugins of other people: a storage driver in a wheel of its own, one that breaks, two that claim one name."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from networks import ask, free_port, listens, own_address, serve
from system_tools import BUSYBOX, Sampan, virtual_environment

HERE = Path(__file__).resolve().parent.parent
ALLOWED = {"drivers", "hookspecs", "model", "linux", "files", "errors"}


@pytest.fixture(scope="module")
def venv(tmp_path_factory: pytest.TempPathFactory, program: str) -> Path:
    """A fresh virtual environment that sees the installed sampan, with the third party's wheel."""
    base = tmp_path_factory.mktemp("third")
    virtual_environment(base / "venv", program, sys.executable)
    build = base / "wheel"
    pip = [str(base / "venv/bin/python"), "-m", "pip", "--disable-pip-version-check", "-q"]
    source = base / "source"
    source.mkdir()
    for file in (HERE / "plugins/thirdparty").iterdir():
        if file.is_file():
            (source / file.name).write_bytes(file.read_bytes())
    subprocess.run([*pip, "wheel", "--no-deps", "-w", str(build), str(source)], check=True)
    wheel = next(build.glob("sampan_plain-1.0-*.whl"))
    subprocess.run([*pip, "install", "--no-deps", str(wheel)], check=True)
    return base / "venv"


@pytest.fixture
def third(venv: Path, fresh: Sampan) -> Iterator[Sampan]:
    ours = fresh.program
    fresh.program = str(venv / "bin/sampan")
    yield fresh
    fresh("rm", "-af", "-t", "0")
    fresh("rmi", "-af")
    fresh.program = ours


@pytest.mark.parametrize(
    "module", ["sampan_plain", "sampan_kept", "sampan_moored", "sampan_recipe", "sampan_relay"]
)
def test_it_imports_only_the_contract(module: str) -> None:
    import ast

    tree = ast.parse((HERE / f"plugins/thirdparty/{module}.py").read_text())
    modules = {
        node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("sampan")
    }
    names = {module.split(".")[1] for module in modules if "." in module}
    assert names <= ALLOWED, names


def test_a_container_runs_on_it(third: Sampan) -> None:
    third.environment["SAMPAN_STORAGE_DRIVER"] = "plain"
    assert (
        third.text(
            "run", "--rm", BUSYBOX, "sh", "-c", "echo changed > /etc/passwd; cat /etc/passwd"
        )
        == "changed"
    )
    assert "root:x:0" in third.text("run", "--rm", BUSYBOX, "cat", "/etc/passwd")
    assert third.text("info", "--format", "{{.Store.GraphDriverName}}") == "plain"
    container = third.text("run", "-d", BUSYBOX, "sleep", "100")
    driver = json.loads(third.text("inspect", container))[0]["GraphDriver"]["Name"]
    assert driver == "plain"
    third.environment["SAMPAN_STORAGE_DRIVER"] = "overlay"
    assert third("rm", "-f", container).returncode == 0, "each container keeps its own driver"


def test_a_volume_of_its_driver(third: Sampan) -> None:
    assert "kept" in third.text("plugin", "ls")
    script = "cat /v/greeting; echo more > /v/more"
    mount = "type=volume,src=v,dst=/v,volume-driver=kept,volume-opt=greeting=hello"
    assert third.text("run", "--rm", "--mount", mount, BUSYBOX, "sh", "-c", script) == "hello"
    assert third.text("run", "--rm", "-v", "v:/v:ro", BUSYBOX, "cat", "/v/more") == "more"
    shown = json.loads(third.text("volume", "inspect", "v"))[0]
    assert (shown["Driver"], shown["Mountpoint"]) == ("kept", str(third.root / "volumes/v/files"))
    assert third("volume", "create", "-d", "kept", "-o", "bogus=1", "w").returncode == 125
    rows = json.loads(third.text("system", "df", "--format", "json"))
    assert {row["RawSize"] for row in rows if row["Type"] == "Local Volumes"} == {42}
    copy = third("volume", "export", "v").stdout
    third.text("run", "--rm", "--volume-driver", "kept", "-v", "/anonymous", BUSYBOX, "true")
    assert os.listdir(third.root / "kept") == ["v"]
    third.text("volume", "rm", "v")
    assert os.listdir(third.root / "kept") == [], "the driver gave back what it had elsewhere"
    third.text("volume", "create", "-d", "kept", "w")
    third.text("volume", "import", "w", "-", input=copy)
    assert (
        third.text("run", "--rm", "-v", "w:/w", BUSYBOX, "cat", "/w/greeting", "/w/more")
        == "hellomore"
    )


def test_a_registry_of_its_server(third: Sampan) -> None:
    digest = f"sha256:{hashlib.sha256(b'{}').hexdigest()}"
    words = ["registry", "serve", "--driver", "moored", "--listen", "here:1", "--htpasswd", digest]
    assert third.text(*words) == "listening on here:1 with ['moored/it']"
    rows = json.loads(third.text("registry", "ls", "--format", "json"))
    assert [(row["Repository"], row["Tag"]) for row in rows] == [("moored/it", "x")]


def test_an_image_of_its_builder(third: Sampan, tmp_path: Path) -> None:
    """A builder of somebody else's has all that the Dockerfile's has: cache, progress, outputs, checks."""
    recipe = tmp_path / "recipe"
    recipe.write_text("write first one\nprint hello\nwrite second two\n")
    words = ["build", "--builder", "recipe", str(tmp_path)]
    made = third(*words, "-t", "cooked", "--label", "a=b")
    assert made.returncode == 0 and b"#2 0.000 hello\n" in made.stderr.replace(
        b"0.001", b"0.000"
    ), made.stderr
    assert b"CACHED" not in made.stderr
    again = third(*words, "-q", "--label", "a=b", "--progress", "plain")
    assert again.stdout.decode().strip() == f"sha256:{made.stdout.decode().splitlines()[-1]}"
    told = third(*words).stderr
    assert told.count(b"CACHED") == 2 and third(*words, "--no-cache").stderr.count(b"CACHED") == 0
    assert third.text("inspect", "--format", "{{.Config.Labels.a}}", "cooked") == "b"
    third.text(*words, "-o", str(tmp_path / "out"))
    second = tmp_path / "out/second"
    assert second.read_text() == "two" and second.stat().st_mode & 0o7777 == 0o755
    kinds = [
        row["Description"] for row in json.loads(third.text("builder", "du", "--format", "json"))
    ]
    assert sorted(kinds) == ["write first one", "write second two"]
    recipe.write_text("bake bread\n")
    assert third(*words, "--check").stdout.decode() == (
        "Check complete, 1 warning has been found!\n\nWARNING: UnknownStep - https://example.org/step\n"
        "'bake bread' is no step\nrecipe:1\n--------------------\n   1 | >>> bake bread\n--------------------\n"
    )
    recipe.write_text("fail 9\n")
    failed = third(*words)
    assert failed.returncode == 9 and failed.stderr.endswith(
        b"Error: the recipe failed: exit code: 9\n"
    )


def test_it_is_listed_and_not_chosen(third: Sampan) -> None:
    listed = json.loads(third.text("plugin", "ls", "--format", "json"))
    rows = {row["Name"]: row for row in listed if row["Concern"] == "storage"}
    assert rows["plain"]["Distribution"] == "sampan-plain 1.0" and rows["plain"]["Usable"] == "yes"
    assert rows["overlay"]["Chosen"] == "*" and rows["plain"]["Chosen"] == ""


def test_its_configuration_is_its_own(third: Sampan, tmp_path: Path) -> None:
    (tmp_path / "sampan").mkdir()
    file = tmp_path / "sampan/sampan.toml"
    third.environment |= {"XDG_CONFIG_HOME": str(tmp_path), "SAMPAN_STORAGE_DRIVER": "plain"}
    file.write_text("[storage.plain]\nreflink = true\n")
    assert third.text("run", "--rm", BUSYBOX, "echo", "ok") == "ok"
    file.write_text("[storage.plain]\nreflinks = true\n")
    result = third("run", "--rm", BUSYBOX, "true")
    assert result.returncode == 125
    assert b"reflinks" in result.stderr and str(file).encode() in result.stderr
    file.write_text('[storage.plain]\nreflink = "yes"\n')
    assert b"must be" in third("run", "--rm", BUSYBOX, "true").stderr


def test_a_network_backend_works_through_the_hook_alone(third: Sampan) -> None:
    port = free_port()
    serve(third, "--network", "relay", "-p", f"{port}:80")
    assert ask("127.0.0.1", port) == "127.0.0.1" and ask(own_address(), port) == "127.0.0.1"
    found = json.loads(third.text("inspect", "c"))[0]["NetworkSettings"]
    assert found["ClientAddress"] == "proxied" and set(found["Networks"]) == {"relay"}
    third.text("rm", "-f", "-t", "0", "c")
    assert not listens(port)


def test_networks_of_such_a_backend(third: Sampan) -> None:
    assert third.text("network", "create", "-d", "relay", "-o", "speed=slow", "line") == "line"
    result = third("network", "create", "-d", "relay", "--subnet", "10.5.0.0/24", "other")
    assert result.returncode == 125 and b"a relay has no addresses" in result.stderr
    assert third("network", "exists", "other").returncode == 1
    port = free_port()
    serve(third, "--network", "line", "-p", f"{port}:80")
    assert ask("127.0.0.1", port) == "127.0.0.1"
    third.text("network", "create", "-d", "relay", "second")
    third.text("network", "connect", "second", "c")
    row = json.loads(third.text("network", "inspect", "second"))[0]
    assert row["Driver"] == "relay" and len(row["Containers"]) == 1
    result = third("network", "connect", "bridge", "c")
    assert result.returncode == 125 and b"was not made on a bridge network" in result.stderr
    third.text("rm", "-f", "-t", "0", "c")
    third.text("network", "rm", "line", "second")


def _distribution(site: Path, name: str, group: str, entry: str, body: str) -> None:
    module = name.replace("-", "_")
    (site / f"{module}.py").write_text(textwrap.dedent(body))
    info = site / f"{module}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{group}]\n{entry}\n")


@pytest.fixture
def extra(third: Sampan, tmp_path: Path) -> Path:
    """A directory of distributions of the test's own."""
    site = tmp_path / "site"
    site.mkdir()
    third.environment["PYTHONPATH"] = str(site)
    return site


def test_a_broken_plugin_breaks_only_itself(third: Sampan, extra: Path) -> None:
    _distribution(
        extra,
        "sampan-wreck",
        "sampan.network",
        "wreck = sampan_wreck",
        "raise RuntimeError('sunk')",
    )
    assert third.text("run", "--rm", BUSYBOX, "echo", "afloat") == "afloat"
    listed = {r["Name"]: r for r in json.loads(third.text("plugin", "ls", "--format", "json"))}
    assert listed["wreck"]["Usable"] == "no" and "sunk" in listed["wreck"]["Why"]
    result = third("run", "--rm", "--network", "wreck", BUSYBOX, "true")
    assert (
        result.returncode == 125
        and b"sampan-wreck 1.0" in result.stderr
        and b"sunk" in result.stderr
    )


def test_two_plugins_of_one_name(third: Sampan, extra: Path) -> None:
    for name in ("sampan-left", "sampan-right"):
        _distribution(extra, name, "sampan.network", f"strait = {name.replace('-', '_')}", "")
    result = third("run", "--rm", "--network", "strait", BUSYBOX, "true")
    assert result.returncode == 125
    assert b"sampan-left 1.0" in result.stderr and b"sampan-right 1.0" in result.stderr
    assert third.text("run", "--rm", BUSYBOX, "echo", "afloat") == "afloat"


def test_an_extension_amends_the_document_and_wraps_hooks(third: Sampan, extra: Path) -> None:
    body = """
        from sampan.hookspecs import hookimpl

        @hookimpl
        def sampan_spec(spec, container):
            spec["process"]["env"].append("FROM_EXTENSION=" + container["name"])

        @hookimpl(wrapper=True)
        def sampan_runtime(context):
            runtime = yield
            assert runtime.name == "native"
            return runtime
    """
    _distribution(extra, "sampan-ext", "sampan.extension", "ext = sampan_ext", body)
    text = third.text(
        "run", "--rm", "--name", "wrapped", BUSYBOX, "sh", "-c", "echo $FROM_EXTENSION"
    )
    assert text == "wrapped"


def test_a_command_of_a_plugin(third: Sampan, extra: Path) -> None:
    body = """
        import click

        @click.command()
        @click.argument("word")
        def command(word):
            click.echo(f"hello {word}")
    """
    _distribution(extra, "sampan-hello", "sampan.commands", "hello = sampan_hello:command", body)
    assert third.text("hello", "sailor") == "hello sailor"
    assert third("hello").returncode == 125
    assert os.environ.get("PYTHONPATH") is None
