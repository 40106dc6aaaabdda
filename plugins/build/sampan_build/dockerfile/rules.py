"""The checks by their names, and which of them a file asks for (`# check=skip=...;error=true`)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from sampan_build.dockerfile.mounts import FALSE, TRUE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

# The text that is shown; {} are what the finding is about.
RULES = {
    "StageNameCasing": "Stage name '{}' should be lowercase",
    "FromAsCasing": "'{1}' and '{0}' keywords' casing do not match",
    "NoEmptyContinuation": "Empty continuation line",
    "ConsistentInstructionCasing": "Command '{}' should match the case of the command majority ({})",
    "DuplicateStageName": 'Duplicate stage name "{}", stage names should be unique',
    "ReservedStageName": 'Stage name should not use the same name as reserved stage "{}"',
    "JSONArgsRecommended": "JSON arguments recommended for {} to prevent unintended behavior related to OS signals",
    "MaintainerDeprecated": "Maintainer instruction is deprecated in favor of using label",
    "UndefinedArgInFrom": "FROM argument '{}' is not declared{}",
    "WorkdirRelativePath": 'Relative workdir "{}" can have unexpected results if the base image changes',
    "UndefinedVar": "Usage of undefined variable '${}'{}",
    "MultipleInstructionsDisallowed": "Multiple {} instructions should not be used in the same stage "
    "because only the last one will be used",
    "LegacyKeyValueFormat": '"{0} key=value" should be used instead of legacy "{0} key value" format',
    "RedundantTargetPlatform": "Setting platform to predefined {} in FROM is redundant as this is the default behavior",
    "SecretsUsedInArgOrEnv": 'Do not use ARG or ENV instructions for sensitive data ({} "{}")',
    "InvalidDefaultArgInFrom": "Default value for ARG {} results in empty or invalid base image name",
    "FromPlatformFlagConstDisallowed": 'FROM --platform flag should not use constant value "{}"',
    "CopyIgnoredFile": 'Attempting to {} file "{}" that is excluded by .dockerignore',
    "InvalidDefinitionDescription": "Comment for {} should follow the format: `# {} <description>`",
    "ExposeProtoCasing": "Defined protocol '{}' in EXPOSE instruction should be lowercase",
    "ExposeInvalidFormat": "EXPOSE instruction should not define an IP address or host-port mapping, found '{}'",
}
EXPERIMENTAL = {"InvalidDefinitionDescription"}  # only where it is asked for
DIRECTIVE = re.compile(r"check\s*=\s*(\S+)", re.ASCII | re.IGNORECASE)
CAPITAL = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


class OptionError(ValueError):
    """Options of `# check=` that cannot be read; its text says why."""


@dataclass(frozen=True, slots=True)
class Options:
    """Which rules are left out, which experimental ones are wanted, and whether a finding is an error."""

    skip: frozenset[str] = field(default_factory=lambda: frozenset[str]())
    experimental: frozenset[str] = field(default_factory=lambda: frozenset[str]())
    error: bool = False

    def allows(self, rule: str) -> bool:
        """Whether a finding of that rule is shown; `all` stands for every rule."""
        if rule in EXPERIMENTAL:
            return bool({rule, "all"} & self.experimental)
        return not {rule, "all"} & self.skip

    def merged(self, comments: Iterable[str]) -> Options:
        """With what the comments before an instruction say."""
        for comment in comments:
            if match := DIRECTIVE.match(comment):
                try:
                    more = read(match[1])
                except OptionError:
                    return self
                return Options(
                    self.skip | more.skip, self.experimental | more.experimental, self.error
                )
        return self


def read(text: str) -> Options:
    """The options of `skip=A,B;experimental=all;error=true`; OptionError."""
    found: dict[str, frozenset[str]] = {}
    error = False
    for part in text.strip().split(";", 2) if text.strip() else []:
        key, sign, value = part.partition("=")
        if not sign or key.strip() not in ("skip", "experimental", "error"):
            raise OptionError(f'invalid check option "{key.strip()}"')
        if key.strip() != "error":
            found[key.strip()] = frozenset(rule.strip() for rule in value.split(","))
        elif value.strip() in TRUE + FALSE:
            error = value.strip() in TRUE
        else:
            raise OptionError(f'failed to parse check option "{part}": true or false is wanted')
    return Options(found.get("skip", frozenset()), found.get("experimental", frozenset()), error)


def url(rule: str) -> str:
    """The page about a rule."""
    return f"https://docs.docker.com/go/dockerfile/rule/{CAPITAL.sub('-', rule).lower()}/"
