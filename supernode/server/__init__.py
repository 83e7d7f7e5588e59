"""Sessions with peers."""
