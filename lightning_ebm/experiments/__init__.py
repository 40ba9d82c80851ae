"""Comparisons of memories: a grid of experiments, run, measured and analysed."""
