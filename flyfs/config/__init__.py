"""The configuration of the ``flyfs`` commands, read once at the edge and frozen."""
