"""Comparators, one a file. They know the contract (`lightning_ebm.memory`) and nothing of EBMM."""
