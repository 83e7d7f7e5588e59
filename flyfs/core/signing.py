"""Ed25519 over digest batches (RFC 8032): who may vouch for a manifest. Pure, but for making a key."""

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from flyfs.core.errors import Corrupt
from flyfs.core.ids import BlobId
from flyfs.core.manifest import SignedDigests, digests_to_sign

KEY_BYTES = 32


class SigningKey:
    """A supernode's key. A fleet of supernodes shares one; a lone one makes its own."""

    def __init__(self, seed: bytes) -> None:
        """``seed`` is the 32-byte private key. Raises ValueError where it has another length."""
        self._private = Ed25519PrivateKey.from_private_bytes(seed)
        self.public = self._private.public_key().public_bytes_raw()

    @staticmethod
    def new_seed() -> bytes:
        """32 fresh random bytes for a new key."""
        return Ed25519PrivateKey.generate().private_bytes_raw()

    def sign(self, blob_id: BlobId, first: int, digests: bytes) -> SignedDigests:
        """The batch of ``digests`` (32 bytes a piece) from piece ``first`` on, signed; about 30 µs."""
        signature = self._private.sign(digests_to_sign(blob_id, first, digests))
        return SignedDigests(blob_id=blob_id, first=first, digests=digests, key=self.public, signature=signature)


def verify(batch: SignedDigests, trusted_keys: frozenset[bytes]) -> None:
    """Returns where a trusted key signed ``batch``; about 100 µs.

    Raises:
        Corrupt: the key is not trusted, or the signature does not fit.
    """
    if batch.key not in trusted_keys:
        raise Corrupt(f"digests of blob {batch.blob_id} are signed by a key that no supernode of ours uses")
    try:
        Ed25519PublicKey.from_public_bytes(batch.key).verify(batch.signature, batch.signed_bytes())
    except (InvalidSignature, ValueError) as error:
        raise Corrupt(f"the signature over digests of blob {batch.blob_id} does not fit") from error
