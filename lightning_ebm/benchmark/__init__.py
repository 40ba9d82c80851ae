"""What one meta-step of EBMM costs, here and in other people's tools, at equal results."""
