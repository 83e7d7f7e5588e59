"""The commands of ``flyfs``: one module each, imported when it is asked for."""
