"""The benchmarks: contenders side by side on one machine, in interleaved rounds (docs/reference/benchmarks.md)."""
