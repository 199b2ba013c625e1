"""The first bytes of a file of a Hub repository: what a header costs, and not the gigabytes behind it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lcaudit.core.errors import MalformedInput
from lcaudit.core.hub_failures import asking, not_cached
from lcaudit.core.hub_listing import Listing, patience
from lcaudit.core.text import display_name


def read_start(listing: Listing, name: str, wanted: Callable[[bytes, int], int]) -> tuple[bytes, int]:
    """(the first bytes, size of the file), from the cache where it lies there.

    No more than that is read, whatever the server sends. A part has no hash to hold it against.

    Args:
        wanted: (first eight bytes, size of the file) → how many bytes to read in all; it bounds them.

    Raises:
        MalformedInput: fewer came.
        HubUnavailable, HubUnreachable, EnvironmentFailure: as :func:`lcaudit.core.hub.fetch`.
    """
    from huggingface_hub.utils import hf_raise_for_status

    size = listing.sizes[name]
    kept = listing.folder / name
    if kept.is_file():
        with kept.open("rb") as stream:
            start = stream.read(8)
            return start + stream.read(max(0, wanted(start, size) - len(start))), size
    if listing.cached:
        raise not_cached(listing.address, name)
    start = b""
    with asking(listing.address, name), _stream(listing, name) as response:
        hf_raise_for_status(response)
        most = 8
        for piece in response.iter_bytes(2**16):
            start += piece
            if most == 8 <= len(start):
                most = wanted(start[:8], size)
            if len(start) >= most:
                return start[:most], size
    raise MalformedInput(
        f"{listing.address}: {display_name(name, 80)} ends after {len(start):,} of {size:,} bytes", "try again later"
    )


def _stream(listing: Listing, name: str) -> Any:
    """A connection whose answer is read piece by piece; the token goes to the Hub, never to where it redirects."""
    import huggingface_hub as library
    from huggingface_hub.utils import build_hf_headers

    address = listing.address
    url = library.hf_hub_url(address.name, name, repo_type=address.kind, revision=listing.commit)
    headers = {**build_hf_headers(), "Accept-Encoding": "identity"}
    return library.get_session().stream("GET", url, headers=headers, follow_redirects=True, timeout=patience())
