"""The answer of `rank_extractors`: a table that says how it is read."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.stats import rankdata

from .._components import did_you_mean
from .._tables import html_table, text_table


class Column(NamedTuple):
    """One column of the table."""

    title: str
    higher_is_better: bool
    digits: int


COLUMNS = {
    "logme": Column("LogME", True, 3),
    "h_score": Column("H-score", True, 3),
    "transrate": Column("TransRate", True, 3),
    "leep": Column("LEEP", True, 3),
    "nce": Column("NCE", True, 3),
    "a_distance": Column("A-distance", False, 2),
    "features": Column("features", False, 0),
    "parameters": Column("parameters", False, 0),
    "ms_per_row": Column("ms per row", False, 3),
}
_COSTS = ("ms_per_row", "parameters", "features")


class ExtractorRanking:
    """Pretrained models, best first; what `adaptlearn.rank_extractors` returns.

    Attributes
    ----------
    names : list of str
        Candidates, best first.
    columns : dict of str to ndarray of shape (n_candidates,)
        "rank" from 1, then the scores and costs, in the order of `names`; NaN where there is none.
    rank_by : list of str
        Columns that decided the rank.

    Examples
    --------
    >>> import numpy as np
    >>> from adaptlearn import rank_extractors
    >>> y = np.arange(60) % 2
    >>> X = np.random.default_rng(0).normal(size=(60, 3)) + y[:, None]
    >>> ranking = rank_extractors({"one": X[:, :1], "three": X}, None, y)
    >>> ranking.best
    'three'
    >>> ranking.columns["features"]
    array([3., 1.])
    """

    def __init__(self, names, columns, rank_by):
        self.names, self.columns, self.rank_by = names, columns, rank_by

    @classmethod
    def of(cls, names, table, rank_by):
        """Ranking of candidates in any order: by the mean of their ranks in some columns."""
        ranks = [_ranks(table[key], COLUMNS[key].higher_is_better) for key in rank_by]
        # The last key counts first. NaN sorts last.
        order = np.lexsort([table["features"], table["ms_per_row"], np.mean(ranks, axis=0)])
        columns = {"rank": np.arange(1, len(names) + 1)}
        columns |= {key: values[order] for key, values in table.items()}
        return cls([names[k] for k in order], columns, list(rank_by))

    @property
    def best(self):
        """Name of the first candidate."""
        return self.names[0]

    @property
    def frame(self):
        """The table as a pandas DataFrame, one row for each candidate."""
        try:
            import pandas as pd
        except ImportError as error:
            raise ImportError(
                "frame needs pandas: pip install pandas. Without it, the columns are arrays in "
                "columns, for the candidates in names."
            ) from error
        return pd.DataFrame(self.columns, index=pd.Index(self.names, name="candidate"))

    def _shown(self):
        return [key for key in COLUMNS if not np.isnan(self.columns[key]).all()]

    def _table(self):
        shown = self._shown()
        titles = ["", "rank", *(COLUMNS[key].title for key in shown)]
        cells = [
            [name, str(k + 1), *(_text(self.columns[key][k], COLUMNS[key].digits) for key in shown)]
            for k, name in enumerate(self.names)
        ]
        return titles, cells

    def _legend(self):
        by = ", ".join(COLUMNS[key].title for key in self.rank_by)
        rule = f"rank: by {by}." if len(self.rank_by) == 1 else f"rank: mean rank by {by}."
        sides = {True: [], False: []}
        for key in self._shown():
            sides[COLUMNS[key].higher_is_better].append(COLUMNS[key].title)
        said = [f"{side} is better: {', '.join(sides[up])}." for side, up in
                (("Higher", True), ("Lower", False)) if sides[up]]  # fmt: skip
        return [rule, *said]

    def __repr__(self):
        return "\n".join([text_table(*self._table()), "", *self._legend()])

    __str__ = __repr__

    def _repr_html_(self):
        return html_table(*self._table(), caption=" ".join(self._legend()))

    def plot(self, *, score="logme", cost=None, ax=None):
        """Draw what each candidate costs against how it scores; points carry their ranks.

        Parameters
        ----------
        score : str, default="logme"
            Column on the vertical axis.
        cost : str, default=None
            Column on the horizontal axis; None is the first of "ms_per_row", "parameters" and
            "features" that is known of every candidate.
        ax : matplotlib Axes, default=None
            None makes a figure.

        Returns
        -------
        matplotlib Axes
        """
        import matplotlib.pyplot as plt

        if cost is None:
            known = [key for key in _COSTS if np.isfinite(self.columns[key]).all()]
            cost = known[0]
        for name, key in (("score", score), ("cost", cost)):
            if key not in COLUMNS:
                raise ValueError(f"{name}={key!r} is not known; {did_you_mean(key, COLUMNS)}")
            if np.isnan(self.columns[key]).all():
                raise ValueError(f"{name}={key!r} is not known of any candidate; give another.")
        if ax is None:
            ax = plt.subplots(layout="constrained")[1]
        x, y = self.columns[cost], self.columns[score]
        for rank, name in enumerate(self.names, 1):
            place = x[rank - 1], y[rank - 1]
            if np.isfinite(place).all():
                ax.scatter(*place, zorder=3, label=f"{rank}  {name}")
                ax.annotate(str(rank), place, xytext=(5, 5), textcoords="offset points")
        if np.nanmin(x) > 0:
            ax.set_xscale("log")
        axes = (("x", cost), ("y", score))
        ax.set(**{f"{axis}label": _axis_title(key) for axis, key in axes})
        ax.margins(0.1)
        ax.grid(alpha=0.3)
        ax.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
        return ax


def _ranks(values, higher_is_better):
    """Ranks from 1, equal values sharing theirs; NaN comes last."""
    cost = -values if higher_is_better else values
    return rankdata(np.where(np.isnan(cost), np.inf, cost))


def _text(value, digits):
    if np.isnan(value):
        return "-"
    return f"{value:,.0f}" if digits == 0 else f"{value:.{digits}f}"


def _axis_title(key):
    side = "higher" if COLUMNS[key].higher_is_better else "lower"
    return f"{COLUMNS[key].title} ({side} is better)"
