"""Where the databases lie: inside an installed wheel, or beside ``genz/`` in a checkout."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from genz.core.errors import GenzError

__all__ = ["data_root"]


@cache
def data_root(name: str) -> Traversable:
    """Return the directory of a database.

    Parameters
    ----------
    name : {"hardware_db", "model_db"}
        Directory name at the top of the repository.

    Returns
    -------
    importlib.resources.abc.Traversable
        ``genz/<name>`` of an installed wheel, ``<checkout>/<name>`` of a source tree.

    Raises
    ------
    GenzError
        If neither exists, which means a broken installation.
    """
    packaged = files("genz") / name
    if packaged.is_dir():
        return packaged
    checkout = Path(str(files("genz"))).resolve().parent
    if (checkout / "pyproject.toml").is_file() and (checkout / name).is_dir():
        return checkout / name
    msg = f"{name}/ is neither in {packaged} nor beside it in a checkout; reinstall genz"
    raise GenzError(msg)
