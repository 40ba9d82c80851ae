"""Questions about trained memories, one a file: each gives one table and one figure."""
