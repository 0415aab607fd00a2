"""Analytical sizing of LLM inference platforms."""

__version__ = "0.1.0"
