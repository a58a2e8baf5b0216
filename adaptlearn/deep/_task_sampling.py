"""Batches in which every task has labels."""

from __future__ import annotations

import torch

# Fractions of multiples of the golden ratio leave no gaps, wherever one starts and stops.
_GOLDEN = (5**0.5 - 1) / 2


class TaskSampler:
    r"""Rows with a label of a rare task more often, so that batches hold labels of every task.

    Half of the draws go to all rows alike, the other half to all tasks alike, and within a task to
    its labelled rows alike:

    .. math::
        p_j = \frac{1}{2} \Big( \frac1n + \frac1T \sum_t \frac{k_{jt}}{n_t} \Big)

    with :math:`k_{jt}` 1 where row j has a label of task t, and :math:`n_t` their number. Losses
    are divided by how often their row is drawn: what is learned stays the same, with less noise in
    the gradient of a task with few labels.

    Parameters
    ----------
    known : Tensor of shape (n_rows, n_tasks), bool
    """

    def __init__(self, known):
        known = known.double()
        share = known / known.sum(0).clamp_min(1)
        self.probability = (1 / len(known) + share.mean(1)) / 2
        self.probability /= self.probability.sum()

    def draw(self, n_draws, generator, progress=0.0):
        """Row numbers of one epoch, int64 of shape (n_draws,)."""
        # A fresh order each epoch: the same rows would meet in a batch time and again.
        order = torch.randperm(len(self.probability), generator=generator)
        start = torch.rand(1, generator=generator, dtype=torch.float64)
        place = torch.arange(n_draws, dtype=torch.float64).mul_(_GOLDEN).add_(start).frac_()
        row = torch.searchsorted(self.probability[order].cumsum(0), place, right=True)
        return order[row.clamp_(max=len(order) - 1)]

    def rate(self, progress=0.0):
        """How often each row is drawn, mean 1 over the rows."""
        return self.probability * len(self.probability)


def balance_tasks(data):
    """`TrainingSet` whose labelled rows are drawn by a `TaskSampler`; itself if no label misses."""
    known = ~data.y[data.labelled].isnan()
    if known.all():
        return data
    sampler = TaskSampler(known.cpu())
    rate = sampler.rate().to(data.weight)
    task_weight, weight = data.task_weight.clone(), data.weight.clone()
    task_weight[data.labelled] /= rate[:, None]
    weight[data.labelled] /= rate  # alignments compare the rows as they are
    return data._replace(sampler=sampler, task_weight=task_weight, weight=weight)
