"""Layer 4: what a user of a service sees."""
