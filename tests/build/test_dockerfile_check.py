"""`build --check`: each of Docker's checks, where it speaks and where it is silent."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sampan.model.platform import Platform
from sampan_build.dockerfile import check as checks
from sampan_build.dockerfile import ignore, rules
from sampan_build.dockerfile.check import Finding
from sampan_build.dockerfile.parser import parse
from sampan_build.dockerfile.source import DockerfileError
from sampan_build.dockerfile.stages import Build

HERE = Platform("linux", "amd64")


def findings(
    text: str, ignored: str | None = None, variables: Mapping[str, str] | None = None
) -> list[Finding]:
    """variables: of the base images; None where they are not known."""
    build = Build(parse(text.encode()), {}, HERE, HERE)
    patterns = None if ignored is None else ignore.read(ignored.encode())
    return checks.check(build, patterns, lambda stage: variables)


def said(
    text: str, ignored: str | None = None, variables: Mapping[str, str] | None = None
) -> list[tuple[int, str]]:
    """(line, rule), and the text after a colon where a rule speaks of something."""
    return [
        (found.line, f"{found.rule}: {found.text}") for found in findings(text, ignored, variables)
    ]


EMPTY: dict[str, str] = {}


@pytest.mark.parametrize(
    ("text", "line", "rule", "shown"),
    [
        ("FROM a AS Bc", 1, "StageNameCasing", "Stage name 'Bc' should be lowercase"),
        ("FROM a as b", 1, "FromAsCasing", "'as' and 'FROM' keywords' casing do not match"),
        ("from a AS b", 1, "FromAsCasing", "'AS' and 'from' keywords' casing do not match"),
        ("FROM a\nRUN b \\\n\n c", 4, "NoEmptyContinuation", "Empty continuation line"),
        (
            "FROM a\nrun b\nRUN c",
            2,
            "ConsistentInstructionCasing",
            "Command 'run' should match the case of the command majority (uppercase)",
        ),
        (
            "from a\nRun b\nrun c",
            2,
            "ConsistentInstructionCasing",
            "Command 'Run' should match the case of the command majority (lowercase)",
        ),
        (
            "FROM a AS b\nFROM c AS b",
            2,
            "DuplicateStageName",
            'Duplicate stage name "b", stage names should be unique',
        ),
        (
            "FROM a AS scratch",
            1,
            "ReservedStageName",
            'Stage name should not use the same name as reserved stage "scratch"',
        ),
        (
            "FROM a\nCMD b",
            2,
            "JSONArgsRecommended",
            "JSON arguments recommended for CMD to prevent unintended behavior related to OS signals",
        ),
        (
            "FROM a\nENTRYPOINT b",
            2,
            "JSONArgsRecommended",
            "JSON arguments recommended for ENTRYPOINT to prevent unintended behavior related to OS signals",
        ),
        (
            "FROM a\nMAINTAINER b",
            2,
            "MaintainerDeprecated",
            "Maintainer instruction is deprecated in favor of using label",
        ),
        (
            "FROM --platform=${BULIDPLATFORM:-linux/arm64} a",
            1,
            "UndefinedArgInFrom",
            "FROM argument 'BULIDPLATFORM' is not declared (did you mean BUILDPLATFORM?)",
        ),
        ("FROM a${version}", 1, "UndefinedArgInFrom", "FROM argument 'version' is not declared"),
        (
            "FROM a\nWORKDIR app/",
            2,
            "WorkdirRelativePath",
            'Relative workdir "app/" can have unexpected results if the base image changes',
        ),
        ("FROM a\nUSER $foo", 2, "UndefinedVar", "Usage of undefined variable '$foo'"),
        (
            "FROM a\nENV D=x\nCOPY $DIR y",
            3,
            "UndefinedVar",
            "Usage of undefined variable '$DIR' (did you mean $D?)",
        ),
        (
            'FROM a\nCMD ["x"]\nCMD ["y"]',
            2,
            "MultipleInstructionsDisallowed",
            "Multiple CMD instructions should not be used in the same stage because only the last one will be used",
        ),
        (
            "FROM a\nHEALTHCHECK NONE\nHEALTHCHECK NONE",
            2,
            "MultipleInstructionsDisallowed",
            "Multiple HEALTHCHECK instructions should not be used in the same stage "
            "because only the last one will be used",
        ),
        (
            "FROM a\nLABEL b c",
            2,
            "LegacyKeyValueFormat",
            '"LABEL key=value" should be used instead of legacy "LABEL key value" format',
        ),
        (
            "FROM --platform=$TARGETPLATFORM a",
            1,
            "RedundantTargetPlatform",
            "Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is the default behavior",
        ),
        (
            "FROM a\nARG API_KEY",
            2,
            "SecretsUsedInArgOrEnv",
            'Do not use ARG or ENV instructions for sensitive data (ARG "API_KEY")',
        ),
        (
            "FROM a\nENV password=b",
            2,
            "SecretsUsedInArgOrEnv",
            'Do not use ARG or ENV instructions for sensitive data (ENV "password")',
        ),
        (
            "ARG TAG\nFROM a:${TAG}",
            2,
            "InvalidDefaultArgInFrom",
            "Default value for ARG a:${TAG} results in empty or invalid base image name",
        ),
        (
            "FROM --platform=linux/arm64 a AS b",
            1,
            "FromPlatformFlagConstDisallowed",
            'FROM --platform flag should not use constant value "linux/arm64"',
        ),
        (
            "FROM a\nEXPOSE 80/TCP",
            2,
            "ExposeProtoCasing",
            "Defined protocol '80/TCP' in EXPOSE instruction should be lowercase",
        ),
        (
            "FROM a\nEXPOSE 1:80",
            2,
            "ExposeInvalidFormat",
            "EXPOSE instruction should not define an IP address or host-port mapping, found '1:80'",
        ),
    ],
)
def test_what_is_said(text: str, line: int, rule: str, shown: str) -> None:
    if rule == "InvalidDefaultArgInFrom":
        build = Build(parse(text.encode()), {"TAG": "1"}, HERE, HERE)
        found = checks.check(build)
    else:
        found = findings(text, variables=EMPTY)
    assert [(one.line, one.rule, one.text) for one in found] == [(line, rule, shown)]
    if rule not in rules.EXPERIMENTAL:
        head = f"# check=skip={rule}\n"
        build = Build(parse((head + text).encode()), {"TAG": "1"}, HERE, HERE)
        assert checks.check(build, None, lambda stage: EMPTY) == []


@pytest.mark.parametrize(
    "text",
    [
        "FROM a AS b-c.d_1",
        "from a as b",
        "From a aS b\nFROM c",
        "ARG a\nFROM a",
        "arg a\nFROM b",
        "FROM a\nRUN b \\\n# c\n d",
        'FROM a\nSHELL ["x"]\nCMD b',
        'FROM a AS b\nSHELL ["x"]\nFROM b\nCMD c',
        "FROM a\nWORKDIR /b\nWORKDIR c",
        "FROM a AS b\nWORKDIR /b\nFROM b\nWORKDIR c",
        "FROM a\nARG b\nUSER $b",
        "FROM a\nENV b=1\nUSER $b$PATH",
        "FROM a\nRUN $b",
        'FROM a\nCMD ["$b"]',
        'FROM a AS b\nCMD ["x"]\nFROM b\nCMD ["y"]',
        "FROM a\nENV PUBLIC_KEY=1 KEY_FILE=2 TOKEN_VERSION=3 monkey=4",
        "FROM --platform=$BUILDPLATFORM a",
        "FROM --platform=linux/arm64 a AS b-arm64",
        "ARG V=1\nFROM a:$V",
        "FROM host:sh,ls",
        "FROM a\nEXPOSE 80/tcp 81",
        "# b is no description\nFROM a AS c",
    ],
)
def test_what_nothing_is_said_about(text: str) -> None:
    found = [
        row for row in findings(text, variables=EMPTY) if row.rule != "ConsistentInstructionCasing"
    ]
    assert found == []


def test_undefined_variables_need_a_known_base() -> None:
    text = "FROM a AS b\nUSER $foo\nFROM b\nUSER $bar\nFROM scratch\nUSER $baz"
    assert [line for line, _ in said(text, variables=None)] == [6]
    assert [line for line, _ in said(text, variables={"foo": "x"})] == [4, 6]


@pytest.mark.parametrize(
    ("row", "ignored", "text"),
    [
        ("COPY x.o y", "*.o", 'Attempting to Copy file "x.o" that is excluded by .dockerignore'),
        ("ADD d/x y", "d", 'Attempting to Add file "d/x" that is excluded by .dockerignore'),
        ("COPY . y", "**", 'Attempting to Copy file "." that is excluded by .dockerignore'),
        ("COPY . y", "d", None),
        ("COPY x.o y", "*.o\n!x.o", None),
        ("COPY --from=b x.o y", "*.o", None),
        ("ADD https://h/x.o y", "**/*.o", None),
        ("COPY x y", None, None),
    ],
)
def test_files_that_are_left_out(row: str, ignored: str | None, text: str | None) -> None:
    found = findings(f"FROM a\n{row}", ignored)
    assert [one.text for one in found if one.rule == "CopyIgnoredFile"] == ([text] if text else [])


def test_descriptions_are_looked_at_where_it_is_asked_for() -> None:
    text = "# check=experimental=all\n# version is it\nARG version\n# other\nFROM a AS base\n"
    text += "# x y\nARG b c\n#\n# base\nFROM a AS base2\n"
    assert said(text, variables=EMPTY) == [
        (
            5,
            "InvalidDefinitionDescription: Comment for FROM should follow the format: `# base <description>`",
        ),
        (
            7,
            "InvalidDefinitionDescription: Comment for ARG should follow the format: `# <arg_key> <description>`",
        ),
        (
            10,
            "InvalidDefinitionDescription: Comment for FROM should follow the format: `# base2 <description>`",
        ),
    ]
    assert said(text.replace("=all", "=Other"), variables=EMPTY) == []


def test_options_of_the_file_and_of_an_instruction() -> None:
    text = "FROM a\nMAINTAINER b\n# check=skip=JSONArgsRecommended\nCMD c\nENTRYPOINT d"
    assert [line for line, _ in said(text)] == [2, 5]
    assert said(f"# check=skip=all\n{text}") == []
    assert [
        line for line, _ in said(f"# check=skip=MaintainerDeprecated, JSONArgsRecommended\n{text}")
    ] == [6]


def test_findings_can_be_errors() -> None:
    build = Build(
        parse(b"# check=skip=JSONArgsRecommended;error=true\nFROM a\nMAINTAINER b"), {}, HERE, HERE
    )
    assert checks.options(build) == rules.Options(
        frozenset(["JSONArgsRecommended"]), frozenset(), True
    )
    found = checks.check(build)
    assert str(checks.violation(found)).startswith(
        "lint violation found for rules: MaintainerDeprecated; "
    )
    assert not checks.options(Build(parse(b"FROM a"), {}, HERE, HERE)).error


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("skip", 'invalid check option "skip"'),
        ("spik=all", 'invalid check option "spik"'),
        ("error=maybe", 'failed to parse check option "error=maybe": true or false is wanted'),
    ],
)
def test_options_that_are_refused(value: str, says: str) -> None:
    build = Build(parse(f"# syntax=x\n# check={value}\nFROM a".encode()), {}, HERE, HERE)
    with pytest.raises(DockerfileError) as caught:
        checks.check(build)
    assert str(caught.value).startswith(f"Dockerfile:2: failed to parse check options: {says}")


def test_how_a_finding_is_shown() -> None:
    text = "FROM a\nMAINTAINER b \\\n c"
    build = Build(parse(text.encode()), {}, HERE, HERE)
    assert checks.check(build)[0].report(build.document.source).split("\n") == [
        "WARN: MaintainerDeprecated - https://docs.docker.com/go/dockerfile/rule/maintainer-deprecated/",
        "Maintainer instruction is deprecated in favor of using label",
        "Dockerfile:2",
        "   2 | MAINTAINER b \\",
        "   3 |  c",
    ]
    assert rules.url("JSONArgsRecommended").endswith("/json-args-recommended/")


def test_every_check_has_a_test() -> None:
    mine = {
        mark
        for mark in rules.RULES
        if mark not in ("CopyIgnoredFile", "InvalidDefinitionDescription")
    }
    marks = test_what_is_said.pytestmark  # type: ignore[attr-defined]
    assert {row[2] for mark in marks for row in mark.args[1]} == mine


ROWS = st.sampled_from(
    [
        "CMD ['a']",
        'CMD ["a"]',
        "FROM a AS B",
        "from $x",
        "FROM B as scratch",
        "ENV a b",
        "ARG TOKEN=$x",
        "EXPOSE 1:2/TCP",
        "COPY $x y",
        "WORKDIR $x",
        "MAINTAINER m",
        "HEALTHCHECK NONE",
        "ONBUILD CMD x",
        "# c",
        "run x \\",
        "",
    ]
)


@settings(max_examples=150, deadline=None)
@given(st.lists(ROWS, min_size=1, max_size=10), st.sampled_from([None, "*", "y\n!x"]))
def test_any_file_is_checked_or_refused(rows: list[str], ignored: str | None) -> None:
    try:
        found = findings("\n".join(["FROM z AS b", *rows]), ignored, EMPTY)
    except DockerfileError as error:
        assert str(error).startswith("Dockerfile:")
    else:
        assert all(
            0 < one.line <= one.end <= len(rows) + 1 and one.rule in rules.RULES for one in found
        )
