"""
Write your own alignment loss
=============================

An alignment is one small class with one method. Subclass :class:`adaptlearn.Alignment`, write
``loss``, and use it like any other: by object, by its registered name, in a list, in a grid.
"""

# %%
# Central moments (CMD)
# ---------------------
# The central moment discrepancy (Zellinger et al., 2017) compares means and higher central moments
# of the two sides. Features are squashed to (0, 1) first, because high moments of unbounded
# features explode.
import matplotlib.pyplot as plt

from adaptlearn import Alignment, DomainAdaptationClassifier, register
from adaptlearn.datasets import load_scanned_digits


@register("alignment", "cmd")
class CentralMoments(Alignment):
    """Distance between the central moments of the two sides, up to a given order."""

    def __init__(self, order=5, weight=1.0):
        self.order = order
        self.weight = weight

    def loss(self, source, target, step, net):
        s, t = source.features.sigmoid(), target.features.sigmoid()
        total = (s.mean(0) - t.mean(0)).norm()
        s, t = s - s.mean(0), t - t.mean(0)
        for k in range(2, self.order + 1):
            total = total + ((s**k).mean(0) - (t**k).mean(0)).norm()
        return total


# %%
# It is a scikit-learn object: it has parameters, can be cloned, and is reached by name.
clf = DomainAdaptationClassifier(normalize="source", max_epochs=15, random_state=0)
clf.set_params(alignment="cmd", alignment__order=3)

# %%
# How strong?
# -----------
# We follow the loss over the epochs for three weights. A larger weight brings the moments together.
X_source, y_source, X_target, y_target = load_scanned_digits()
figure, ax = plt.subplots(layout="constrained")
final = {}
for weight in (0.0, 1.0, 10.0):
    clf.set_params(alignment__weight=weight).fit(X_source, y_source, X_target=X_target)
    moments = [record["cmd_loss"] for record in clf.history_]
    final[weight] = moments[-1]
    ax.plot(moments, label=f"weight {weight:g}: accuracy {clf.score(X_target, y_target):.2f}")
ax.set(xlabel="epoch", ylabel="moment distance", yscale="log")
ax.legend()
plt.show()

assert final[10.0] < final[0.0]
