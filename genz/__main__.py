"""The command line, as ``python -m genz``."""

from genz.cli.shell import main

if __name__ == "__main__":
    main()
