"""Layer 0: errors, types, checks, schema, units."""
