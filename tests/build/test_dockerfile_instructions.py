"""Instructions as values: what each says, its defaults, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sampan_build.dockerfile import mounts, ports
from sampan_build.dockerfile import values as v
from sampan_build.dockerfile.arguments import ArgumentError
from sampan_build.dockerfile.instructions import READERS, read_all
from sampan_build.dockerfile.mounts import Mount
from sampan_build.dockerfile.parser import parse
from sampan_build.dockerfile.source import DockerfileError
from sampan_build.dockerfile.times import duration, interval
from sampan_build.dockerfile.words import Expander, WordError

VARIABLES = {"A": "a", "TWO": "b c", "EMPTY": "", "PORT": "80 81/udp", "MODE": "0644"}


def read(text: str) -> Any:
    """The last instruction of a text."""
    return read_all(parse(text.encode()))[-1]


def expanded(text: str) -> Any:
    return read(text).expanded(Expander("\\", VARIABLES))


def refused(text: str) -> str:
    with pytest.raises(DockerfileError) as caught:
        read_all(parse(text.encode()))
    assert "^" in caught.value.report()
    return str(caught.value)


def fields(value: Any) -> dict[str, Any]:
    return {name: found for name, found in vars(value).items() if name != "node"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("FROM a", {"base": "a", "name": "", "platform": ""}),
        ("from --platform=$P a:1 As Bc-1_.d", {"base": "a:1", "name": "bc-1_.d", "platform": "$P"}),
        ("ENV a=b c", None),
        ("WORKDIR /a b", {"path": "/a b"}),
        ("USER a:b", {"user": "a:b"}),
        ("MAINTAINER x", {"name": "x"}),
        ("STOPSIGNAL 9", {"signal": "9"}),
        ('SHELL ["a", "b"]', {"words": ("a", "b")}),
        ('VOLUME ["/a", " /b "]', {"paths": ("/a", "/b")}),
        ("VOLUME /a /b", {"paths": ("/a", "/b")}),
        ("EXPOSE 90 80/udp", {"words": ("80/udp", "90"), "ports": ()}),
        (
            'ARG a b=c d= e="f g"',
            {"arguments": (("a", None), ("b", "c"), ("d", ""), ("e", '"f g"'))},
        ),
        ("ENV a b c", {"pairs": (v.Pair("a", "b c", True),)}),
        ("LABEL a=b c=d", {"pairs": (v.Pair("a", "b"), v.Pair("c", "d"))}),
        ("CMD a b", {"command": v.Command(("a b",), True)}),
        ('CMD ["a", "b"]', {"command": v.Command(("a", "b"), False)}),
        ("ENTRYPOINT []", {"command": v.Command((), False)}),
    ],
)
def test_an_instruction(text: str, expected: dict[str, Any] | None) -> None:
    if expected is None:
        assert "can't find = in" in refused(text)
    else:
        assert fields(read(text)) == expected


def test_run() -> None:
    plain = {
        "mount_words": (),
        "origins": (),
        "network": "default",
        "security": "sandbox",
        "mounts": (),
    }
    assert fields(read("RUN a b")) == {"command": v.Command(("a b",), True), **plain}
    assert fields(read('RUN ["a"]')) == {"command": v.Command(("a",), False), **plain}
    assert read("RUN").command == v.Command((), True)
    from_two = "--mount=from=x,target=/a --mount=from=y,target=/b --mount=type=tmpfs,dst=/c"
    found = read(f"RUN --network=none --security=insecure {from_two} a")
    assert (found.network, found.security, found.origins) == ("none", "insecure", ("x", "y"))
    assert len(found.mount_words) == 3
    doc = read("RUN cat <<E <<-'F'\na\nE\n\tb\n\tF\n").command
    assert (doc.words, doc.is_shell) == (("cat <<E <<-'F'",), True)
    assert [(one.name, one.text()) for one in doc.heredocs] == [("E", "a\n"), ("F", "b\n")]


def test_copy_and_add() -> None:
    text = "COPY --from=x --chown=1:2 --chmod=755 --link --parents --exclude=*.o --exclude=b a b /c"
    found = fields(read(text))
    assert found == {
        "sources": ("a", "b"),
        "destination": "/c",
        "contents": (),
        "chown": "1:2",
        "chmod": "755",
        "link": True,
        "exclude": ("*.o", "b"),
        "origin": "x",
        "parents": True,
    }
    found = fields(
        read("ADD --checksum=sha256:1 --keep-git-dir=false --unpack --link=FALSE https://x /c")
    )
    assert found == {
        "sources": ("https://x",),
        "destination": "/c",
        "contents": (),
        "chown": "",
        "chmod": "",
        "link": False,
        "exclude": (),
        "checksum": "sha256:1",
        "keep_git_dir": False,
        "unpack": True,
    }
    assert read("ADD a b").keep_git_dir is None


def test_copy_of_heredocs() -> None:
    found = read("COPY <<A x <<-'B' /d/\n$A\nA\n\t$A\nB\n")
    assert found.sources == ("x",)
    assert [(doc.name, doc.expand, doc.text()) for doc in found.contents] == [
        ("A", True, "$A\n"),
        ("B", False, "$A\n"),
    ]
    assert [
        doc.text() for doc in expanded("COPY <<A <<-'B' /d/\n'$A' \\$A\nA\n\t$A\nB\n").contents
    ] == [
        "'a' $A\n",
        "$A\n",
    ]
    assert read('COPY ["<<A", "/d"]').sources == ("<<A",)


def test_healthcheck() -> None:
    nothing = dict.fromkeys(("interval", "timeout", "start_period", "start_interval", "retries"), 0)
    assert fields(read("HEALTHCHECK none")) == {"test": ("NONE",), **nothing}
    assert fields(read("HEALTHCHECK CMD a  b")) == {"test": ("CMD-SHELL", "a  b"), **nothing}
    found = read(
        'HEALTHCHECK --interval=1m30s --timeout=1.5s --start-period=0s --start-interval=2h --retries=3 cmd ["a"]'
    )
    assert fields(found) == {
        "test": ("CMD", "a"),
        "interval": 90 * 10**9,
        "timeout": 1500 * 10**6,
        "start_period": 0,
        "start_interval": 7200 * 10**9,
        "retries": 3,
    }


def test_onbuild() -> None:
    found = read("ONBUILD  COPY --from=x a \\\n b")
    assert found.expression == "COPY --from=x a  b"
    assert (found.trigger.origin, found.trigger.sources) == ("x", ("a",))
    found = read("onbuild RUN <<E\na\nE\n")
    assert found.expression == "RUN <<E\na\nE"
    assert found.trigger.command.heredocs[0].content == "a\n"
    again = read(found.expression)
    assert again == found.trigger


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("RUNN a", "unknown instruction: RUNN; did you mean RUN?"),
        ("form a", "unknown instruction: form; did you mean FROM?"),
        ("FROM a AS", "FROM requires either one or three arguments; write FROM IMAGE [AS NAME]"),
        (
            "FROM a # b",
            "FROM requires either one or three arguments; a comment takes a line of its own",
        ),
        ("FROM", "FROM requires either one or three arguments; write FROM IMAGE [AS NAME]"),
        (
            "FROM a AS 1b",
            'invalid name for build stage: "1b", name can\'t start with a number or contain symbols',
        ),
        ("FROM --plattform=x a", "unknown flag: --plattform; did you mean --platform?"),
        ("FROM --platform a", "missing a value on flag: --platform; write --platform=VALUE"),
        ("COPY --from=a --from=b c d", "duplicate flag specified: --from; give it once"),
        (
            "COPY --link=x a b",
            "expecting boolean value for flag --link, not: x; true or false is wanted",
        ),
        ("COPY --link= a b", "missing a value on flag: --link; true or false is wanted"),
        (
            "COPY --user=x a b",
            "unknown flag: --user; known are chmod, chown, exclude, from, link, parents",
        ),
        ("RUN --device=x a", "unknown flag: --device; known are mount, network, security"),
        ("ENV --x a=b", "unknown flag: --x; it takes no flags"),
        ("ARG --x a=b", "unknown flag: --x; it takes no flags"),
        (
            "COPY a",
            "COPY requires at least two arguments, but only one was provided. Destination could not be determined",
        ),
        (
            "ADD",
            "ADD requires at least two arguments, but only one was provided. Destination could not be determined",
        ),
        ("COPY a <<E\nE", "COPY cannot accept a heredoc as a destination; name a path after it"),
        ("RUN --network=x a", 'invalid network mode "x"; known are default, host, none'),
        ("RUN --security=none a", 'security "none" is not valid; known are insecure, sandbox'),
        ("RUN []", 'RUN requires at least one argument; write RUN ["PROGRAM", "ARGUMENT"...]'),
        (
            "RUN --mount=from=$X,target=/a b",
            "'from' doesn't support variable expansion, define alias stage instead",
        ),
        ("ENV", "ENV requires at least one argument"),
        ("ENV =a", "ENV names can not be blank; write NAME=VALUE"),
        ("LABEL =a", "LABEL names can not be blank; write NAME=VALUE"),
        ("ARG", "ARG requires at least one argument"),
        ("ARG =a", "ARG names can not be blank; write NAME[=DEFAULT]"),
        ("USER", "USER requires exactly one argument"),
        ("WORKDIR", "WORKDIR requires exactly one argument"),
        ("STOPSIGNAL", "STOPSIGNAL requires exactly one argument"),
        ("MAINTAINER", "MAINTAINER requires exactly one argument"),
        ("EXPOSE", "EXPOSE requires at least one argument"),
        ("VOLUME []", "VOLUME requires at least one argument"),
        ('VOLUME [" "]', "VOLUME specified can not be an empty string; name a path"),
        ("SHELL []", "SHELL requires at least one argument"),
        (
            "SHELL sh -c",
            'SHELL requires the arguments to be in JSON form; such as ["/bin/sh", "-c"]',
        ),
        ("HEALTHCHECK", "HEALTHCHECK requires at least one argument"),
        ("HEALTHCHECK NONE x", "HEALTHCHECK NONE takes no arguments"),
        ("HEALTHCHECK CMD", "Missing command after HEALTHCHECK CMD; write HEALTHCHECK CMD COMMAND"),
        ("HEALTHCHECK x", 'Unknown type "X" in HEALTHCHECK (try CMD); CMD or NONE'),
        (
            "HEALTHCHECK --interval=5 CMD x",
            'time: missing unit in duration "5"; such as 30s, 1m30s or 500ms',
        ),
        (
            "HEALTHCHECK --timeout=1us CMD x",
            'Interval "timeout" cannot be less than 1ms; 0 is the default',
        ),
        ("HEALTHCHECK --retries=-1 CMD x", "--retries cannot be negative (-1)"),
        ("HEALTHCHECK --retries=x CMD x", "--retries is no number: x"),
        ("ONBUILD", "ONBUILD requires at least one argument; write ONBUILD INSTRUCTION"),
        (
            "ONBUILD ONBUILD RUN a",
            "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed; write it once",
        ),
        ("ONBUILD FROM a", "FROM isn't allowed as an ONBUILD trigger"),
        ("ONBUILD maintainer a", "MAINTAINER isn't allowed as an ONBUILD trigger"),
        ("ONBUILD COPYY a b", "unknown instruction: COPYY; did you mean COPY?"),
    ],
)
def test_what_is_refused(text: str, says: str) -> None:
    assert refused(f"FROM x\n{text}").removeprefix("Dockerfile:2: ").startswith(says)


def test_every_instruction_has_a_test() -> None:
    known = {
        "ADD",
        "ARG",
        "CMD",
        "COPY",
        "ENTRYPOINT",
        "ENV",
        "EXPOSE",
        "FROM",
        "HEALTHCHECK",
        "LABEL",
        "MAINTAINER",
        "ONBUILD",
        "RUN",
        "SHELL",
        "STOPSIGNAL",
        "USER",
        "VOLUME",
        "WORKDIR",
    }
    assert set(READERS) == known


def test_where_variables_are_expanded() -> None:
    assert expanded("ENV $A=$TWO").pairs == (v.Pair("a", "b c"),)
    assert expanded("LABEL x='$A' y=\"$A\"").pairs == (v.Pair("x", "$A"), v.Pair("y", "a"))
    assert expanded("WORKDIR /$TWO").path == "/b c"
    assert expanded("USER $A:$A").user == "a:a"
    assert expanded("VOLUME /$TWO").paths == ("/b c",)
    assert expanded("STOPSIGNAL SIG${X:-KILL}").signal == "SIGKILL"
    found = expanded("COPY --chown=$A --chmod=$MODE --from=x --exclude=$A $TWO /$A")
    assert (found.chown, found.chmod, found.sources, found.destination) == (
        "a",
        "0644",
        ("b c",),
        "/a",
    )
    assert found.exclude == ("$A",)
    assert expanded("ADD --checksum=sha256:$A b c").checksum == "sha256:a"
    assert expanded("CMD $A").command.words == ("$A",)
    assert expanded("RUN $A").command.words == ("$A",)
    ports_found = [name for one in expanded("EXPOSE $PORT 90-92/TCP").ports for name in one.names()]
    assert ports_found == ["80/tcp", "81/udp", "90/tcp", "91/tcp", "92/tcp"]
    expander = Expander("\\", VARIABLES)
    read("ENV a=$NO b=${NOT:-$NEVER}").expanded(expander)
    assert expander.unmatched == {"NO", "NOT", "NEVER"}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "COPY --chmod=8 a b",
            "invalid chmod parameter: '8'. it should be octal string and between 0 and 07777",
        ),
        ("COPY --chmod=10000 a b", "invalid chmod parameter"),
        ("ADD --chmod=u=z a b", "invalid chmod parameter"),
        ("ADD --checksum=sha256:a b c d", "checksum can't be specified for multiple sources"),
        ("STOPSIGNAL NONE", "NONE"),
        ("VOLUME $EMPTY", "VOLUME specified can not be an empty string"),
        ("LABEL $EMPTY=a", "a name is empty"),
        ("EXPOSE a", "invalid containerPort: a"),
        ("EXPOSE 70000", "invalid containerPort: 70000"),
    ],
)
def test_what_is_refused_once_variables_are_known(text: str, says: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        expanded(text)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    "mode", ["", "0", "755", "7777", "u=rwX,go=rX", "a+x", "g-w", "=", "u=g", "+t"]
)
def test_modes(mode: str) -> None:
    v.check_mode(mode)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("target=/a", Mount(target="/a")),
        (
            "type=bind,from=x,src=/s,dst=/a,rw",
            Mount(origin="x", source="/s", target="/a", readonly=False),
        ),
        ("type=bind,destination=/a,readonly=false", Mount(target="/a", readonly=False)),
        ("type=bind,target=/a,readwrite=false", Mount(target="/a")),
        ("TYPE=Cache,target=/a//b", Mount("cache", target="/a//b", readonly=False, id="/a/b")),
        (
            "type=cache,target=/a,id=$A,sharing=LOCKED,mode=0700,uid=1,gid=2,from=x,source=y,ro",
            Mount("cache", "x", "y", "/a", True, "a", "locked", mode=0o700, uid=1, gid=2),
        ),
        (
            "type=tmpfs,target=/a,size=1.5m",
            Mount("tmpfs", target="/a", readonly=False, size=1572864),
        ),
        ("type=secret,id=s", Mount("secret", id="s", target="/run/secrets/s")),
        (
            "type=secret,src=a/s,required,mode=0400",
            Mount("secret", id="a/s", target="/run/secrets/s", required=True, mode=0o400),
        ),
        ("type=secret,target=/x/y", Mount("secret", id="y", target="/x/y")),
        ("type=secret,id=s,env=TOKEN", Mount("secret", id="s", env="TOKEN")),
        ("type=ssh", Mount("ssh", id="default")),
        (
            "type=ssh,id=k,target=/a,required=true,uid=0",
            Mount("ssh", id="k", target="/a", required=True, uid=0),
        ),
        ('"target=/a,b",type=${X:-bind}', Mount(target="/a,b")),
    ],
)
def test_mounts(text: str, expected: Mount) -> None:
    found = mounts.read(text, Expander("\\", VARIABLES).word)
    assert found == expected


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("type=bnd,target=/a", 'unsupported mount type "bnd"'),
        ("type=cache,target=/a,sharing=x", 'unsupported sharing value "x"'),
        ("tagret=/a", "unexpected key 'tagret' in 'tagret=/a'"),
        ("target", "invalid field 'target' must be a key=value pair"),
        ("target=/a,ro=x", "invalid value for ro: x"),
        ("target=/a,required", "unexpected key 'required' for mount type 'bind'"),
        ("target=/a,size=1", "unexpected key 'size' for mount type 'bind'"),
        ("type=tmpfs,target=/a,size=x", "invalid value for size: x"),
        ("type=cache,target=/a,mode=9", "invalid value 9 for mode"),
        ("type=cache,target=/a,uid=-1", "invalid value -1 for uid"),
        ("target=/a,mode=1", 'mode not allowed for "bind" type mounts'),
        ("type=tmpfs,target=/a,gid=1", 'gid not allowed for "tmpfs" type mounts'),
        ("type=secret", "invalid secret mount. one of source, target required"),
        ("type=secret,id=a,source=b", "both source and id can't be set"),
        ("type=secret,id=a,from=b", "secret mount should not have a from"),
        ("type=secret,id=a,sharing=locked", "secret mount should not define sharing"),
        ("target=/a,sharing=locked", "invalid cache sharing set for bind mount"),
        ("type=ssh,source=x", "ssh does not support source"),
        ("type=tmpfs,target=/a,z", 'z and Z not allowed for "tmpfs" type mounts'),
        ("target=/a/..", 'invalid mount target "/"'),
        ('"target=/a', "failed to parse csv mounts"),
    ],
)
def test_mounts_that_are_refused(text: str, says: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        mounts.read(text, lambda word: word)
    assert str(caught.value).startswith(says)


@pytest.mark.parametrize(
    ("word", "names", "mapped"),
    [
        ("80", ["80/tcp"], False),
        ("80/UDP", ["80/udp"], False),
        ("8-9/sctp", ["8/sctp", "9/sctp"], False),
        ("80/", ["80/tcp"], False),
        ("1:80", ["80/tcp"], True),
        ("127.0.0.1:1:80", ["80/tcp"], True),
        ("[::1]:1:80", ["80/tcp"], True),
        ("1-5:80", ["80/tcp"], True),
        ("0", ["0/tcp"], False),
    ],
)
def test_ports(word: str, names: list[str], mapped: bool) -> None:
    found = ports.read(word)
    assert (found.names(), found.mapped) == (names, mapped)


@pytest.mark.parametrize(
    "word",
    ["", "/tcp", "80/icmp", "9-8", "-1", "80-", "65536", "1-3:8-9", "x:80", "1.2.3:1:80", "x:1:80"],
)
def test_ports_that_are_refused(word: str) -> None:
    with pytest.raises(ArgumentError, match=r"^invalid "):
        ports.read(word)


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("0", 0),
        ("1ns", 1),
        ("1h1m1s1ms1us1ns", 3661001001001),
        ("-1.5s", -1500000000),
        (".5s", 500000000),
        ("1.s", 10**9),
        ("+2µs", 2000),
    ],
)
def test_durations(text: str, nanoseconds: int) -> None:
    assert duration(text) == nanoseconds


@pytest.mark.parametrize("text", ["", "1", "s", "1d", "1s ", ".", "1e3s", "9999999999h", "1s" * 40])
def test_durations_that_are_refused(text: str) -> None:
    with pytest.raises(ArgumentError, match=r"^time: "):
        duration(text)


def test_negative_intervals_are_refused() -> None:
    with pytest.raises(ArgumentError, match="cannot be less than 1ms"):
        interval("timeout", "-1s")


WORDS = st.sampled_from(
    [
        "a",
        "$A",
        "--x=y",
        "--from=b",
        "--mount=type=cache,target=$A",
        "=",
        "a=b",
        "[",
        '["a"]',
        "<<E",
        "1-2",
        "/x",
        "CMD",
        "NONE",
        "as",
        "AS",
        "'",
        '"',
        "${A",
        "\\",
        "--interval=1s",
        "RUN",
        "ONBUILD",
        "é",
    ]
)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(sorted(READERS)), st.lists(WORDS, max_size=5))
def test_any_instruction_is_read_or_refused(name: str, words: list[str]) -> None:
    try:
        found = read_all(parse(f"{name} {' '.join(words)}\nE\n".encode()))[0]
    except DockerfileError as error:
        assert str(error).startswith("Dockerfile:")
        return
    try:
        assert type(found.expanded(Expander("\\", VARIABLES))) is type(found)
    except (ArgumentError, WordError) as error:
        assert str(error)
