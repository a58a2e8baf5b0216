"""Generated short texts of two channels, some of them spam."""

from itertools import pairwise

import numpy as np
from sklearn.utils import check_random_state

from ._synthetic import _check_sizes, _labels

# Who says what: words of both channels, then of comments and of messages, ham before spam.
_EVERYONE = (
    "i you the a to it is and my for me this that so of in on have just not but was we all"
).split()
_BY_CLASS = (
    "good think know time really why day love haha never people old".split(),
    "free win now click money online www http com offer new check".split(),
)
_CHANNELS = (
    {
        "all": "video song views watch million youtube comment guys please like listen".split(),
        "ham": "beautiful voice remember dance lyrics awesome best childhood great amazing".split(),
        "spam": "subscribe channel follow facebook page rapper cover support share visit".split(),
    },
    {
        "all": "ur call u 2 msg phone pls today tomorrow number im".split(),
        "ham": "ok later home lunch sorry dinner coming wat lor meet sleep mum".split(),
        "spam": "txt claim prize urgent cash reply mobile award guaranteed tone 150p".split(),
    },
)
# Shares of the words of a text, by where they are from.
_FROM = {"everyone": 0.38, "class": 0.12, "channel": 0.3, "both": 0.2}


def make_spam_texts(
    n_source=1000, n_target=1500, *, source_spam=0.5, target_spam=0.13, random_state=None
):
    """Make comments and text messages, some of them spam.

    A stand-in for :func:`load_spam`, whose files may not be at hand: the source are comments under
    videos, half of them spam, the target are text messages with a share of spam of their own. Both
    shifts come at once. Each channel has words of its own, spam of the two channels has some in
    common, and so has what is not spam. The texts make no sense.

    Parameters
    ----------
    n_source, n_target : int, default=1000 and 1500
        Texts of each side.
    source_spam, target_spam : float, default=0.5 and 0.13
        Share of spam on each side, in [0, 1].
    random_state : int, RandomState or None, default=None
        Makes the call repeatable.

    Returns
    -------
    texts_source : array of shape (n_source,), str objects
    y_source : array of shape (n_source,)
        0 (ham) or 1 (spam).
    texts_target : array of shape (n_target,), str objects
    y_target : array of shape (n_target,)
        For evaluation.

    Raises
    ------
    ValueError
        On sizes below 1 or shares outside [0, 1].

    Examples
    --------
    >>> from adaptlearn.datasets import make_spam_texts
    >>> texts, y, messages, y_target = make_spam_texts(4, 100, random_state=2)
    >>> int(y.sum()), int(y_target.sum())
    (2, 13)
    >>> messages[y_target == 1][0]
    'that online we new ur click tomorrow tone phone txt'
    """
    _check_sizes(n_source=n_source, n_target=n_target)
    rng = check_random_state(random_state)
    sides = []
    for name, n, spam, channel, length in (
        ("source_spam", n_source, source_spam, 0, 14),
        ("target_spam", n_target, target_spam, 1, 12),
    ):
        if not 0 <= spam <= 1:
            raise ValueError(f"{name}={spam!r} is not a share: give a number from 0 to 1.")
        y = _labels(n, np.array([1 - spam, spam]), rng)
        sides += [_write(y, channel, length, rng), y]
    return tuple(sides)


def _write(y, channel, length, rng):
    """One text per label, of 3 words and more."""
    stops = np.cumsum(3 + rng.poisson(length - 3, size=len(y)))
    y_word = np.repeat(y, np.diff(stops, prepend=0))
    words = np.empty(len(y_word), dtype=object)
    origin = rng.choice(len(_FROM), size=len(words), p=list(_FROM.values()))
    own = _CHANNELS[channel]
    for label in (0, 1):
        vocabularies = _EVERYONE, _BY_CLASS[label], own["all"], own[("ham", "spam")[label]]
        for k, vocabulary in enumerate(vocabularies):
            rows = (y_word == label) & (origin == k)
            words[rows] = rng.choice(np.array(vocabulary, dtype=object), size=rows.sum())
    texts = [" ".join(words[a:b]) for a, b in pairwise([0, *stops])]
    return np.array(texts, dtype=object)
