"""Layer 2: work without time: flop, bytes and messages of one forward pass."""
