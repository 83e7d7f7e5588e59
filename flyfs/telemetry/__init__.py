"""Logs, counters and the watch over the event loop; beside all shells, never imported by a pure module."""
