"""The benchmarks, one per file; each file has a `LINE`."""
