"""Every error that Windtunnel raises on purpose.

    WindtunnelError
    ├── PermanentError      a retry cannot help
    │   ├── SpecError       the lifecycle's YAML, or the code that it names
    │   ├── DataError       rows, columns, labels
    │   ├── IntegrityError  content does not have the digest that its reference promises
    │   ├── ConflictError   somebody else was first
    │   ├── NotFoundError   what a reference names is not there
    │   └── RequestError    a caller's request (HTTP 400)
    └── TemporaryError      a retry may help
        └── StoreError      the object store, online store or registry did not answer

Airflow's retries, the controller's back-off and HTTP status codes all follow from the second level.
An error says what is wrong, where, and how to mend it.
"""

from __future__ import annotations

from typing import Any

# Exit codes of a stage's process; 75 is EX_TEMPFAIL of sysexits.h.
EXIT_OK = 0
EXIT_UNEXPECTED = 1
EXIT_PERMANENT = 2
EXIT_TEMPORARY = 75
EXIT_TERMINATED = 143


class WindtunnelError(Exception):
    """What is wrong (`what`), where (`where`: a file:line, a key, a column), how to mend it (`fix`)."""

    def __init__(self, what: str, *, where: str = "", fix: str = "") -> None:
        super().__init__(what, where, fix)
        self.what = what
        self.where = where
        self.fix = fix

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        return f"{text}; {self.fix}" if self.fix else text

    def __reduce__(self) -> tuple[Any, ...]:
        # Keyword-only arguments do not survive the pickling of exceptions by themselves.
        return _rebuild, (type(self), self.what, self.where, self.fix)

    def to_json(self) -> dict[str, Any]:
        return {
            "kind": type(self).__name__,
            "what": self.what,
            "where": self.where,
            "fix": self.fix,
            "permanent": isinstance(self, PermanentError),
        }


class PermanentError(WindtunnelError):
    """A retry with the same inputs cannot help."""


class SpecError(PermanentError):
    """The lifecycle's YAML is wrong, or the code that it names; `problems` holds one error for each."""

    problems: tuple[SpecError, ...] = ()

    @classmethod
    def of(cls, problems: list[SpecError]) -> SpecError:
        """One error for all: a single problem is itself."""
        if len(problems) == 1:
            return problems[0]
        whole = cls("\n".join(str(problem) for problem in problems))
        whole.problems = tuple(problems)
        return whole


class DataError(PermanentError):
    """Rows, columns or labels are not what was declared."""


class IntegrityError(PermanentError):
    """Content does not have the digest that its reference promises."""


class ConflictError(PermanentError):
    """Somebody else changed it first; nothing was written."""


class NotFoundError(PermanentError):
    """What a reference names is not there."""


class DeniedError(PermanentError):
    """Who asks has no right to. An API server that has just started says that to all, until it has read its
    roles."""


class RequestError(PermanentError):
    """A caller's request is wrong (HTTP 400)."""


class TemporaryError(WindtunnelError):
    """A retry may help."""


class StoreError(TemporaryError):
    """The object store, the online store or the registry did not answer."""


_KINDS: dict[str, type[WindtunnelError]] = {
    kind.__name__: kind
    for kind in (
        WindtunnelError, PermanentError, SpecError, DataError, IntegrityError, ConflictError, NotFoundError,
        DeniedError, RequestError, TemporaryError, StoreError,
    )
}  # fmt: skip


def from_json(value: dict[str, Any]) -> WindtunnelError:
    """The error that `to_json` described; an unknown kind falls back on its `permanent` flag."""
    fallback = PermanentError if value.get("permanent", True) else TemporaryError
    kind = _KINDS.get(str(value.get("kind")), fallback)
    return kind(str(value.get("what", "")), where=str(value.get("where", "")), fix=str(value.get("fix", "")))


def exit_code(error: WindtunnelError) -> int:
    return EXIT_TEMPORARY if isinstance(error, TemporaryError) else EXIT_PERMANENT


def _rebuild(kind: type[WindtunnelError], what: str, where: str, fix: str) -> WindtunnelError:
    return kind(what, where=where, fix=fix)
