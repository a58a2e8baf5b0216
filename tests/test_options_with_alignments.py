"""Every option against imbalance: with every alignment, in pipelines and searches, by domain."""

from functools import cache

import numpy as np
import pytest
import torch
from imblearn.over_sampling import SMOTE, RandomOverSampler
from imblearn.under_sampling import RandomUnderSampler
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from adaptlearn import DomainAdaptationClassifier, LabelledScorer
from adaptlearn._components import registered
from adaptlearn.imbalance.sampling import SAMPLING

# So few rows tell little about the target's proportions, and are told so.
pytestmark = pytest.mark.filterwarnings("ignore:.*[Cc]lassifier.*|Few held-out.*:UserWarning")
CLASSES = np.array(["common", "rare", "some"])
# Two source domains; two of the target, where the classes are about as frequent as each other.
COUNTS = {0: [30, 9, 8], 3: [18, 7, 8], -1: [8, 12, 10], -2: [10, 11, 9]}
DOMAIN = np.repeat(list(COUNTS), [sum(counts) for counts in COUNTS.values()])
CODE = np.concatenate([np.repeat([0, 1, 2], counts) for counts in COUNTS.values()])
ORDER = np.random.default_rng(1).permutation(len(CODE))
DOMAIN, CODE = DOMAIN[ORDER], CODE[ORDER]
X = np.random.default_rng(0).normal(size=(len(CODE), 16)) + 3 * np.eye(16)[CODE]
X[DOMAIN < 0] += 0.3
Y = np.where(DOMAIN < 0, "-1", CLASSES[CODE].astype(object))
IMAGES = X.reshape(-1, 1, 4, 4)
BACKBONE = nn.Sequential(nn.Flatten(), nn.Linear(16, 8))

# Nothing is settled by "auto", so that what an option changes is its own doing.
PLAIN = {
    "hidden_layer_sizes": (8,), "max_epochs": 2, "learning_rate": 0.05, "dropout": 0.0,
    "sampling": "instance", "label_shift": None, "random_state": 0,
}  # fmt: skip


def ours(slot):
    return {n: c for n, c in registered(slot).items() if c.__module__.startswith("adaptlearn.")}


ALIGNMENTS = sorted(ours("alignment"))
CRITERIA = sorted(n for n, c in ours("criterion").items() if not c.regression)
REBALANCING = [n for n in CRITERIA if ours("criterion")[n]().rebalances]
RESAMPLERS = [SMOTE(k_neighbors=2), RandomOverSampler(), RandomUnderSampler()]
OPTIONS = [
    *({"criterion": name} for name in CRITERIA if name != "cross_entropy"),
    *({"sampling": name} for name in SAMPLING if name != "instance"),
    {"sampling": "auto", "label_shift": "bbse"},
    {"target_sampling": "pseudo_balanced"},
    *({"mixing": name} for name in sorted(ours("mixing"))),
    *({"resampler": sampler} for sampler in RESAMPLERS),
    *({"label_shift": method} for method in ("auto", "bbse", "rlls", "mlls")),
]
PRIORS = ["source", "uniform", "target", [0.2, 0.5, 0.3]]


def name_of(params):
    return ", ".join(f"{key}={value}" for key, value in params.items())


def fitted(alignment, option, by_domain):
    """Fit to all four domains, or to source and target rows; images where they are needed."""
    params, rows, source = PLAIN | {"alignment": alignment} | option, X, DOMAIN >= 0
    if option.get("mixing") == "cutmix":
        rows, params = IMAGES, params | {"backbone": BACKBONE}
    model = DomainAdaptationClassifier(**params)
    if by_domain:
        return model.fit(rows, Y, sample_domain=DOMAIN)
    return model.fit(rows[source], Y[source], X_target=rows[~source])


def parameters(model):
    return torch.cat([p.detach().flatten() for p in model.net_.module_.parameters()])


@cache
def plain(alignment, by_domain):
    """Parameters of a fit without any of the options."""
    return parameters(fitted(alignment, {}, by_domain))


def check_answers(model, rows=X, sample_domain=None):
    """Probabilities of these rows, which are some, and the classes that they lead to."""
    proba = model.predict_proba(rows, sample_domain=sample_domain)
    assert proba.shape == (len(rows), 3) and np.isfinite(proba).all()
    np.testing.assert_allclose(proba.sum(axis=1), 1, rtol=1e-5)
    answers = model.predict(rows, sample_domain=sample_domain)
    np.testing.assert_array_equal(answers, CLASSES[proba.argmax(axis=1)])
    return proba


