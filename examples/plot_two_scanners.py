"""
From one scanner to another
===========================

Digits scanned on a clean scanner carry labels. The digits we have to read came from another
scanner: slanted, grey, blurred, and with other class proportions. No label exists there.

A classifier that is trained on the first scanner alone reads the second one badly. Domain
adaptation trains on both, using no label of the target.
"""

# %%
# Two sides, no labels on the target
# ----------------------------------
import matplotlib.pyplot as plt
import numpy as np
from sklearn.metrics import accuracy_score

from adaptlearn import DomainAdaptationClassifier
from adaptlearn.datasets import load_scanned_digits

X_source, y_source, X_target, y_target = load_scanned_digits()

figure, axes = plt.subplots(2, 8, figsize=(8, 2.2), layout="constrained")
for row, images, name in zip(axes, (X_source, X_target), ("source", "target"), strict=True):
    for ax, image in zip(row, images, strict=False):
        ax.imshow(image.reshape(8, 8), cmap="gray_r", vmin=0, vmax=16)
        ax.set(xticks=[], yticks=[])
    row[0].set_ylabel(name)

# %%
# Source only, and adapted
# ------------------------
# The first network never sees a target row. The second is the default: it is fitted on both sides.
source_only = DomainAdaptationClassifier(alignment=None, normalize="source", random_state=0)
source_only.fit(X_source, y_source, X_target=X_target)

adapted = DomainAdaptationClassifier(random_state=0)
adapted.fit(X_source, y_source, X_target=X_target)

accuracy = {
    "source only": accuracy_score(y_target, source_only.predict(X_target)),
    "adapted": accuracy_score(y_target, adapted.predict(X_target)),
}
for name, value in accuracy.items():
    print(f"{name:<12} {value:.3f}")

# %%
# What the network sees
# ---------------------
# The features of both sides in the two leading discriminant directions of the source: dots are
# source rows, crosses target rows, colours are digits.
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

figure, axes = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
for ax, name, model in zip(axes, accuracy, (source_only, adapted), strict=True):
    features = model.transform(X_source, sample_domain="source"), model.transform(X_target)
    plane = LinearDiscriminantAnalysis(n_components=2).fit(features[0], y_source)
    for block, y, marker in zip(features, (y_source, y_target), "ox", strict=True):
        ax.scatter(*plane.transform(block).T, c=y, cmap="tab10", marker=marker, s=10, alpha=0.5)
    ax.set(title=f"{name}: {accuracy[name]:.2f}", xticks=[], yticks=[])
plt.show()

assert accuracy["adapted"] > accuracy["source only"] + 0.05
assert np.isfinite(adapted.predict_proba(X_target)).all()
