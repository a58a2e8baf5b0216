"""Rows that cannot be read: the first one raises, or all are left out and named in one warning."""

from __future__ import annotations

import os
import warnings

_ADVICE = "Leave it out; or errors='skip' makes transform give a row of NaN instead."
NEED_ALL = "Training and predicting need every row: leave it out."


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

    def __init__(self, what, errors, advice=_ADVICE):
        self.what, self.errors, self.advice = what, errors, advice
        self.digests = []  # of all rows
        self._texts = {}

    def add(self, number, row, error):
        """Note that row `number` of X cannot be read; raises unless such rows are skipped."""
        name = f" ({str(row)!r})" if isinstance(row, (str, os.PathLike)) else ""
        text = f"row {number} of X{name} cannot be read as {self.what}: {error}"
        if self.errors == "raise":
            raise ValueError(f"{text}. {self.advice}") from error
        self._texts[int(number)] = text

    def warn(self):
        """One warning that names the rows, duplicates too; none where all could be read."""
        if not self._texts:
            return
        bad = {self.digests[number] for number in self._texts} - {None}
        same = {number for number, digest in enumerate(self.digests) if digest in bad}
        numbers = sorted(same.union(self._texts))
        told = sorted(self._texts)[:3]
        some = "; ".join(self._texts[number] for number in told)
        others = ", ".join(str(number) for number in numbers if number not in told)
        more = f" (and rows {others})" if others else ""
        noun, n = self.what.split(" ", 1)[1], len(numbers)
        counted = f"1 {noun} is" if n == 1 else f"{n} {noun}s are"
        warnings.warn(
            f"{counted} left out, as rows of NaN: {some}{more}.",
            UserWarning,
            stacklevel=2,
        )


class BadRowsMixin:
    """Bad rows of one call of ``transform`` in one `BadRows`, for an extractor with ``errors=``.

    Subclasses name what a row should be, `_a_row`, and give the digest of one row, `_digest`.
    """

    _bad = None  # of a call; an extractor itself has none

    def _embed(self, rows, cache):
        # Calls may run at the same time, and change nothing of `self`: each has an object of its
        # own. (`copy` would go through the pickled state and copy the module.)
        call = object.__new__(type(self))
        vars(call).update(vars(self), _bad=BadRows(self._a_row, self.errors))
        features = super(BadRowsMixin, call)._embed(rows, cache)
        call._bad.warn()
        return features

    def _digests(self, rows):
        bad = self._bad or BadRows(self._a_row, self.errors)
        for number, row in enumerate(rows):
            try:
                bad.digests.append(self._digest(row))
            except Exception as error:  # decoders raise many kinds
                bad.add(number, row, error)
                bad.digests.append(None)
        return bad.digests
