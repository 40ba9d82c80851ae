"""Measuring, comparing and reporting."""