# Each option and each alignment has its turn of fits with domains and without.
CASES = [
    pytest.param(option, alignment, (i + j) % 2 == 0, id=f"{alignment}-{name_of(option)}")
    for i, option in enumerate(OPTIONS)
    for j, alignment in enumerate(ALIGNMENTS)
]


@pytest.mark.parametrize(("option", "alignment", "by_domain"), CASES)
def test_every_option_with_every_alignment(option, alignment, by_domain):
    model = fitted(alignment, option, by_domain)
    assert model.classes_.tolist() == CLASSES.tolist()
    check_answers(model, X if model.backbone is None else IMAGES, DOMAIN if by_domain else None)
    found, without = parameters(model), plain(alignment, by_domain)
    assert torch.isfinite(found).all()
    assert found.shape != without.shape or not torch.equal(found, without), "nothing changed"
    loss = model.history_[-1][f"{alignment}_loss"]
    assert np.isfinite(loss) and loss != 0


@pytest.mark.parametrize("alignment", ALIGNMENTS)
def test_every_prior_with_every_alignment(alignment):
    model = fitted(alignment, {"label_shift": "mlls"}, by_domain=True)
    for domain in (None, DOMAIN):
        trained = check_answers(model.set_params(prior=None), sample_domain=domain)
        for prior in PRIORS:
            answers = check_answers(model.set_params(prior=prior), sample_domain=domain)
            assert np.abs(answers - trained).max() > 0.01


# --- what does not go together ------------------------------------------------------------------

MIXINGS = [name for name in sorted(ours("mixing")) if name != "cutmix"]
TWICE = [
    *({"criterion": c, "sampling": s} for c in REBALANCING for s in SAMPLING if s != "instance"),
    *({"criterion": c, "class_weight": "balanced"} for c in REBALANCING),
    *({"criterion": c, "mixing": m} for c in REBALANCING for m in MIXINGS),
    *({"criterion": c, "resampler": r} for c in REBALANCING for r in RESAMPLERS),
    *({"class_weight": "balanced", "sampling": s} for s in SAMPLING if s != "instance"),
    *({"class_weight": "balanced", "mixing": m} for m in MIXINGS),
]


@pytest.mark.parametrize("alignment", ALIGNMENTS)
def test_nothing_counters_imbalance_twice(alignment):
    for params in TWICE:
        model = DomainAdaptationClassifier(**PLAIN | {"alignment": alignment} | params)
        with pytest.raises(ValueError, match=r"so a second time\. Set ") as error:
            model.fit(X, Y, sample_domain=DOMAIN)
        assert all(f"{key}=" in str(error.value) for key in params), params
        assert not hasattr(model, "net_")


@pytest.mark.parametrize("alignment", ALIGNMENTS)
@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"mixing": "cutmix"}, r"needs images of shape .* take mixing='mixup'"),
        ({"prior": "target"}, r"prior='target' needs .* label_shift='auto'"),
        ({"prior": [0.5, 0.5]}, r"must be .* one share for each of the 3 classes"),
        ({"criterion": "mse"}, r"does not fit this task \(classification\)"),
        ({"resampler": SMOTE(), "early_stopping": True}, r"copies of them would be trained on"),
    ],
    ids=lambda value: name_of(value) if isinstance(value, dict) else "",
)
def test_what_is_refused_with_every_alignment(alignment, params, message):
    model = DomainAdaptationClassifier(**PLAIN | {"alignment": alignment} | params)
    with pytest.raises(ValueError, match=message):
        model.fit(X, Y, sample_domain=DOMAIN)
    assert not hasattr(model, "net_")


# --- in a pipeline, in a search -----------------------------------------------------------------


def test_every_option_in_a_search_over_a_pipeline(routing):
    """With the domains routed to each fold, and by the masks alone; the best is fitted on all."""
    pipe = make_pipeline(StandardScaler(), DomainAdaptationClassifier(**PLAIN))
    options = [option for option in OPTIONS if option.get("mixing") != "cutmix"]
    options += [{"prior": prior} for prior in PRIORS if prior != "target"]
    options += [{"prior": "target", "label_shift": "bbse"}]
    step = "domainadaptationclassifier"
    search = GridSearchCV(
        pipe,
        [{f"{step}__{key}": [value] for key, value in option.items()} for option in options],
        scoring=LabelledScorer("accuracy"),
        cv=2,
        error_score="raise",
    )
    search.fit(X, Y, **({"sample_domain": DOMAIN} if routing else {}))
    assert len(search.cv_results_["params"]) == len(options)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all() and search.best_score_ > 0.6
    best = search.best_estimator_[-1]
    assert best.classes_.tolist() == CLASSES.tolist()
    assert best._domain_index.ids == ((0, 3, -1, -2) if routing else (0, -1))
    check_answers(best)
