"""``python -m genz.cli``."""

from genz.cli.shell import main

main(prog_name="genz")
