"""The control socket of a running daemon, for the commands of this host."""
