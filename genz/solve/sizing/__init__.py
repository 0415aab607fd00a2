"""Sizing: candidates, their answers, plans, and why there is none."""
