"""Records of what was measured, drawn: tables, figures, pages."""
