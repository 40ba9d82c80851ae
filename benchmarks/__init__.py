"""Scripts that time a meta-step of EBMM against the same step in other tools."""
