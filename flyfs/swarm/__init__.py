"""Which piece from whom, now: the client's side of the swarm, and the pieces it serves."""
