"""Every way in which the Hub can fail a user, each with its own sentence.

huggingface_hub's exceptions are told by its own classes; those of the HTTP library under it, which is another one
in each major version, by name. Nothing of their text is shown: it holds what a server wrote, and signed addresses.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lcaudit.core.errors import (
    AuditError,
    EnvironmentFailure,
    HubUnavailable,
    HubUnreachable,
    MalformedInput,
    RevisionMissing,
    UsageError,
)
from lcaudit.core.hub_address import Address
from lcaudit.core.text import display_name

_LATER = "try again later; files that were downloaded whole are kept"
_FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC), errno.EFBIG)
_SEALED = (errno.EACCES, errno.EPERM, errno.EROFS)


@contextmanager
def asking(address: Address, file: str = "") -> Iterator[None]:
    """Inside, huggingface_hub prints nothing and every exception becomes one of ours.

    Args:
        file: which one is being fetched, ``""`` for none.
    """
    logger = logging.getLogger("huggingface_hub")
    before = logger.level
    logger.setLevel(logging.CRITICAL)  # it logs what servers send, control characters and all
    try:
        yield
    except AuditError:
        raise
    except Exception as error:  # servers can make the library raise anything
        raise _translated(error, address, file) from None
    finally:
        logger.setLevel(before)


def not_cached(address: Address, file: str = "") -> EnvironmentFailure:
    """What offline mode lacks."""
    what = f"{display_name(file, 80)} of {address}" if file else str(address)
    return EnvironmentFailure(
        f"{what} is not in the Hub's cache, and the Hub is not asked (HF_HUB_OFFLINE)",
        "unset HF_HUB_OFFLINE once to download it, or set HF_HOME to where it is",
    )


def confused(address: Address) -> HubUnreachable:
    """An answer that is not the Hub's."""
    return HubUnreachable(
        f"{address}: {endpoint()} does not answer like the Hub",
        "check HF_ENDPOINT, and whether a proxy or a login page stands between",
    )


def endpoint() -> str:
    """The server that is asked."""
    from huggingface_hub import constants

    return display_name(constants.ENDPOINT, 100)


def _translated(error: BaseException, address: Address, file: str) -> AuditError:
    from huggingface_hub import errors, get_token

    kind = "data set" if address.kind == "dataset" else "model"
    page = f"{endpoint()}/{'datasets/' if address.kind == 'dataset' else ''}{address.name}"
    match error:
        case errors.OfflineModeIsEnabled():
            return not_cached(address, file)
        case errors.RevisionResolutionError() | errors.LocalEntryNotFoundError():  # what stood in the way, if anything
            cause = error.__cause__
            return _translated(cause, address, file) if cause else not_cached(address, file)
        case errors.HFValidationError():
            return UsageError(f"{address} is not a repository of the Hub", "expected ns/name or ns/name@revision")
        case errors.GatedRepoError():
            return HubUnavailable(
                f"{address} is gated: its owners decide who may download it",
                f"ask for access at {page}, then `hf auth login` or set HF_TOKEN",
            )
        case errors.DisabledRepoError():
            return HubUnavailable(f"{address} was disabled on the Hub", "use another copy of the weights or the data")
        case errors.RevisionNotFoundError():
            return RevisionMissing(
                f"{address.name} has no revision {display_name(address.revision or 'main', 80)}",
                f"name a branch, a tag or a commit: {page}/tree/main",
            )
        case errors.EntryNotFoundError():
            return HubUnavailable(f"{address.name} has no file {display_name(file, 80)}", f"see {page}/tree/main")
        case errors.RepositoryNotFoundError():
            return _hidden(address, kind, bool(get_token()))
        case errors.HfHubHTTPError():
            return _status(error, address, kind, bool(get_token()))
        case errors.FileMetadataError():
            return confused(address)
        case OSError() if error.errno in _FULL:
            return EnvironmentFailure(
                f"{address}: no space left for {display_name(file, 80) or 'it'}; nothing half-downloaded was kept",
                "free some space, or set HF_HOME to a larger disk",
            )
        case OSError() if error.errno in _SEALED:
            return EnvironmentFailure(
                f"{address}: the Hub's cache cannot be written",
                "check its permissions, or set HF_HOME to another folder",
            )
    return _transport(error, address, file)


def _hidden(address: Address, kind: str, token: bool) -> HubUnavailable:
    """The Hub does not tell what is missing from what is private."""
    return HubUnavailable(
        f"there is no {kind} {address.name} on the Hub, or it is private",
        "check the name, and that your token may read it"
        if token
        else "check the name; for a private one `hf auth login` or set HF_TOKEN",
    )


def _status(error: Any, address: Address, kind: str, token: bool) -> AuditError:
    status, headers = error.response.status_code, error.response.headers
    if status == 404 or (status == 401 and not token):
        return _hidden(address, kind, token)
    if status == 401:
        return HubUnavailable(
            f"{address}: the Hub does not accept your token", "`hf auth login` again, or set HF_TOKEN"
        )
    if status == 403:
        return HubUnavailable(f"{address}: access denied (403)", "check that your token may read this repository")
    if status == 429:
        wait = headers.get("Retry-After", "")
        when = f"in {int(wait):,} s" if wait.isascii() and wait.isdigit() and len(wait) < 7 else "later"
        more = "" if token else "; with a token (HF_TOKEN) the limit is higher"
        return HubUnreachable(f"{address}: the Hub asks to slow down (429)", f"try again {when}{more}")
    if status >= 500:
        return HubUnreachable(f"{address}: the Hub has a fault of its own ({status})", _LATER)
    return HubUnavailable(f"{address}: the Hub refused with {status}", "check the name and the revision")


def _transport(error: BaseException, address: Address, file: str) -> AuditError:
    names = {kind.__name__ for kind in type(error).__mro__}
    server = endpoint()
    if "ProxyError" in names:
        return HubUnreachable(f"{address}: the proxy refuses", "check HTTPS_PROXY and NO_PROXY")
    if "ConnectError" in names or "ConnectTimeout" in names:
        return HubUnreachable(f"{address}: no connection to {server}", "check the network, or pass a local path")
    if file and names & {"RemoteProtocolError", "ReadError", "ReadTimeout", "NetworkError", "ProtocolError"}:
        return HubUnreachable(f"{address}: the download of {display_name(file, 80)} broke off", _LATER)
    if "TimeoutException" in names:
        return HubUnreachable(f"{address}: no answer from {server}", _LATER)
    if "TooManyRedirects" in names:
        return HubUnreachable(f"{address}: {server} sends from one address to the next without end", _LATER)
    if "TransportError" in names:
        return HubUnreachable(f"{address}: the connection to {server} broke off", _LATER)
    if isinstance(error, OSError) and file and "Consistency check" in str(error):
        return MalformedInput(
            f"{address}: {display_name(file, 80)} arrived with another size than the Hub lists", _LATER
        )
    if isinstance(error, OSError) and error.errno is not None:
        return EnvironmentFailure(
            f"{address}: the Hub's cache: {error.strerror or type(error).__name__}", "check HF_HOME and its permissions"
        )
    return confused(address)
