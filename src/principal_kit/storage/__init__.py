"""Storage: files that hold more than memory does, and what it costs to find something in them."""

from principal_kit.storage.sstable import SSTable, Tables, write_sstable

__all__ = ["SSTable", "Tables", "write_sstable"]
