"""Sweeps: runs of one command with many settings, from files in the schema of Weights & Biases, without a server."""
