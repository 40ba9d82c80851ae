"""Energies for EBMM, one a file."""
