"""The verbs on images as a user types them, over real stores and a registry in the process."""

from __future__ import annotations

import json
import os
import select
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from badregistry import BadRegistry
from engine.standin import StandIn
from imagemaker import MadeImage
from sampan.cli import history, image, image_inspect, images, pull, rmi, tag, untag
from sampan.errors import SampanError, UsageError

Run = Callable[..., tuple[int, str, str]]
MODULES = {"images": images, "pull": pull, "rmi": rmi, "tag": tag, "untag": untag,
           "history": history, "image": image}  # fmt: skip


@pytest.fixture
def registry() -> Iterator[BadRegistry]:
    with BadRegistry() as server:
        server.add(MadeImage(config={"config": {"Labels": {"who": "\x1b[31mme"}, "Cmd": ["sh"]}}))
        yield server


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(tmp_path / "none"))
    (tmp_path / "registries.conf").write_text("")
    monkeypatch.setenv("CONTAINERS_REGISTRIES_CONF", str(tmp_path / "registries.conf"))
    (tmp_path / "store").mkdir()
    made: Any = StandIn(tmp_path / "store")
    made.users = {}
    made.containers = SimpleNamespace(
        users_of_image=lambda image_id: made.users.get(image_id, []), all=lambda builds=False: []
    )
    made.storage = SimpleNamespace(name="overlay")
    made.layers.remove = made.layers.gc = lambda keys: None
    for module in (*MODULES.values(), image_inspect):
        monkeypatch.setattr(module, "make_engine", lambda: made, raising=False)
    return made


@pytest.fixture
def run(engine: StandIn, capfd: pytest.CaptureFixture[str]) -> Run:
    def run(verb: str, *words: str) -> tuple[int, str, str]:
        status = MODULES[verb].main(list(words))
        out, err = capfd.readouterr()
        return status, out, err

    return run


@pytest.fixture
def name(run: Run, registry: BadRegistry) -> str:
    """An image that was pulled."""
    assert run("pull", "-q", registry.name())[0] == 0
    return registry.name()


def test_pull(run: Run, registry: BadRegistry, engine: StandIn) -> None:
    status, out, err = run("pull", registry.name())
    made = engine.images.resolve(registry.name())
    assert (status, out) == (0, f"{made.id[7:]}\n")
    assert err.splitlines()[0] == f"Trying to pull {registry.name()}..."
    assert f"Copying blob {made.layers[0].digest}" in err
    assert run("pull", "-q", registry.name()) == (0, f"{made.id[7:]}\n", "")
    assert run("pull", "--tls-verify=false", "--policy=newer", "-q", registry.name())[0] == 0
    with pytest.raises(UsageError, match="names one image"):
        run("pull", "-a", registry.name())
    with pytest.raises(UsageError):
        run("pull", "--platform", "linux/arm64", "--arch", "arm64", "x")
    with pytest.raises(SampanError, match="TLS"):
        run("pull", "--tls-verify", registry.name())
    status, out, err = run("pull", "-q", registry.name(tag="none"), registry.name())
    assert status == 125 and out == f"{made.id[7:]}\n" and "does not exist" in err


def test_images(run: Run, name: str, engine: StandIn) -> None:
    made = engine.images.resolve(name)
    repository = name.rpartition(":")[0]
    head, row = run("images")[1].splitlines()
    assert head.split() == ["REPOSITORY", "TAG", "IMAGE", "ID", "CREATED", "SIZE"]
    assert row.split()[:3] == [repository, "1", made.id[7:19]]
    assert run("images", "-q")[1] == f"{made.id[7:19]}\n"
    assert run("images", "-q", "--no-trunc")[1] == f"{made.id}\n"
    assert run("images", "-n", "--digests")[1].split()[2] == made.digest
    assert run("images", "--format", "{{.Labels.who}}")[1] == "\\u001b[31mme\n"
    assert (
        run("images", "--format", "table {{.Repository}} {{.Tag}} {{.ID}}")[1].splitlines()[1]
        == f"{repository}  1           {made.id[7:19]}"
    )
    (document,) = json.loads(run("images", "--format", "json")[1])
    assert document["Names"] == [name] and document["Id"] == made.id[7:]
    assert document["Created"] == 1714557600 and document["RepoTags"] is None
    with pytest.raises(UsageError, match="not a valid field for sorting"):
        run("images", "--sort", "x")
    with pytest.raises(UsageError, match="cannot specify an image and a filter"):
        run("images", "--filter", "dangling=true", "x")


def test_filters(run: Run, name: str) -> None:
    run("tag", name, "y", "z:2")

    def found(*filters: str) -> list[str]:
        words = [word for text in filters for word in ("--filter", text)]
        return run("images", "--sort=tag", "--format", "{{.Tag}}", *words)[1].split()

    assert found() == ["1", "2", "latest"]
    assert found("reference=y") == ["latest"]
    assert found("reference=localhost/z") == ["2"]
    assert found("reference=*/z*") == ["2"]
    assert found("label=who") == ["1", "2", "latest"]
    assert found("label=who=you") == []
    assert found("label!=who") == []
    assert found("dangling=true") == []
    assert found(f"before={name}") == found(f"since={name}") == []
    assert found("until=2024-01-01T00:00:00Z") == []
    assert run("images", "-n", "z:2")[1].split()[0] == "localhost/z"
    with pytest.raises(UsageError, match="unsupported image filter"):
        found("x=y")


