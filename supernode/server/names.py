"""Questions about remote names, as they come over the wire. Shell."""

from flyfs.core.errors import RemoteProtocolError, Unavailable
from flyfs.core.grid import KIB
from flyfs.core.ids import PUBLIC
from flyfs.core.remote import RemoteDirectory, RemoteFile
from flyfs.core.urls import RemoteUrl, parse_url
from flyfs.wire.codec import MAX_FRAME_BYTES
from flyfs.wire.messages import DirectoryFound, FileFound, List, Listed, Message, Stat
from supernode.cdn.names import Names, page_of

_LISTING_PAGE_BYTES = MAX_FRAME_BYTES - 4 * KIB


async def stat(names: Names, message: Stat) -> Message:
    """What is at a URL. Raises FlyfsError."""
    url = _url(message.url, message.principal)
    found, age_s = await names.stat(url, max_age_s=message.max_age_s, read=message.read, pin=message.pin)
    match found:
        case RemoteFile(blob=blob, modified_s=modified_s, sequential=sequential):
            return FileFound(blob=blob, modified_s=modified_s, age_s=age_s, sequential=sequential)
        case RemoteDirectory():
            return DirectoryFound(age_s=age_s)


async def list_names(names: Names, message: List) -> Message:
    """One page of a listing. Raises FlyfsError."""
    url = _url(message.url, message.principal).as_directory()
    if message.serial:
        listing, age_s = names.listing_of(url, message.serial), 0.0
    else:
        listing, age_s = await names.list(url, max_age_s=message.max_age_s)
    entries = tuple(page_of(listing.entries, message.start, _LISTING_PAGE_BYTES))
    return Listed(
        serial=listing.serial,
        start=message.start,
        entries=entries,
        more=message.start + len(entries) < len(listing.entries),
        skipped=listing.skipped,
        age_s=age_s,
    )


def _url(text: str, principal: str) -> RemoteUrl:
    if principal != PUBLIC:
        raise Unavailable("this supernode serves public content only")
    try:
        return parse_url(text)
    except ValueError as error:
        raise RemoteProtocolError(str(error)) from error
