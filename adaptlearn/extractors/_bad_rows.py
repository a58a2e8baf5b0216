"""Rows that cannot be read: the first one raises, or all are left out and named in one warning."""

from __future__ import annotations

import os
import warnings


class BadRows:
    """Complaints about rows of one pass over the data.

    Parameters
    ----------
    what : str
        What a row should be, with its article ("an image").
    errors : {"raise", "skip"}
    advice : str
        What to do about it, for the error message.
    """

    def __init__(self, what, errors, advice="errors='skip' gives a row of NaN instead."):
        self.what, self.errors, self.advice = what, errors, advice
        self._texts = {}

    def add(self, number, row, error):
        """Note that row `number` of X cannot be read; raises unless such rows are skipped."""
        name = f" ({str(row)!r})" if isinstance(row, (str, os.PathLike)) else ""
        text = f"row {number} of X{name} cannot be read as {self.what}: {error}"
        if self.errors == "raise":
            raise ValueError(f"{text}. {self.advice}") from error
        self._texts[number] = text

    def warn(self):
        """One warning that names the rows; none where all could be read."""
        if not self._texts:
            return
        some = "; ".join(list(self._texts.values())[:3])
        others = ", ".join(map(str, list(self._texts)[3:]))
        more = f" (and rows {others})" if others else ""
        noun, n = self.what.split(" ", 1)[1], len(self._texts)
        counted = f"1 {noun} is" if n == 1 else f"{n} {noun}s are"
        warnings.warn(
            f"{counted} left out, as rows of NaN: {some}{more}.",
            UserWarning,
            stacklevel=2,
        )
