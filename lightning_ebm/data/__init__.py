"""Episodic data: sources of patterns, distortions, episodes."""
