"""What the mounted tree needs from whoever knows remote names and fetches their bytes. Pure: Protocols only.

``flyfs.swarm`` implements them; the tests have a fake over a local directory.
"""

from typing import Protocol

from flyfs.core.blob import Blob
from flyfs.core.remote import Listing, RemoteDirectory, RemoteFile
from flyfs.core.urls import RemoteUrl


class BlobFigures(Protocol):
    """How much of a blob is here, and where its bytes came from since the start of this process."""

    @property
    def have_pieces(self) -> int:
        """Pieces that are verified and written."""
        ...

    @property
    def came_pieces(self) -> int:
        """Pieces that were verified since the blob was first used, kept or not: tells whether anything moves."""
        ...

    @property
    def origin_bytes(self) -> int:
        """Bytes fetched from the origin by this process."""
        ...

    @property
    def peer_bytes(self) -> int:
        """Bytes received from other peers."""
        ...

    @property
    def supernode_bytes(self) -> int:
        """Bytes received from a supernode."""
        ...

    @property
    def digest(self) -> str | None:
        """The content's own digest (``sha256:HEX``), None where nobody knows it."""
        ...


class OpenBlob(Protocol):
    """A blob that somebody reads. Each one that ``Remotes.open`` gave is closed once."""

    @property
    def blob(self) -> Blob:
        """What is read."""
        ...

    def read_nowait(self, offset: int, size: int) -> memoryview | None:
        """The bytes if all are at hand without waiting, else None; the view is valid until the next await."""
        ...

    async def read(self, offset: int, size: int) -> memoryview | bytes:
        """The bytes, as many as asked for inside the blob; waits for pieces without end: the caller sets the deadline."""
        ...

    def figures(self) -> BlobFigures:
        """What ``user.flyfs.*`` tells."""
        ...

    def close(self) -> None:
        """Ends reading."""
        ...


class Remotes(Protocol):
    """What can be asked about remote names.

    All three raise ``NotFound`` (certainly not there), ``Denied``, ``Unavailable`` (cannot be known now).
    """

    async def stat(
        self, url: RemoteUrl, *, max_age_s: float, read: bool = False, pin: bool = False
    ) -> RemoteFile | RemoteDirectory:
        """What is at ``url`` (no trailing slash).

        Args:
            url: the name without a trailing slash.
            max_age_s: how old the answer may be; 0 asks the origin.
            read: the caller is about to read.
            pin: wait until content without a length has been read whole, so that the answer has a blob.

        Raises:
            TooLarge: content without a length is larger than what may be pinned.
        """
        ...

    async def list(self, url: RemoteUrl, *, max_age_s: float) -> Listing:
        """The names in the directory ``url``."""
        ...

    async def open(self, file: RemoteFile) -> OpenBlob:
        """The blob of ``file`` for reading; ``file.blob`` is not None. Waits for no network."""
        ...
