"""What goes wrong, in one line: what failed, why, and what to do next."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any


class SampanError(Exception):
    """An error that is shown to the user.

    `what` failed, `why` it failed, and `hint` is the next step.  `exit_status` is the status with which a
    command leaves when nothing handles the error (125: the engine itself failed, as with Docker).
    """

    exit_status = 125
    prefix = "Error: "  # empty for the few sentences that podman's users know without it

    def __init__(
        self, what: str, why: str = "", hint: str = "", *, exit_status: int | None = None
    ) -> None:
        super().__init__(what, why, hint)
        self.what, self.why, self.hint = what, why, hint
        if exit_status is not None:
            self.exit_status = exit_status

    def __str__(self) -> str:
        text = f"{self.what}: {self.why}" if self.why else self.what
        if self.hint:
            text = f"{text}; {self.hint}"
        return text if text.isprintable() else " ".join(text.split())

    def report(self) -> str:
        """What is shown to the user; some errors have more to show than their line."""
        return str(self)


def to_report(error: BaseException, what: str) -> list[object]:
    """An error as a JSON value, for another process; `what` failed where it is none of ours."""
    if isinstance(error, SampanError):
        return [error.what, error.why, error.hint, error.exit_status]
    why = str(error) if isinstance(error, OSError) else f"{type(error).__name__}: {error}"
    return [what, why, "", SampanError.exit_status]


def from_report(report: Sequence[Any]) -> SampanError:
    """The error that `to_report` told."""
    what, why, hint, status = report
    return SampanError(what, why, hint, exit_status=status)


class UsageError(SampanError):
    """The words of the command line are off."""


class NotFoundError(SampanError):
    """The named object does not exist."""


class InUseError(SampanError):
    """The object is used by another one, or its name is taken."""


class CorruptError(SampanError):
    """Bytes that do not match their digest, or a document that breaks its format."""


class UnsupportedError(SampanError):
    """The machine, the driver or sampan cannot do this."""


class LimitError(CorruptError):
    """An input exceeds its budget."""


def from_os_error(what: str, error: OSError, hint: str = "") -> SampanError:
    """The user's view of an OSError: its reason with the path that it names."""
    reason = error.strerror or str(error)
    if error.filename:
        name = error.filename
        reason = f"{name.decode(errors='replace') if isinstance(name, bytes) else name}: {reason}"
    return SampanError(what, reason, hint)
