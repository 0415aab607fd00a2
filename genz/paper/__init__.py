"""Layer 7: published figures and tables, one module each."""
