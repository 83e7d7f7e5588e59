"""Connections between peers and supernodes: frames both ways, piece bodies by sendfile and recv_into."""
