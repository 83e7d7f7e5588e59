"""The composition roots: a mount's daemon, and a single fetch without one."""
