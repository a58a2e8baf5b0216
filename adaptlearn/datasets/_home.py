"""Where benchmark files are looked for, and how they are read."""

import os
import zipfile
from pathlib import Path

import numpy as np

ENVIRONMENT_VARIABLE = "ADAPTLEARN_DATA"


def get_data_home(data_home=None):
    """Return the folder that holds the benchmark files.

    Parameters
    ----------
    data_home : str or path-like, default=None
        A folder. ``None`` reads the environment variable ``ADAPTLEARN_DATA``.

    Returns
    -------
    path : pathlib.Path or None
        The folder, or ``None`` when neither is given. It need not exist.

    Examples
    --------
    >>> from adaptlearn.datasets import get_data_home
    >>> get_data_home("somewhere").name
    'somewhere'
    """
    if data_home is None:
        data_home = os.environ.get(ENVIRONMENT_VARIABLE) or None
    return None if data_home is None else Path(data_home).expanduser()


def read_archive(name, data_home=None):
    """Read ``name`` (an ``.npz`` archive of plain arrays) from the data home into a dict.

    Object arrays are refused: reading them would unpickle, which can execute code.
    """
    home = get_data_home(data_home)
    if home is None:
        raise FileNotFoundError(
            f"The benchmark file {name!r} is not part of the package and no data home is given. "
            f"Pass data_home= (the folder that holds the file) or set the environment variable "
            f"{ENVIRONMENT_VARIABLE}. load_scanned_digits() and make_domain_shift() need no file."
        )
    path = home / name
    if not path.is_file():
        raise FileNotFoundError(
            f"The benchmark file {name!r} is not in the data home {str(home)!r}. Put it there, or "
            f"point data_home= or the environment variable {ENVIRONMENT_VARIABLE} at the folder "
            "that holds it."
        )
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {key: archive[key] for key in archive.files}
    except (ValueError, OSError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"The benchmark file {str(path)!r} is not a readable .npz archive of plain arrays "
            f"({error}). Damaged files and pickled objects are refused: fetch the file again."
        ) from error
