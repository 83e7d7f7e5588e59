"""The kernel's adapter: pyfuse3 in, errno out; no decision lives here."""
