"""Proofs against real disks: power cuts, lost and torn device writes, killed daemons; short forms run with all other tests."""
