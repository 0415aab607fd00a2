"""Layer 8: ``genz …`` on the command line, a thin shell over the public interface."""

from genz.cli.shell import main

__all__ = ["main"]
