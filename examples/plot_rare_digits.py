"""
Rare digits from another scanner
================================

Most of what we learn from are zeros and ones; of the nines there are four. The digits to read come
from another scanner, and there nines are no rarer than zeros. What brings the rare classes back?
"""

# %%
# A long tail
# -----------
# The source keeps 80 zeros, and fewer of each further digit, down to 4 nines.
from collections import Counter

import matplotlib.pyplot as plt
import numpy as np
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import balanced_accuracy_score, recall_score

from adaptlearn import DomainAdaptationClassifier, HeadRetrainer
from adaptlearn.datasets import load_scanned_digits
from adaptlearn.metrics import domain_report, shot_accuracy

X_source, y_source, X_target, y_target = load_scanned_digits()
kept = np.geomspace(80, 4, 10).astype(int)
rows = np.sort(np.concatenate([np.flatnonzero(y_source == k)[: kept[k]] for k in range(10)]))
X_source, y_source = X_source[rows], y_source[rows]
counts = Counter(y_source.tolist())
print("source:", dict(sorted(counts.items())))
print("target:", dict(sorted(Counter(y_target.tolist()).items())))

# %%
# Five ways
# ---------
# The default knows that proportions may differ, but it draws rows as they come.
# ``sampling="balanced"`` draws every class equally often; ``target_sampling="pseudo_balanced"``
# does so on the target, by the labels that the network gives its rows at the moment.
# ``criterion="logit_adjusted"`` corrects within the loss. `HeadRetrainer` leaves the fitted network
# alone and trains a new last layer on balanced batches.
settings = {
    "default": {},
    "logit_adjusted": {"criterion": "logit_adjusted"},
    "balanced": {"sampling": "balanced"},
    "balanced, both sides": {"sampling": "balanced", "target_sampling": "pseudo_balanced"},
}
models = {
    name: DomainAdaptationClassifier(random_state=0, **parameters).fit(
        X_source, y_source, X_target=X_target
    )
    for name, parameters in settings.items()
}
head = HeadRetrainer(FrozenEstimator(models["default"]), random_state=0)
models["default, new head"] = head.fit(X_source, y_source)
predicted = {name: model.predict(X_target) for name, model in models.items()}

# %%
# Many, some and few rows
# -----------------------
# Overall accuracy hardly shows it, so classes are grouped by how many rows they had: more than 40,
# 10 to 40, fewer than 10.
print(f"{'':<22}{'many':>7}{'some':>7}{'few':>7}{'balanced':>10}")
balanced = {}
for name, y in predicted.items():
    groups = shot_accuracy(y_target, y, counts, many=40, few=10)
    balanced[name] = balanced_accuracy_score(y_target, y)
    cells = "".join(f"{value:>7.2f}" for value in groups)
    print(f"{name:<22}{cells}{balanced[name]:>10.3f}")

# %%
# The report of one model: recall of each digit, how frequent it is, and how often it is predicted.
# A predicted share far below the true one is a class given up.
print(domain_report(y_target, predicted["balanced, both sides"]))

# %%
# What helps
# ----------
# Balanced batches on both sides help most, and they help where it hurts: on the rarest digits. A
# new head alone adds nothing here. It cannot change the features, and has the same few rows to
# learn from.
recall = {name: recall_score(y_target, y, average=None) for name, y in predicted.items()}
figure, ax = plt.subplots(figsize=(9, 3.8), layout="constrained")
place = np.arange(10)
for k, (name, values) in enumerate(recall.items()):
    ax.bar(place + 0.17 * (k - 2), values, width=0.16, label=f"{name}: {balanced[name]:.2f}")
labels = [f"{digit}\n{counts[digit]} rows" for digit in range(10)]
ax.set(xticks=place, xticklabels=labels, ylabel="recall on the target")
figure.legend(title="balanced accuracy", loc="outside upper center", ncols=5, fontsize=8)
plt.show()

assert balanced["balanced, both sides"] > balanced["default"] + 0.01
