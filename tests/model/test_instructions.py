"""--change: instructions of a Dockerfile on an image's configuration."""

from __future__ import annotations

from typing import Any

import pytest

from sampan.errors import UsageError
from sampan.model.instructions import apply


def applied(*instructions: str, **base: Any) -> dict[str, Any]:
    config: dict[str, Any] = dict(base)
    apply(config, instructions)
    return config


@pytest.mark.parametrize(
    ("instruction", "wanted"),
    [
        ('CMD ["a", "b c"]', {"Cmd": ["a", "b c"]}),
        ("CMD a b", {"Cmd": ["/bin/sh", "-c", "a b"]}),
        ("cmd=a", {"Cmd": ["/bin/sh", "-c", "a"]}),
        ("CMD [not json", {"Cmd": ["/bin/sh", "-c", "[not json"]}),
        ('ENTRYPOINT ["/x"]', {"Entrypoint": ["/x"]}),
        ("ENV A=b", {"Env": ["A=b"]}),
        ("ENV A b c", {"Env": ["A=b c"]}),
        ('ENV A="b c" D=e', {"Env": ["A=b c", "D=e"]}),
        ("EXPOSE 80 53/udp 8000-8001", {"ExposedPorts": {"80/tcp": {}, "53/udp": {}, "8000/tcp": {}, "8001/tcp": {}}}),
        ("LABEL a=b c=d", {"Labels": {"a": "b", "c": "d"}}),
        ("ONBUILD RUN x", {"OnBuild": ["RUN x"]}),
        ("STOPSIGNAL SIGINT", {"StopSignal": "SIGINT"}),
        ("USER 1:2", {"User": "1:2"}),
        ('VOLUME ["/a", "/b"]', {"Volumes": {"/a": {}, "/b": {}}}),
        ("VOLUME /a /b", {"Volumes": {"/a": {}, "/b": {}}}),
        ("WORKDIR /x", {"WorkingDir": "/x"}),
    ],
)  # fmt: skip
def test_one(instruction: str, wanted: dict[str, Any]) -> None:
    assert applied(instruction) == wanted


def test_they_add_to_what_is_there() -> None:
    found = applied(
        "ENV A=2", "LABEL b=2", "WORKDIR y", Env=["A=1", "B=1"], Labels={"a": "1"}, WorkingDir="/x"
    )
    assert found == {"Env": ["B=1", "A=2"], "Labels": {"a": "1", "b": "2"}, "WorkingDir": "/x/y"}  # fmt: skip


@pytest.mark.parametrize(
    "bad",
    ["FOO bar", "CMD", "", "ENV", "ENV A", "EXPOSE x", "EXPOSE 0", "EXPOSE 1/foo", "EXPOSE 99999999999999999999",
     "STOPSIGNAL NONE", 'ENV A="b', "VOLUME ", "ONBUILD ", "LABEL =x"],
)  # fmt: skip
def test_what_is_none_is_told(bad: str) -> None:
    with pytest.raises(UsageError):
        applied(bad)
