"""
Learning without forgetting
===========================

Digits arrive from one scanner after the other, and each is turned a little further. A model that
goes on learning reads the newest scanner well and forgets the oldest. How much is forgotten can be
read off one matrix, and there are several ways to forget less.
"""

# %%
# Three scanners
# --------------
# Digits upright, turned by 35 degrees, and by 70. Half of the rows of each are for testing.
import matplotlib.pyplot as plt
import numpy as np
from scipy.ndimage import rotate
from sklearn.datasets import load_digits

from adaptlearn import EWC, DomainAdaptationClassifier
from adaptlearn.metrics import forgetting_matrix, forgetting_report

images, y = load_digits(return_X_y=True)
images = images.reshape(-1, 8, 8)
part = np.random.default_rng(0).permutation(len(y)) % 6  # three scanners, each to train and to test
angles, train, test = (0, 35, 70), [], []
for k, angle in enumerate(angles):
    X = rotate(images, angle, axes=(1, 2), reshape=False, order=1).reshape(-1, 64)
    for domains, rows in ((train, part == 2 * k), (test, part == 2 * k + 1)):
        domains.append((X[rows], y[rows]))

figure, axes = plt.subplots(3, 8, figsize=(7, 3), layout="constrained")
for row, (X, _), angle in zip(axes, train, angles, strict=True):
    for ax, image in zip(row, X, strict=False):
        ax.imshow(image.reshape(8, 8), cmap="gray_r", vmin=0, vmax=16)
        ax.set(xticks=[], yticks=[])
    row[0].set_ylabel(f"{angle}°")

# %%
# Plain training forgets
# ----------------------
# ``warm_start=True`` lets each ``fit`` go on from the last one. Row i of the matrix holds the
# accuracy on every scanner after learning scanner i.
settings = {
    "alignment": None, "normalize": "source", "hidden_layer_sizes": (128,), "dropout": 0.0,
    "learning_rate": 3e-3, "max_epochs": 20, "warm_start": True, "random_state": 0,
}  # fmt: skip
plain = DomainAdaptationClassifier(**settings)
matrix = forgetting_matrix(plain, train, test_domains=test)
print(forgetting_report(matrix, baseline=0.1, names=["0°", "35°", "70°"]))

# %%
# Ways to forget less
# -------------------
# L2-SP, LwF and EWC keep no row: they hold on to weights, to answers, or to the weights that
# matter. Rehearsal keeps some rows, here 100, as many of each digit.
ways = {
    "plain": {},
    "L2-SP": {"regularization": "l2_sp"},
    "LwF": {"regularization": "lwf"},
    "EWC": {"regularization": "ewc"},
    "rehearsal": {"rehearsal": 100},
    "rehearsal + EWC": {"rehearsal": 100, "regularization": EWC(weight=3.0)},
}
reports = {"plain": forgetting_report(matrix)}
for name, way in ways.items():
    if name not in reports:
        clf = DomainAdaptationClassifier(**settings, **way)
        reports[name] = forgetting_report(forgetting_matrix(clf, train, test_domains=test))
print(f"{'':<17}{'average':>9}{'forgetting':>12}")
for name, report in reports.items():
    print(f"{name:<17}{report.average:>9.3f}{report.forgetting:>12.3f}")

# %%
# What is left of the first scanner
# ---------------------------------
figure, ax = plt.subplots(figsize=(7, 4), layout="constrained")
for name, report in reports.items():
    ax.plot(range(3), report.matrix[:, 0], marker="o", label=name)
ax.set(
    xticks=range(3), xticklabels=[f"after {angle}°" for angle in angles],
    ylabel="accuracy on upright digits", ylim=(0, 1),
)  # fmt: skip
ax.legend()
ax.grid(alpha=0.3)
plt.show()

assert all(
    reports[name].forgetting < reports["plain"].forgetting for name in ways if name != "plain"
)
