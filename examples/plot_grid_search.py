"""
Grid search without target labels
=================================

Which alignment, and with which parameters? Cross-validated accuracy on the source cannot say: it
looks at the wrong side. This search chooses with `ImportanceWeightedScorer`, which looks at both
sides and at no target label.
"""

# %%
# Both sides in one table
# -----------------------
# `pack` puts source and target rows into one ``X, y``. Rows without a label carry -1, so pipelines
# and searches take them unchanged.
import matplotlib.pyplot as plt
import numpy as np
from sklearn.metrics import accuracy_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from adaptlearn import (
    CDAN,
    DomainAdaptationClassifier,
    DomainStratifiedKFold,
    ImportanceWeightedScorer,
    LabelledScorer,
    pack,
)
from adaptlearn.datasets import load_scanned_digits

X_source, y_source, X_target, y_target = load_scanned_digits()
X, y, sample_domain = pack(X_source, y_source, X_target)
print(f"{len(X)} rows, {np.sum(y == -1)} of them without a label")

# %%
# A grid of names, objects and their parameters
# ---------------------------------------------
# A slot such as ``alignment`` takes None, a name or an object, and all three can stand in a grid.
# Parameters of a component are reached with two underscores. Source-only training (no alignment,
# source statistics) is among the candidates, so that not adapting is a possible answer.
pipe = make_pipeline(StandardScaler(), DomainAdaptationClassifier(max_epochs=10, random_state=0))
prefix = "domainadaptationclassifier__"
grid = [
    {prefix + "alignment": [None], prefix + "normalize": ["source"]},
    {prefix + "alignment": [None, "coral", CDAN(hidden=64)], prefix + "normalize": ["domain"]},
    {prefix + "alignment": ["mmd"], prefix + "alignment__bandwidth": [0.5, 2.0]},
    {prefix + "alignment": ["mcc"], prefix + "normalize": ["source", "domain"]},
]

# %%
# Search
# ------
# `DomainStratifiedKFold` keeps both sides and every class in each fold. A second scorer, the plain
# accuracy on the source rows of each fold, is written down for comparison only.
search = GridSearchCV(
    pipe,
    grid,
    scoring={"chosen by": ImportanceWeightedScorer(), "on source": LabelledScorer("accuracy")},
    refit="chosen by",
    cv=DomainStratifiedKFold(2),
    n_jobs=2,
)
search.fit(X, y)

best = search.best_estimator_[-1]
print(f"chosen: alignment={best.alignment}, normalize={best.normalize!r}")

# %%
# Was it a good choice?
# ---------------------
# The target labels are used here for the first time. The search predicts rows as target rows.
source_only = make_pipeline(
    StandardScaler(),
    DomainAdaptationClassifier(alignment=None, normalize="source", max_epochs=10, random_state=0),
).fit(X, y)
accuracy = {
    "source only": accuracy_score(y_target, source_only.predict(X_target)),
    "chosen": accuracy_score(y_target, search.predict(X_target)),
}
for name, value in accuracy.items():
    print(f"{name:<12} {value:.3f}")


def label(parameters):
    values = [str(v) for v in parameters.values()]
    return ", ".join(values)


results = search.cv_results_
names = [label(p) for p in results["params"]]
place = np.arange(len(names))
figure, ax = plt.subplots(figsize=(8, 3.5), layout="constrained")
ax.barh(place - 0.2, results["mean_test_chosen by"], height=0.4, label="importance-weighted score")
ax.barh(place + 0.2, results["mean_test_on source"], height=0.4, label="accuracy on source rows")
ax.set(yticks=place, yticklabels=names, title="What the two scorers say")
ax.legend(loc="lower left")
plt.show()

assert best.alignment is not None or best.normalize == "domain"
assert accuracy["chosen"] > accuracy["source only"] + 0.05
