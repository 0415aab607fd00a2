"""Layer 3: time, memory, energy and cost of that work."""
