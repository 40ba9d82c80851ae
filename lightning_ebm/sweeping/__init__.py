"""Sweeps: many runs of one command with other settings, from files in the schema of Weights & Biases, without a server."""
