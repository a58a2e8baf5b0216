"""
A new question with twenty labels
=================================

All digits of one scanner have been labelled. Now somebody wants to know whether a digit holds a
closed loop, as 0, 6, 8 and 9 do, and has time to label a few dozen of them. The digits to answer
for come from another scanner. Does it help to learn both questions with one network?
"""

# %%
# One table of labels
# -------------------
# `y` has a column for each task. -1 says that a row has no label for it: here nearly all rows, in
# the second column.
import matplotlib.pyplot as plt
import numpy as np

from adaptlearn import DomainAdaptationClassifier, MultiTaskClassifier
from adaptlearn.datasets import load_scanned_digits

X_source, digit, X_target, digit_target = load_scanned_digits()
loop, loop_target = (np.isin(y, [0, 6, 8, 9]).astype(int) for y in (digit, digit_target))


def few_labels(n, seed):
    rows = np.random.default_rng(seed).permutation(len(digit))[:n]
    y = np.column_stack([digit, np.full(len(digit), -1)])
    y[rows, 1] = loop[rows]
    return rows, y


rows, y = few_labels(20, seed=0)
print(y[:5])
print("labels of each task:", (y != -1).sum(axis=0))

# %%
# One network for both
# --------------------
# The two heads share all layers below them, and the target's rows are made to look like the
# source's there. Answers have a column for each task, too.
params = {"hidden_layer_sizes": (128,), "alignment": "mmd", "max_epochs": 15, "random_state": 0}
both = MultiTaskClassifier(**params).fit(X_source, y, X_target=X_target)
print(both.predict(X_target)[:3])
print(both.score_by_task(X_target, np.column_stack([digit_target, loop_target])))

# %%
# Beside a network of its own
# ---------------------------
# The same question to a network that sees nothing but the labelled rows of that question, for two
# draws of these rows.
sizes, draws = [10, 20, 40], [0, 1]
shared, alone = np.zeros((2, len(sizes), len(draws)))
for i, n in enumerate(sizes):
    for j in draws:
        rows, y = few_labels(n, seed=j)
        both = MultiTaskClassifier(**params).fit(X_source, y, X_target=X_target)
        scores = both.score_by_task(X_target, np.column_stack([digit_target, loop_target]))
        shared[i, j] = scores[1]
        one = DomainAdaptationClassifier(**params)
        one.fit(X_source[rows], loop[rows], X_target=X_target)
        alone[i, j] = one.score(X_target, loop_target)
    print(f"{n:>3} labels: alone {alone[i].mean():.2f}, shared {shared[i].mean():.2f}")

# %%
# Telling the digits apart takes features that tell loops, too. A few labels are enough to read them
# off; they are not enough to find them.
figure, ax = plt.subplots(figsize=(6, 3.6), layout="constrained")
for values, name, marker in ((shared, "with the digits", "o"), (alone, "alone", "s")):
    line = ax.plot(sizes, values.mean(axis=1), marker=marker, label=name)[0]
    for column in values.T:
        ax.plot(sizes, column, marker, color=line.get_color(), alpha=0.3)
ax.set(xticks=sizes, xlabel="labels of the new question", ylabel="accuracy on the target")
ax.legend()
plt.show()

assert shared.mean() > alone.mean()
