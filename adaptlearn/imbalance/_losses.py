"""Every task loss, imported so that its name is known."""

from . import asymmetric, class_balanced, focal, ldam, logit_adjusted, regression  # noqa: F401
