"""Figures of matplotlib: errors, learning curves, recalled patterns, and their common look."""
