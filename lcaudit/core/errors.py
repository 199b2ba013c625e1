"""Every way a user's run can fail.

    AuditError                exit 2, error.kind "usage" unless a child says otherwise
    ├── UsageError            arguments that cannot be combined or understood
    ├── UnsafeCheckpoint      the file wants code to run            kind "refused"
    ├── MalformedInput        the file is not what it claims to be  kind "malformed"
    ├── LimitExceeded         within the format, beyond a cap       kind "limit"
    ├── UnknownArchitecture   no network fits the tensors           kind "unknown-architecture"
    ├── AmbiguousArchitecture more than one network fits            kind "ambiguous-architecture"
    ├── HubUnavailable        the Hub will not give it              kind "hub"
    │   └── RevisionMissing   there is no such branch, tag or commit
    ├── HubUnreachable        the Hub cannot give it now            kind "network"
    ├── ProbeUnavailable      no data, or data that cannot be used  kind "probe"
    └── EnvironmentFailure    disk, memory, a missing package       kind "environment"

A message says what was seen and what was expected; the hint says what to type next. Both may hold
text from a file: the command line escapes them when it prints. Mistakes of our own are ``assert``.
"""

from __future__ import annotations


class AuditError(Exception):
    """One line for the user: ``message`` (seen, expected) and ``hint`` (what to do next)."""

    kind = "usage"

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(AuditError):
    """Arguments that cannot be understood or combined."""


class UnsafeCheckpoint(AuditError):
    """The file can only be loaded by running code from it; lcaudit does not."""

    kind = "refused"


class MalformedInput(AuditError):
    """The file is damaged, or is not what it claims to be."""

    kind = "malformed"


class LimitExceeded(AuditError):
    """The input is legal but larger than a cap that protects the machine."""

    kind = "limit"


class UnknownArchitecture(AuditError):
    """No known network has exactly these tensors."""

    kind = "unknown-architecture"


class AmbiguousArchitecture(AuditError):
    """Several networks that compute different functions have exactly these tensors.

    Attributes:
        candidates: what ``--arch`` would choose between; empty where nothing can be built.
    """

    kind = "ambiguous-architecture"

    def __init__(self, message: str, hint: str = "", candidates: tuple[str, ...] = ()) -> None:
        super().__init__(message, hint)
        self.candidates = candidates


class HubUnavailable(AuditError):
    """The Hub does not have it, or not for this user: trying again does not help."""

    kind = "hub"


class RevisionMissing(HubUnavailable):
    """The repository has no such branch, tag or commit."""


class HubUnreachable(AuditError):
    """No connection, too many requests, a fault of the server: trying again may help."""

    kind = "network"


class ProbeUnavailable(AuditError):
    """The probe data was not found, or cannot be fed to this network."""

    kind = "probe"


class EnvironmentFailure(AuditError):
    """Disk, memory, a device or an optional package is missing."""

    kind = "environment"


def out_of_memory(error: BaseException) -> bool:
    """Python's and NumPy's MemoryError; torch raises types and texts of its own."""
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or (isinstance(error, RuntimeError) and "can't allocate memory" in str(error))
    )
