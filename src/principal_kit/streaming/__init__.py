"""Streams and files larger than memory: external sort, range-partitioned sort, windows with watermarks."""
