"""Quantised weights: bytes and legal layouts, the format to choose, and the axis of groups."""
