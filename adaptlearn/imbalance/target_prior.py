"""Class proportions of an unlabelled target whose columns moved as well."""

from __future__ import annotations

import numpy as np
import torch

_KERNEL_SCALES = (0.125, 0.25, 0.5, 1.0)


def estimate_target_prior(
    X_source, codes, X_target, n_classes, *, shrinkage=0.1, floor=1e-3, clip=3.0, n_steps=60,
    learning_rate=0.15,
):  # fmt: skip
    r"""Estimate class proportions q of target rows under an affine shift of every column.

    If the target is standardised by its own mean and scale, it matches the source standardised by
    the mean and scale of *source rows re-weighted to the target's class proportions*: the plain
    source statistics belong to other proportions. So q is found as the proportions under which
    both standardised samples agree best,

    .. math::
        \min_q \; \mathrm{MMD}^2\big(\{z_i(q), q_{y_i} / n_{y_i}\}, \{z_t\}\big)
        + \eta\, \mathrm{KL}(q \,\Vert\, p)

    with :math:`z_i(q)` source rows standardised with weights :math:`q_{y_i} / n_{y_i}`, p the
    source's proportions and :math:`\eta` the shrinkage towards them. Both samples are compared in
    the n_classes directions of a class-balanced ridge regression of the labels, with Gaussian
    kernels at four widths around the mean squared distance of target rows. Solved by Adam on the
    logits of q.

    Parameters
    ----------
    X_source, X_target : ndarrays of shape (n, d)
        Some hundred rows of each side suffice; time grows with their squares.
    codes : ndarray of shape (n_source,)
        Class codes.
    n_classes : int
    shrinkage : float, default=0.1
        :math:`\eta`, >= 0.
    floor : float, default=0.001
        Scales are at least this share of the pooled scale of a column.
    clip : float or None, default=3.0
        Standardised values are clipped to [-clip, clip].
    n_steps : int, default=60
    learning_rate : float, default=0.15

    Returns
    -------
    ndarray of shape (n_classes,)
        Sums to 1; a class with fewer than two source rows gets 0.

    References
    ----------
    Zhang et al., "Domain adaptation under target and conditional shift", 2013 (kernel matching of
    re-weighted, affinely moved source rows).

    Examples
    --------
    >>> import numpy as np
    >>> from adaptlearn.imbalance import estimate_target_prior
    >>> rng = np.random.default_rng(0)
    >>> codes = np.arange(400) % 2
    >>> X_source = rng.normal(size=(400, 2)) + 4 * codes[:, None]
    >>> target_codes = (np.arange(400) % 10 > 0).astype(int)  # nine in ten are of class 1
    >>> X_target = 5 * (rng.normal(size=(400, 2)) + 4 * target_codes[:, None]) + 30
    >>> q = estimate_target_prior(X_source, codes, X_target, 2)
    >>> bool(0.8 < q[1] < 0.95)
    True
    """
    counts = np.bincount(codes, minlength=n_classes)
    p = torch.from_numpy(counts / counts.sum()).float()
    xs = torch.from_numpy(np.asarray(X_source, dtype=np.float32))
    xt = torch.from_numpy(np.asarray(X_target, dtype=np.float32))
    y = torch.from_numpy(np.asarray(codes))
    floor = floor * ((xs.var(0, correction=0) + xt.var(0, correction=0)) / 2).sqrt() + 1e-12

    def standardise(x, weight):
        mean = weight @ x
        scale = (weight @ (x - mean).square() + 1e-12).sqrt()
        z = (x - mean) / torch.maximum(scale, floor)
        return z if clip is None else z.clamp(-clip, clip)

    # Directions fit the rows they were found on better than any other row. So they come from one
    # half of each class, and the other half is compared with the target.
    half = _every_other_row(y)
    found_on, y = y[half], y[~half]
    zs = standardise(xs[half], torch.full((len(found_on),), 1.0 / len(found_on)))
    directions = _ridge_directions(zs, found_on, n_classes)
    xs, per_row = xs[~half], _one_over_counts(y, n_classes)
    target = standardise(xt, torch.full((len(xt),), 1.0 / len(xt))) @ directions
    distances = _squared_distances(target, target)
    width = 2.0 * distances.mean().clamp_min(1e-12)
    within_target = _kernel(distances, width).mean()
    present = torch.bincount(y, minlength=n_classes) > 0
    logits = p.clamp_min(1e-12).log().requires_grad_()
    optimizer = torch.optim.Adam([logits], lr=learning_rate)
    for _ in range(n_steps):
        q = torch.softmax(logits.masked_fill(~present, -torch.inf), 0)
        w = q[y] * per_row
        source = standardise(xs, w) @ directions
        within = w @ _kernel(_squared_distances(source, source), width) @ w
        cross = (w @ _kernel(_squared_distances(source, target), width)).mean()
        divergence = torch.special.xlogy(q[present], q[present] / p[present]).sum()
        loss = within + within_target - 2 * cross + shrinkage * divergence
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    q = torch.softmax(logits.detach().masked_fill(~present, -torch.inf).double(), 0)
    return q.numpy()


def _every_other_row(y):
    """Bool mask of the first, third, fifth ... row of each class."""
    order = torch.argsort(y, stable=True)
    counts = torch.bincount(y)
    place = torch.arange(len(y)) - (counts.cumsum(0) - counts)[y[order]]
    chosen = torch.empty(len(y), dtype=torch.bool)
    chosen[order] = place % 2 == 0
    return chosen


def _one_over_counts(y, n_classes):
    """For each row, one over the number of rows of its class."""
    return 1.0 / torch.bincount(y, minlength=n_classes)[y]


def _ridge_directions(z, y, n_classes):
    """Class-balanced ridge regression of the one-hot labels on `z`, scaled to unit outputs."""
    weight = _one_over_counts(y, n_classes)
    weight = weight / weight.sum()
    labels = torch.nn.functional.one_hot(y, n_classes).to(z.dtype)
    root = weight.sqrt()[:, None]
    a, b = (z - weight @ z) * root, (labels - weight @ labels) * root
    n, d = a.shape
    if d <= n:
        gram = a.T @ a
        gram.diagonal().add_(gram.trace() / d + 1e-12)
        found = torch.linalg.solve(gram, a.T @ b)
    else:
        gram = a @ a.T
        gram.diagonal().add_(gram.trace() / n + 1e-12)
        found = a.T @ torch.linalg.solve(gram, b)
    return found / (z @ found).std(0, correction=0).mean().clamp_min(1e-12)


def _squared_distances(a, b):
    cross = a.square().sum(1)[:, None] + b.square().sum(1)[None] - 2 * a @ b.T
    return cross.clamp_min(1e-6)


def _kernel(distances, width):
    return sum(torch.exp(-distances / (width * s)) for s in _KERNEL_SCALES) / len(_KERNEL_SCALES)
