"""Data to adapt on: embedded, generated, and loaders of public benchmarks from a data home.

Embedded and generated sets need no file. The loaders look for theirs in ``data_home=`` or in the
folder that the environment variable ``ADAPTLEARN_DATA`` names, and never unpickle.
"""

from ._home import get_data_home
from ._label_shift import make_label_shift
from ._loaders import (
    domain_pair,
    load_amazon_bow,
    load_amazon_reviews,
    load_digits_domains,
    load_gas_drift,
    load_heart,
    load_office31_features,
    load_office31_images,
    load_office_caltech_surf,
    load_spam,
    load_spoken_digits,
    load_wine_quality,
)
from ._scanned import SCANNER, TARGET_WEIGHTS, load_scanned_digits, scan
from ._synthetic import make_domain_shift, make_shifted_blobs
from ._texts import make_spam_texts

__all__ = [
    "SCANNER",
    "TARGET_WEIGHTS",
    "domain_pair",
    "get_data_home",
    "load_amazon_bow",
    "load_amazon_reviews",
    "load_digits_domains",
    "load_gas_drift",
    "load_heart",
    "load_office31_features",
    "load_office31_images",
    "load_office_caltech_surf",
    "load_scanned_digits",
    "load_spam",
    "load_spoken_digits",
    "load_wine_quality",
    "make_domain_shift",
    "make_label_shift",
    "make_shifted_blobs",
    "make_spam_texts",
    "scan",
]
