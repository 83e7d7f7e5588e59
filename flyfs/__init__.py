"""flyfs: a filesystem whose files live elsewhere; the rooms follow the life of one read (docs/explanation/architecture.md)."""
