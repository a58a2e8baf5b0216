"""EWC: hold each weight as firmly as earlier domains depend on it."""

from __future__ import annotations

from numbers import Integral

import torch
from torch.func import functional_call, grad, vmap
from torch.utils._pytree import tree_map

from .._compat import Interval, StrOptions
from .._components import register
from .base import Regularization, evaluating, forget, parameters_of

# Rows whose gradients are computed at once, and numbers that these may take: 256 MiB in float32.
_MOST_ROWS, _MOST_NUMBERS = 128, 2**26


@register("regularization", "ewc")
class EWC(Regularization):
    r"""Elastic weight consolidation: a spring on each weight, stiff where earlier domains need it.

    .. math::
        \frac{\lambda}{2} \sum_t \sum_j F^t_j (w_j - w^t_j)^2, \qquad
        F^t_j = \frac{1}{n} \sum_i \sum_k p_{ik}
        \left(\frac{\partial \log p_{ik}}{\partial w_j}\right)^2

    over earlier calls t, with :math:`w^t` the weights at the end of call t and :math:`F^t` the
    diagonal of the Fisher information on its labelled rows. In regression p is a Gaussian of
    variance 1 around the output.

    Parameters
    ----------
    weight : float, default=30.0
        :math:`\lambda`, >= 0. Worth a grid from 10 to 1000: the right one depends on the network.
    fisher : {"exact", "empirical"}, default="exact"
        "exact" takes the expectation over the classes, as above; "empirical" the squared gradient
        of the task loss at the given labels, which costs one backward pass a row in place of one
        for each class, and says little once the network fits its rows.
    max_samples : int, default=1000
        Rows of a call that the information is estimated on, at most, >= 1.

    Notes
    -----
    The sum over earlier calls is one spring for each weight, so that memory is two copies of the
    network however many calls there were. No row is kept. It acts from the second call on, as a
    pretrained backbone comes without the rows it was trained on.

    Gradients by row are computed together. A network that ``torch.func.vmap`` cannot handle takes
    one pass a row.

    References
    ----------
    Kirkpatrick et al., "Overcoming catastrophic forgetting in neural networks", 2017, eq. 3;
    Huszár, "Note on the quadratic penalties in elastic weight consolidation", 2018.

    Examples
    --------
    >>> from adaptlearn import EWC
    >>> EWC(weight=1000.0)
    EWC(weight=1000.0)
    """

    needs_earlier_call = True

    _parameter_constraints = {
        **Regularization._parameter_constraints,
        "fisher": [StrOptions({"exact", "empirical"})],
        "max_samples": [Interval(Integral, 1, None, closed="left")],
    }

    def __init__(self, weight=30.0, fisher="exact", max_samples=1000):
        self.weight = weight
        self.fisher = fisher
        self.max_samples = max_samples

    def start(self, network, batches=None, loss_fn=None, shared=None):
        """Bring what is known of earlier calls to where the network is."""
        held = parameters_of(network, getattr(self, "precision_", {}))
        self.springs_ = {
            name: (self.precision_[name].to(p), self.center_[name].to(p))
            for name, p in held.items()
        }

    def loss(self, network, outputs):
        """Energy of the springs."""
        total = outputs.logits.sum() * 0.0
        for name, p in parameters_of(network, self.springs_).items():
            precision, center = self.springs_[name]
            total = total + (precision * (p - center).square()).sum()
        return self.weight / 2 * (total + getattr(self, "slack_", 0.0))

    def finish(self, network, batches=None, loss_fn=None):
        """Add the springs of this call."""
        forget(self, "springs_")
        information = self._information(network, batches, loss_fn)
        precision, center = getattr(self, "precision_", {}), getattr(self, "center_", {})
        precision, center, slack = {**precision}, {**center}, getattr(self, "slack_", 0.0)
        for name, new in information.items():
            at = network.get_parameter(name).detach().cpu()
            old, old_at = precision.get(name, torch.zeros_like(new)), center.get(name, at)
            total = old + new
            # Two springs on a weight are one spring between them, and what they pull at each other.
            share = new / total.clamp_min(torch.finfo(total.dtype).tiny)
            slack += float((old * share * (at - old_at).square()).double().sum())
            precision[name], center[name] = total, torch.lerp(old_at, at, share)
        self.precision_, self.center_, self.slack_ = precision, center, slack

    def _information(self, network, batches, loss_fn):
        """Diagonal of the Fisher information by parameter, on the CPU."""
        params = {k: p.detach() for k, p in network.named_parameters() if p.requires_grad}
        rest = {k: p.detach() for k, p in network.named_parameters() if k not in params}
        rest |= dict(network.named_buffers())
        sums = {name: torch.zeros_like(p) for name, p in params.items()}
        size = max(1, sum(p.numel() for p in params.values()))
        step = min(_MOST_ROWS, max(1, _MOST_NUMBERS // size))
        n, together = 0, True
        with evaluating(network):
            for x, y, ((domain, _, _),) in batches:
                rows = min(len(y), self.max_samples - n)
                log_likelihood = self._log_likelihood(network, rest, domain, loss_fn, y)
                for first in range(0, rows, step):
                    part = slice(first, min(first + step, rows))
                    x_part = tree_map(lambda t: t[part], x)  # noqa: B023
                    for outcome, share in self._outcomes(network, x_part, y[part], domain):
                        given = params, x_part, outcome
                        together = _add_squares(sums, log_likelihood, given, share, together)
                n += rows
                if n >= self.max_samples:
                    break
        return {name: (total / n).cpu() for name, total in sums.items()}

    def _log_likelihood(self, network, rest, domain, loss_fn, y):
        """Function of the parameters, one row and its outcome, to be differentiated."""

        def value(params, x, outcome):
            one = tree_map(lambda t: t[None], x)
            segments = [(domain, 0, 1)]
            logits = functional_call(network, {**params, **rest}, (one, segments))[1]
            if self.fisher == "empirical":
                return loss_fn(logits, outcome[None]).sum()
            if y.is_floating_point():
                return logits.sum()
            return logits.log_softmax(1)[0].gather(0, outcome[None]).sum()

        return value

    @torch.no_grad()
    def _outcomes(self, network, x, y, domain):
        """Pairs of an outcome for each row and its probability."""
        if self.fisher == "empirical" or y.is_floating_point():
            yield y, torch.ones(len(y), device=y.device)
            return
        p = network(x, [(domain, 0, len(y))])[1].softmax(1)
        for k in range(p.shape[1]):
            yield torch.full_like(y, k), p[:, k]


def _add_squares(sums, function, given, share, together):
    """Add the squared gradients of each row, times its share, to `sums`.

    Returns whether the rows of the network can be taken together (do not try again if not).
    """
    gradient, (params, x, outcome) = grad(function), given
    if together:
        try:
            by_row = vmap(gradient, in_dims=(None, 0, 0))(params, x, outcome)
        except RuntimeError:  # what the network does depends on the data
            together = False
    if together:
        for name, g in by_row.items():
            sums[name] += torch.tensordot(share.to(g), g.square(), dims=1)
        return True
    for i, p in enumerate(share):
        one = tree_map(lambda t: t[i], (x, outcome))  # noqa: B023
        for name, g in gradient(params, *one).items():
            sums[name] += p * g.square()
    return False
