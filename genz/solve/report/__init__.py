"""Reports: answers as one HTML file each, for people who were not there."""

from genz.solve.report.sizing import written

__all__ = ["written"]
