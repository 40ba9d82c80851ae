"""Baseline memories, one per file. They depend on the interface (`lightning_ebm.memory`) and not on EBMM."""
