"""HTML pages that need no network: the report of a comparison, its parts, and that of a recall."""
