"""What peers and supernodes say to each other, and how it becomes bytes (docs/reference/wire-protocol.md)."""
