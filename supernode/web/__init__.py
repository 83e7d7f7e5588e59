"""The supernode's web port: health and figures."""
