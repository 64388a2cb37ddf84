"""Gello's measurements. `python -m benchmarks` runs them; docs/benchmarks.md says how to read them."""
