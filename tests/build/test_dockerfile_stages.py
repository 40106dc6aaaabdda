"""Stages of a Dockerfile: arguments and their scopes, references between stages, what a target needs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sampan.errors import UsageError
from sampan.model.platform import Platform
from sampan_build.dockerfile import scopes
from sampan_build.dockerfile import values as v
from sampan_build.dockerfile.parser import parse
from sampan_build.dockerfile.source import DockerfileError
from sampan_build.dockerfile.stages import Build, Origin, Stage

HERE = Platform("linux", "amd64")
THERE = Platform("linux", "arm64", "v8")


def build(text: str, args: Mapping[str, str] | None = None, **more: Any) -> Build:
    return Build(parse(text.encode()), args or {}, HERE, more.pop("platform", HERE), **more)


def refused(text: str, args: Mapping[str, str] | None = None) -> str:
    with pytest.raises(DockerfileError) as caught:
        made = build(text, args)
        made.needed(made.find())
    assert "^" in caught.value.report()
    return str(caught.value).removeprefix("Dockerfile:")


def entered(
    made: Build, index: int = -1, environment: Mapping[str, str] | None = None
) -> tuple[scopes.Scope, list[Any]]:
    """The scope at the end of a stage, and its instructions with their variables."""
    stage = made.stages[index]
    parent = entered(made, stage.base.stage, environment)[0] if stage.base.kind == "stage" else None
    scope = made.scope(stage, parent, environment or {})
    return scope, [scope.enter(row) for row in stage.instructions]


def users(made: Build, index: int = -1, environment: Mapping[str, str] | None = None) -> list[str]:
    """What USER says in a stage."""
    return [row.user for row in entered(made, index, environment)[1] if isinstance(row, v.User)]


def bases(made: Build) -> list[Origin]:
    return [stage.base for stage in made.stages]


def test_stages_and_what_they_begin_with() -> None:
    made = build(
        "FROM debian AS one\nFROM scratch\nFROM One AS two\nFROM debian:12\nFROM host:sh,ls",
        contexts=(),
    )
    assert bases(made) == [
        Origin("image", "debian"),
        Origin("scratch", "scratch"),
        Origin("stage", "One", 0),
        Origin("image", "debian:12"),
        Origin("image", "host:sh,ls"),
    ]
    assert [stage.name for stage in made.stages] == ["one", "stage-1", "two", "stage-3", "stage-4"]


def test_a_stage_named_like_its_image() -> None:
    made = build("FROM alpine AS alpine\nFROM alpine\nCOPY --from=alpine a b")
    assert bases(made) == [Origin("image", "alpine"), Origin("stage", "alpine", 0)]
    assert made.stages[1].origins == {"alpine": Origin("stage", "alpine", 0)}


def test_of_stages_with_one_name_from_takes_the_last_before_it() -> None:
    made = build("FROM a:1 AS x\nFROM x AS x\nFROM x\nCOPY --from=x a b")
    assert [base.stage for base in bases(made)] == [-1, 0, 1]
    assert made.stages[2].origins["x"].stage == 1


def test_arguments_before_from() -> None:
    text = "ARG TAG=12\nARG IMAGE=debian:$TAG\nFROM $IMAGE\nFROM --platform=$TARGETPLATFORM ${IMAGE%:*}:${NO:-11} AS x"
    assert [base.name for base in bases(build(text))] == ["debian:12", "debian:11"]
    assert [base.name for base in bases(build(text, {"TAG": "13"}))] == ["debian:13", "debian:11"]
    assert [base.name for base in bases(build(text, {"IMAGE": "a"}))] == ["a", "a:11"]
    assert build(text, platform=THERE).stages[1].platform == "linux/arm64/v8"


def test_a_stage_sees_global_arguments_once_it_declares_them() -> None:
    text = "ARG A=a\nARG B=b\nFROM x\nUSER [$A]\nARG A\nARG B=c\nUSER [$A$B]\nFROM y\nUSER [$A]"
    assert users(build(text), 0) == ["[]", "[ac]"]
    assert users(build(text), 1) == ["[]"]
    assert users(build(text, {"A": "1", "B": "2"}), 0) == ["[]", "[12]"]


def test_arguments_of_a_stage() -> None:
    text = "FROM x\nARG A\nARG B=$A.b C=$B\nUSER $A/$B/$C\nENV A=env\nUSER $A\nARG A=late\nUSER $A"
    assert users(build(text)) == ["/.b/.b", "env", "late"]
    assert users(build(text, {"A": "1"})) == ["1/1.b/1.b", "env", "1"]
    scope, rows = entered(build(text, {"C": "given"}))
    assert rows[1].arguments == (("B", ".b"), ("C", "given"))
    assert scope.arguments == {"A": "late", "B": ".b", "C": "given"}


def test_a_stage_made_from_another_has_its_variables() -> None:
    text = "FROM x AS one\nARG A=a\nENV E=$A\nFROM one\nUSER $A$E\nFROM x\nUSER [$A$E]"
    assert users(build(text), 1) == ["aa"]
    assert users(build(text), 2) == ["[]"]


def test_variables_of_the_base_image() -> None:
    made = build("FROM x\nUSER $E\nENV E=$E.2 F=$E\nUSER $E$F")
    assert users(made, environment={"E": "1"}) == ["1", "1.21"]


def test_platform_arguments() -> None:
    text = "FROM x\nUSER [$TARGETARCH]\nARG TARGETPLATFORM TARGETOS TARGETARCH TARGETVARIANT BUILDPLATFORM\n"
    text += "ARG TARGETSTAGE\nUSER $TARGETPLATFORM-$TARGETOS-$TARGETARCH-$TARGETVARIANT-$BUILDPLATFORM-$TARGETSTAGE"
    assert users(build(text, platform=THERE)) == [
        "[]",
        "linux/arm64/v8-linux-arm64-v8-linux/amd64-default",
    ]
    assert users(build(text, {"TARGETARCH": "s390x"}))[1].split("-")[2] == "s390x"
    made = build("FROM a AS One\nARG TARGETSTAGE\nUSER $TARGETSTAGE\nFROM one AS two", stage="one")
    assert users(made, 0) == ["one"]
    assert build("FROM a AS one\nFROM one AS two").globals["TARGETSTAGE"] == "two"


def test_proxies_are_for_run_alone() -> None:
    args = {"HTTP_PROXY": "http://p", "no_proxy": "x", "OTHER": "y"}
    assert scopes.proxies(args) == {
        "http_proxy": "http://p",
        "HTTP_PROXY": "http://p",
        "no_proxy": "x",
        "NO_PROXY": "x",
    }
    made = build("FROM x\nARG OTHER\nUSER [$HTTP_PROXY$OTHER]", args)
    assert users(made) == ["[y]"]
    assert entered(made)[0].history() == ["|1", "OTHER=y"]
    made = build("FROM x\nARG HTTP_PROXY\nUSER [$HTTP_PROXY]", args)
    assert users(made) == ["[http://p]"]


def test_the_history_of_run() -> None:
    scope = entered(build("FROM x\nARG A=1\nARG B\nARG A=2\nENV A=3"))[0]
    assert scope.history() == ["|2", "A=3", "B="]
    assert entered(build("FROM x"))[0].history() == []


def test_undefined_variables_are_collected() -> None:
    made = build("FROM x\nARG A\nUSER $A$B${C:-$D}")
    assert entered(made)[0].unmatched == {"B", "C", "D"}


def test_the_escape_character_counts() -> None:
    made = build("# escape=`\nFROM x\nENV P=D:\\a`$P\nUSER $P")
    assert users(made) == ["D:\\a$P"]


def test_what_copy_and_mounts_take() -> None:
    text = "FROM a AS One\nFROM b\nCOPY --from=ONE x y\nCOPY --from=0 x y\nCOPY --from=c:1 x y\nCOPY x y\n"
    text += "RUN --mount=from=one,target=/a --mount=from=d,target=/b --mount=type=cache,target=/c true\n"
    text += "RUN --mount=from=0,target=/a true"
    made = build(text)
    assert made.stages[1].origins == {
        "ONE": Origin("stage", "ONE", 0),
        "0": Origin("image", "0"),  # a mount knows no numbers
        "c:1": Origin("image", "c:1"),
        "one": Origin("stage", "one", 0),
        "d": Origin("image", "d"),
    }


def test_named_contexts() -> None:
    text = "FROM debian AS base\nRUN x\nFROM base\nCOPY --from=src a b\nCOPY --from=alpine a b"
    made = build(text, contexts={"base", "src", "alpine"})
    assert made.stages[0].base == Origin("context", "base")
    assert made.stages[0].instructions == []
    assert [origin.kind for origin in made.stages[1].needs()] == ["stage", "context", "context"]
    assert build("FROM debian\nRUN x", contexts={"debian"}).stages[0].base == Origin(
        "context", "debian"
    )
    assert len(build("FROM debian\nRUN x", contexts={"debian"}).stages[0].instructions) == 1


def test_what_a_target_needs() -> None:
    text = "FROM a AS one\nFROM b AS two\nCOPY --from=one x y\nFROM c AS three\nFROM two AS four\nFROM d AS five"
    made = build(text)

    def needs(target: str) -> list[str]:
        return [stage.name for stage in made.needed(made.find(target))]

    assert needs("four") == ["one", "two", "four"]
    assert needs("") == needs("five") == needs("4") == ["five"]
    assert needs("ONE") == ["one"]


@pytest.mark.parametrize(
    ("target", "hint"),
    [("fuor", "did you mean four?"), ("9", "known are four"), ("-1", "known are four")],
)
def test_a_target_that_is_not_there(target: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        build("FROM a\nFROM b AS four").find(target)
    assert str(caught.value) == f'target stage "{target}" could not be found; {hint}'


def test_a_stage_that_nobody_needs_may_take_from_later_ones() -> None:
    made = build("FROM a\nCOPY --from=later x y\nFROM b AS later")
    assert [stage.name for stage in made.needed(made.find())] == ["later"]
    assert refused("FROM a AS x\nCOPY --from=later x y\nFROM b AS later\nFROM x") == (
        '2: cannot copy from stage "later", it needs to be defined before current stage "x"; move that stage up'
    )


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("ARG A", "1: dockerfile contains no stages to build; add FROM"),
        (
            "ARG A\nRUN x\nFROM a",
            "2: no build stage in current context; only ARG may come before the first FROM",
        ),
        (
            "ARG A\nFROM $A",
            "2: base name ($A) should not be blank; give A a value with ARG before the first FROM, or --build-arg",
        ),
        ("ARG A=\nFROM ${A}", "2: base name (${A}) should not be blank"),
        ("FROM ${A", '1: failed to process "${A": unsupported modifier () in substitution'),
        ("ARG A=${B:?needed}\nFROM a", '1: failed to process "${B:?needed}": B: needed'),
        ("FROM UPPER", '1: failed to parse stage name "UPPER"'),
        (
            "FROM --platform=$P a",
            "1: empty platform value from expression $P; give P a value with ARG",
        ),
        ("FROM --platform=a/b/c/d a", "1: failed to parse platform a/b/c/d"),
        ("FROM a\nCOPY --from=1 x y", "2: invalid stage index 1; there are stages 0 to 0"),
        ("FROM a\nCOPY --from=-1 x y", "2: invalid stage index -1; there are stages 0 to 0"),
        (
            "FROM a\nCOPY --from=$X x y",
            "2: variable expansion is not supported for --from; define a new stage",
        ),
        ("FROM a\nCOPY --from=A/B x y", "2: invalid from flag value A/B"),
        ("FROM a AS b\nCOPY --from=b x y", "2: circular dependency detected on stage: b"),
        ("FROM a\nCOPY --from=0 x y", "2: circular dependency detected on stage: stage-0"),
        (
            "FROM a AS b\nCOPY --from=c x y\nFROM b AS c",
            "2: circular dependency detected on stage: b",
        ),
        (
            "FROM a AS b\nRUN --mount=from=c,target=/x true\nFROM a AS c\nCOPY --from=b x y",
            "2: circular dependency detected on stage: b",
        ),
    ],
)
def test_what_is_refused(text: str, says: str) -> None:
    assert refused(text).startswith(says)


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("USER ${A:?set it}", "A: set it"),
        ("COPY --chmod=$B a b", "invalid chmod parameter: 'nine'"),
        ("EXPOSE $B", "invalid containerPort: nine"),
        ("ARG C=${A?}", "A: is not allowed to be unset"),
        ("RUN --mount=type=$B,target=/a true", 'unsupported mount type "nine"'),
    ],
)
def test_what_is_refused_once_variables_are_known(row: str, says: str) -> None:
    made = build(f"FROM a\nENV B=nine\n{row}")
    with pytest.raises(DockerfileError) as caught:
        entered(made)
    assert str(caught.value).startswith("Dockerfile:3: ")
    assert says in str(caught.value)


def test_triggers_of_a_stage_of_the_file() -> None:
    text = "FROM a AS one\nONBUILD USER first\nONBUILD COPY --from=two x y\nFROM b AS two\n"
    text += "FROM one AS three\nUSER last\nFROM three"
    made = build(text)
    assert users(made, 2) == ["first", "last"]
    assert made.stages[2].origins == {"two": Origin("stage", "two", 1)}
    assert users(made, 0) == []
    assert users(made, 3) == []  # they are for children, not for grandchildren


def test_triggers_of_a_base_image() -> None:
    made = build("FROM b AS two\nFROM a AS one\nUSER last")
    stage = made.stages[1]
    made.add_triggers(stage, ["USER first", "COPY --from=two <<E x /y\n$A\nE"])
    assert users(made) == ["first", "last"]
    assert [origin.stage for origin in stage.needs()] == [-1, 0]
    assert stage.instructions[1].node.start == 2


@pytest.mark.parametrize(
    ("expression", "says"),
    [
        ("RUNN x", "ONBUILD of a:1: unknown instruction: RUNN; did you mean RUN?"),
        ("RUN x\nRUN y", "onbuild trigger should be a single expression: RUN x"),
        ("FROM x", "onbuild trigger should be a single expression: FROM x"),
        ("", "ONBUILD of a:1: the file has no instructions"),
        ("COPY --from=one x y", "circular dependency detected on stage: one"),
    ],
)
def test_triggers_that_are_refused(expression: str, says: str) -> None:
    made = build("\nFROM a AS one")
    with pytest.raises(DockerfileError) as caught:
        made.add_triggers(made.stages[0], [expression])
    shown = str(caught.value)
    assert shown.startswith("Dockerfile:2: ")
    assert says in shown


def test_many_stages_are_no_matter() -> None:
    rows = [
        "FROM a AS s0",
        *(f"FROM s{at} AS s{at + 1}\nCOPY --from=s{at} x y" for at in range(2000)),
    ]
    made = build("\n".join(rows))
    assert len(made.needed(made.find())) == 2001


ROWS = st.sampled_from(
    [
        "FROM a",
        "FROM a AS b",
        "FROM b AS c",
        "FROM c",
        "FROM $X",
        "FROM --platform=$Y b",
        "COPY --from=b x y",
        "COPY --from=c x y",
        "COPY --from=1 x y",
        "RUN --mount=from=c,target=/x y",
        "ARG X",
        "ARG X=a",
        "ARG Y=$X",
        "ENV X=$Y",
        "USER $X",
        "ONBUILD COPY --from=c x y",
        "WORKDIR ${X:?}",
    ]
)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(ROWS, min_size=1, max_size=12),
    st.dictionaries(st.sampled_from("XYZ"), st.sampled_from(["", "a", "B"])),
)
def test_any_stages_are_ordered_or_refused(rows: list[str], args: dict[str, str]) -> None:
    try:
        made = build("\n".join(rows), args)
        needed = made.needed(made.find())
        for at in range(len(made.stages)):
            entered(made, at)
    except DockerfileError as error:
        assert str(error).startswith("Dockerfile:")
        return
    done: set[int] = set()
    for stage in needed:
        assert {origin.stage for origin in stage.needs() if origin.kind == "stage"} <= done
        done.add(stage.index)
    assert isinstance(needed[-1], Stage)
    assert needed[-1] is made.find()
