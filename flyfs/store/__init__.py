"""Blobs on this disk: proved bytes, their bitmaps and manifests, and the order in which they become true."""
