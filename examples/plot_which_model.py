"""
Which pretrained model?
=======================

Several models learned to read other digits than ours. Which one should we build on? One pass of our
rows through each of them answers, and no head is trained.

Here the task is to tell the digits 5 to 9 apart with 150 labels. The models know 0 to 4.
"""

# %%
# The models
# ----------
# Networks of several sizes, trained for long or hardly at all, on one scanner or on both; and the
# pixels as they are.
import time

import matplotlib.pyplot as plt
import numpy as np
from scipy.stats import spearmanr
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from adaptlearn import DomainAdaptationClassifier, rank_extractors
from adaptlearn.datasets import load_scanned_digits

X_source, y_source, X_target, y_target = load_scanned_digits()
known, known_target = y_source < 5, y_target < 5


def pretrained(width, epochs, both=False):
    model = DomainAdaptationClassifier(
        hidden_layer_sizes=(width, width), max_epochs=epochs, random_state=0,
        normalize="domain" if both else "source", alignment="mmd" if both else None,
    )  # fmt: skip
    target = X_target[known_target] if both else None
    return model.fit(X_source[known], y_source[known], X_target=target)


candidates = {
    "pixels": FunctionTransformer(),
    "4 units": pretrained(4, 20),
    "16 units": pretrained(16, 20),
    "64 units": pretrained(64, 20),
    "256 units": pretrained(256, 20),
    "256 units, 1 epoch": pretrained(256, 1),
    "256 units, both scanners": pretrained(256, 20, both=True),
}

# %%
# Ranking them
# ------------
# A candidate is an extractor (:class:`~adaptlearn.TextExtractor`, ...), any transformer, or an
# array of features. The table says how each column is read; a notebook shows it as HTML, and
# ``ranking.frame`` is a DataFrame. Fitted classifiers have a head of their own, so there are LEEP
# and NCE for them.
X, y = X_source[~known], y_source[~known]
few = np.random.default_rng(0).permutation(len(X))[:150]
began = time.perf_counter()
ranking = rank_extractors(candidates, X[few], y[few], X_target[~known_target])
seconds = time.perf_counter() - began
print(ranking)

# %%
# Were they right?
# ----------------
# The long way round: a head for each model, its penalty chosen by cross-validation, and its
# accuracy on the rows that carry no label here.
rest = np.setdiff1d(np.arange(len(X)), few)
head = make_pipeline(StandardScaler(), LogisticRegression(max_iter=200))
head = GridSearchCV(head, {"logisticregression__C": [0.001, 0.01, 0.1, 1]})
accuracy, began = {}, time.perf_counter()
for name, model in candidates.items():
    features = model.fit_transform(X) if name == "pixels" else model.transform(X)
    accuracy[name] = head.fit(features[few], y[few]).score(features[rest], y[rest])
seconds_heads = time.perf_counter() - began
for name in ranking.names:
    print(f"{name:<26}{accuracy[name]:.3f}")
agreement = spearmanr(ranking.columns["logme"], [accuracy[n] for n in ranking.names])[0]
print(f"rank correlation of LogME and accuracy: {agreement:.2f}")
print(f"ranking took {seconds:.1f} s, training heads {seconds_heads:.1f} s")

# %%
# Cost against score
# ------------------
# On the left, the score and what it stands for; on the right, the score and the number of features,
# which is what the head will cost. Good and cheap is up and to the left.
figure, axes = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
for rank, name in enumerate(ranking.names, 1):
    place = ranking.columns["logme"][rank - 1], accuracy[name]
    axes[0].scatter(*place)
    axes[0].annotate(str(rank), place, xytext=(5, -10), textcoords="offset points")
axes[0].set(xlabel="LogME", ylabel="accuracy of a trained head")
axes[0].grid(alpha=0.3)
ranking.plot(cost="features", ax=axes[1])
plt.show()

assert agreement > 0.6
