"""The words of the flags made into values."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from optionmaker import chosen
from sampan.cli.parse import FLAG
from sampan.cli.run import VERB
from sampan.errors import SampanError, UnsupportedError, UsageError
from sampan.model import options, sizes


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0), ("100", 100), ("1b", 1), ("64m", 64 << 20), ("64MB", 64 << 20), ("64MiB", 64 << 20),
        ("1.5g", 3 << 29), (" 2k ", 2048), ("1T", 1 << 40), (".5k", 512),
    ],
)  # fmt: skip
def test_sizes(text: str, value: int) -> None:
    assert sizes.size(text, "size") == value


@pytest.mark.parametrize(
    "text", ["", "m", "-1", "1x", "1 2", "b", "1.2.3", "nan", "1.0e999", "inf", "0x10", "²"]
)
def test_bad_sizes(text: str) -> None:
    with pytest.raises(UsageError, match="invalid size"):
        sizes.size(text, "size")


@pytest.mark.parametrize(
    ("text", "number"),
    [("15", 15), ("TERM", 15), ("sigterm", 15), ("KILL", 9), ("SIGRTMIN", 34), ("SIGRTMIN+3", 37),
     ("RTMAX", 64), ("RTMAX-1", 63), ("64", 64), ("SYS", 31)],
)  # fmt: skip
def test_signals(text: str, number: int) -> None:
    assert options.signal_number(text) == number


@pytest.mark.parametrize(
    "text", ["", "0", "65", "NONSENSE", "RTMIN-1", "RTMAX+1", "RTMIN+31", "RTMIN+", "²", "RTMIN+²"]
)  # fmt: skip
def test_bad_signals(text: str) -> None:
    with pytest.raises(UsageError, match=r"invalid signal|valid signals are"):
        options.signal_number(text)


def test_signal_names_are_the_kernels() -> None:
    import signal

    for number, name in enumerate(options.SIGNALS, 1):
        assert getattr(signal, f"SIG{name}") == number


def test_an_env_file(tmp_path: Path) -> None:
    path = tmp_path / "env"
    path.write_bytes(
        b"# comment\n\n  # another\nA=1\n  B= two words \nC\nGONE\nD=a=b\nE=caf\xe9\nF=a\x0bb\x0cc\x1cd\xc2\x85e\n"
        b"G=\xe2\x80\xa8x\r\nP_*\n"
    )
    host = {"C": "host", "P_1": "x", "P_2": "y", "Q": "no"}
    found = options.environment(["A=2", "C", "ABSENT"], [str(path)], host)
    assert {name: os.fsencode(value) for name, value in found.items()} == {
        "A": b"2", "B": b" two words ", "C": b"host", "D": b"a=b", "E": b"caf\xe9",
        "F": b"a\x0bb\x0cc\x1cd\xc2\x85e", "G": b"\xe2\x80\xa8x", "P_1": b"x", "P_2": b"y",
    }  # fmt: skip


@pytest.mark.parametrize("content", [b"=x", b"A B=1", b"A=\0", b"N\0=1"])
def test_bad_env_files(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "env"
    path.write_bytes(content)
    with pytest.raises(UsageError, match="invalid environment variable"):
        options.environment([], [str(path)], {})
    with pytest.raises(SampanError, match="cannot read"):
        options.environment([], [str(tmp_path / "absent")], {})


def test_a_variable_too_long_for_the_kernel() -> None:
    fits = "x" * (options.ENVIRONMENT_LIMIT - len("A=") - 1)
    assert options.environment([f"A={fits}"], [], {})["A"] == fits
    os.spawnve(os.P_WAIT, "/bin/true", ["true"], {"A": fits})
    with pytest.raises(UsageError, match="environment variable A is too long"):
        options.environment([f"A={fits}x"], [], {})
    with pytest.raises(UsageError, match="kernel takes"):
        options.environment(["A"], [], {"A": fits + "x"})


@pytest.mark.parametrize(
    ("word", "row"),
    [
        ("nofile=10", ("RLIMIT_NOFILE", 10, 10)),
        ("nofile=10:20", ("RLIMIT_NOFILE", 10, 20)),
        ("rlimit_core=0:-1", ("RLIMIT_CORE", 0, 2**64 - 1)),
        ("NPROC=-1", ("RLIMIT_NPROC", 2**64 - 1, 2**64 - 1)),
    ],
)
def test_ulimits(word: str, row: tuple[str, int, int]) -> None:
    assert [tuple(limit.values()) for limit in options.ulimits([word])] == [row]


@pytest.mark.parametrize(
    "word", ["nofile", "nofile=", "x=1", "nofile=2:1", "nofile=-2", "nofile=-1:5"]
)
def test_bad_ulimits(word: str) -> None:
    with pytest.raises(UsageError, match="invalid ulimit"):
        options.ulimits([word])


def test_sysctls() -> None:
    given_words = ["net.core.somaxconn=5", "kernel.shmmax=1", "fs.mqueue.msg_max=9"]
    assert len(options.sysctls(given_words, private_network=True)) == 3
    for word in ("kernel.core_pattern=|/evil", "vm.swappiness=1", "kernel.shm/../core_pattern=x", "net..x=1",
                 "net./../x=1", "net.x", "=1", "net.core.somaxconn=1\nkernel.x=2", "net.a b=1"):  # fmt: skip
        with pytest.raises(UsageError, match="sysctl"):
            options.sysctls([word], private_network=True)
    with pytest.raises(UsageError, match="has the host's network"):
        options.sysctls(["net.core.somaxconn=5"], private_network=False)


def test_labels_and_hosts(tmp_path: Path) -> None:
    path = tmp_path / "labels"
    path.write_text("# no\na=1\nb\n\nc=x=y\n")
    assert options.labels(["a=2", "d"], [str(path)]) == {"a": "2", "b": "", "c": "x=y", "d": ""}
    assert options.extra_hosts(["h:1.2.3.4", "i:[::1]"]) == [("1.2.3.4", "h"), ("::1", "i")]
    for word in ("h", ":1", "h:", "h:1 2", "h:1\n6.6.6.6 evil"):
        with pytest.raises(UsageError, match="invalid host"):
            options.extra_hosts([word])


def arguments(maximum: int = 24) -> st.SearchStrategy[str]:
    """Any word that the kernel can hand over."""
    raw = st.binary(max_size=maximum).map(lambda data: os.fsdecode(data.replace(b"\0", b"")))
    text = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=maximum)
    return st.one_of(raw, text)


FRAGMENTS = st.lists(
    st.one_of(
        arguments(6),
        st.sampled_from(
            [":", "=", ",", "/", "..", "-1", "9" * 20, "type=bind", "type=tmpfs", "target=", "/b", "ro", "nofile",
             "net.", "size=", "RTMIN+", "seccomp", "unmask", "mask", "k", "²", "1.0e999", "[", '"', "{}", "null"]
        ),
    ),
    max_size=6,
).map("".join)  # fmt: skip
NAMES = [o.names[0] for o in VERB.options if o.names[0] not in ("--help", "--init-path")]


@settings(max_examples=600, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.sampled_from(NAMES), FRAGMENTS), max_size=3))
@example([("--shm-size", "1.0e999")])
@example([("--stop-signal", "²")])
@example([("--env-file", "/proc/self/environ")])
@example([("--umask", "²")])
def test_any_words_are_values_or_an_error(rows: list[tuple[str, str]]) -> None:
    try:
        made: dict[str, Any] = dict(chosen(*(f"{name}={value}" for name, value in rows)))
        options.signal_number(made["stop_signal"] or "TERM")
    except SampanError:
        return
    assert made["shm_size"] >= 0 and made["log_driver"] in ("k8s-file", "json-file", "none")


@given(st.lists(FRAGMENTS, max_size=5))
def test_any_command_line_is_read_or_refused(words: list[str]) -> None:
    try:
        chosen(*[word for word in words if word not in ("--help",)])
    except SampanError:
        return


def test_flags_that_are_not_there_yet() -> None:
    for word in (
        "--device-cgroup-rule=c 1:3 r",
        "--subuidname=me",
    ):
        with pytest.raises(UnsupportedError, match="is not supported"):
            chosen(word)
    assert all(o.default is False or o.default is True for o in VERB.options if o.kind == FLAG)
