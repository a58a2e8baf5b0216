"""
Spam in another channel
=======================

Comments under videos carry labels, and half of them are spam. The texts to sort are SMS messages:
other words, and far less spam, about 13 %. So the inputs and the class proportions move together,
and no message has a label.
"""

# %%
# Two channels
# ------------
# With the spam files in a data home (``ADAPTLEARN_DATA``) these are YouTube comments and real SMS.
# Without them, texts are generated that have the same two shifts, and are easier to tell apart.
import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, balanced_accuracy_score, confusion_matrix

from adaptlearn import DomainAdaptationClassifier, LabelShiftClassifier
from adaptlearn.datasets import domain_pair, load_spam, make_spam_texts

try:
    data = load_spam()
    comments, y_source, messages, y_target = domain_pair(data, data.domains[:-1], "SMS")
    rows = np.random.default_rng(0).permutation(len(messages))[:2000]
    messages, y_target = messages[rows], y_target[rows]
except FileNotFoundError:
    comments, y_source, messages, y_target = make_spam_texts(random_state=0)

for name, texts, y in (("comments", comments, y_source), ("messages", messages, y_target)):
    print(f"{len(y)} {name}, {y.mean():.0%} spam, for example: {texts[np.argmax(y)][:60]!r}")

# %%
# Which words a text holds, as zeros and ones. They are counted over both channels, which needs no
# label.
words = CountVectorizer(binary=True, min_df=3, max_features=1000, dtype=np.float32)
X = words.fit_transform(np.concatenate([comments, messages]))
X_source, X_target = X[: len(comments)], X[len(comments) :]

# %%
# Without adaptation, and with label shift alone
# ----------------------------------------------
# A classifier that learned where half of the texts are spam sees spam everywhere. Correcting it for
# other proportions is the cure only if each class looks as before. Here it does not:
# `LabelShiftClassifier` says so, and leaves the predictions as they are.
plain = LogisticRegression(max_iter=1000).fit(X_source, y_source)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    corrected = LabelShiftClassifier(LogisticRegression(max_iter=1000))
    corrected.fit(X_source, y_source, X_target=X_target)
print(*(str(w.message) for w in caught), sep="\n")
predicted = {
    "logistic regression": plain.predict(X_target),
    "label shift alone": corrected.predict(X_target),
}

# %%
# Inputs and proportions
# ----------------------
# The default learns from target rows of which it can be sure. With two classes nothing tells moved
# inputs from other proportions, and half of the words of these messages are new: so it keeps to the
# proportions of the comments.
#
# ``prior`` is read by ``predict``, so the same fitted network answers for several proportions. As
# trained, it weighs classes as the source does, and so does ``"target"`` without an estimate. An
# array is for what you know: here the true share, as somebody would get it from a few hundred
# messages read by hand.
clf = DomainAdaptationClassifier(label_shift="auto", random_state=0)
clf.fit(X_source, y_source, X_target=X_target)
spam = y_target.mean()
predicted["default"] = clf.predict(X_target)
predicted['prior="target"'] = clf.set_params(prior="target").predict(X_target)
predicted["prior known"] = clf.set_params(prior=[1 - spam, spam]).predict(X_target)
clf.set_params(prior=None)

estimate = y_source.mean() if clf.target_prior_ is None else clf.target_prior_[1]
print(f"share of spam: {y_source.mean():.2f} in comments, {spam:.2f} in messages, ", end="")
print(f"estimated as {estimate:.2f}")

print(f"\n{'':<20}{'accuracy':>10}{'balanced':>10}{'said spam':>11}")
scores = {}
for name, y in predicted.items():
    scores[name] = accuracy_score(y_target, y), balanced_accuracy_score(y_target, y)
    print(f"{name:<20}{scores[name][0]:>10.3f}{scores[name][1]:>10.3f}{y.mean():>11.3f}")

# %%
# What helps
# ----------
# The default is ahead of logistic regression: .885 and .858 in balanced accuracy against .795 and
# .654 on the real messages, .871 and .926 against .825 and .880 on the generated ones. What nobody
# can tell from unlabelled rows, a little knowledge supplies: with the known share, .924 and .973
# are right.
#
# Two numbers that need no label tell whether to reach for ``prior``: the share that the network
# predicts, and what you expect. Where they agree, leave it alone.
recall = {
    name: confusion_matrix(y_target, y, normalize="true").diagonal()
    for name, y in predicted.items()
}
place = np.arange(len(recall))
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained", sharey=True)
for k, label in enumerate(("ham", "spam")):
    left.barh(place + 0.4 * k - 0.2, [r[k] for r in recall.values()], height=0.38, label=label)
left.set(yticks=place, yticklabels=list(recall), xlim=(0, 1), title="Recall of each class")
left.invert_yaxis()
right.barh(place, [y.mean() for y in predicted.values()], height=0.5, color="0.7")
right.axvline(spam, color="black", label="true share")
right.axvline(estimate, color="black", linestyle="--", label="estimated share")
right.set(xlim=(0, 0.6), title="Share of messages called spam")
figure.legend(loc="outside lower center", ncols=4)
plt.show()

for known, plain in zip(scores["prior known"], scores["logistic regression"], strict=True):
    assert known > plain
for default, plain in zip(scores["default"], scores["logistic regression"], strict=True):
    assert default > plain
assert predicted["prior known"].mean() < predicted["default"].mean()