def test_tag_and_untag(run: Run, name: str) -> None:
    run("tag", name, "registry.com/i", "short")
    for exists in ("registry.com/i:latest", "localhost/short:latest"):
        assert run("image", "exists", exists)[0] == 0
        run("untag", name, exists)
        assert run("image", "exists", exists)[0] == 1
    with pytest.raises(SampanError, match=r"^registry.com/foo:bar: tag not known$"):
        run("untag", name, "registry.com/foo:bar")
    image_id = run("images", "-q", "--no-trunc")[1].strip()
    run("untag", image_id)
    assert run("image", "inspect", image_id, "--format", "{{.RepoTags}}")[1] == "[]\n"
    assert run("images", "--history", "-n")[1].split()[:2] == ["<none>", "<none>"]
    assert run("image", "prune", "-f")[1] == f"{image_id[7:]}\n"


def test_rmi(run: Run, name: str, engine: Any) -> None:
    made = engine.images.resolve(name)
    run("tag", name, "y")
    assert run("rmi", "nope") == (1, "", "Error: nope: image not known\n")
    assert run("rmi", "--ignore", "nope") == run("rmi", "-f", "nope") == (0, "", "")
    status, _, err = run("rmi", made.id[7:19])
    assert status == 2 and "more than one tag" in err
    assert run("rmi", "y") == (0, "Untagged: localhost/y:latest\n", "")
    engine.users[made.id] = ["c1"]
    status, _, err = run("rmi", name, "nope")
    assert status == 2
    assert err.splitlines()[0] == "Error: 2 errors occurred:"
    assert "image used by c1: image is in use by a container" in err
    engine.users.clear()
    assert run("rmi", "-a") == (0, f"Untagged: {name}\nDeleted: {made.id[7:]}\n", "")
    assert not list(engine.blobs.digests())
    with pytest.raises(UsageError):
        run("rmi")
    with pytest.raises(UsageError):
        run("rmi", "-a", "x")


def test_a_digest_is_a_name_of_its_own(run: Run, name: str, engine: StandIn) -> None:
    made = engine.images.resolve(name)
    by_digest = f"{name.rpartition(':')[0]}@{made.digest}"
    before = run("images", "-a")
    assert run("pull", "-q", by_digest)[0] == 0
    assert run("images", "-a") == before
    assert run("rmi", by_digest) == (0, f"Untagged: {by_digest}\n", "")
    assert run("images", "-a") == before


def test_inspect_and_history(run: Run, name: str, engine: StandIn) -> None:
    made = engine.images.resolve(name)
    status, out, _ = run("image", "inspect", name)
    (document,) = json.loads(out)
    assert status == 0 and "\x1b" not in out
    assert document["Id"] == made.id[7:]
    assert document["RepoDigests"] == made.repo_digests
    assert document["RootFS"] == {"Type": "layers", "Layers": made.diff_ids}
    assert document["Config"]["Cmd"] == ["sh"]
    assert document["GraphDriver"]["Name"] == "overlay"
    assert document["Source"] == name.partition("/")[0]
    assert run("image", "inspect", "-f", "{{.ID}} {{.Os}}", name)[1] == f"{made.id[7:]} linux\n"
    status, out, err = run("image", "inspect", name, "nope")
    assert status == 125 and len(json.loads(out)) == 1 and "nope: image not known" in err
    out = run("history", "--format", "{{.ID}} {{.CreatedBy}}", name)[1]
    assert out == f"{made.id[7:19]} layer 0\n"
    assert json.loads(run("history", "--format", "json", name)[1])[0]["tags"] == [name]
    with pytest.raises(UsageError, match="missing command"):
        run("image")
    with pytest.raises(UsageError, match="unrecognized"):
        run("image", "nope")


def test_the_terminal_display_has_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    from sampan.cli.progress import Bars

    reader, writer = os.openpty()
    with os.fdopen(writer, "w") as terminal:
        monkeypatch.setattr("sys.stderr", terminal)
        before = set(threading.enumerate())
        with Bars() as bars:
            bars.begin("sha256:" + "a" * 64, 100, "blob")
            assert set(threading.enumerate()) <= before
            bars.update("sha256:" + "a" * 64, 50)
            bars.note("[red]raw\x1b[0m")
            bars.end("sha256:" + "a" * 64, "done")
        terminal.flush()
        data = b""
        while b"done" not in data:  # a pty hands over what has arrived so far
            assert select.select([reader], [], [], 10)[0], data
            data += os.read(reader, 65536)
    os.close(reader)
    text = data.decode()
    assert "Copying blob aaaaaaaaaaaa" in text and "done" in text
    assert "[red]raw\\u001b[0m" in text
