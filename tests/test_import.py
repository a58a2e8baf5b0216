"""What importing the package costs and changes."""

import json
import subprocess
import sys

PROBE = """
import json, sys
import sklearn, sklearn.base, sklearn.utils
before, config = set(sys.modules), sklearn.get_config()
import warnings
with warnings.catch_warnings():
    warnings.simplefilter("error")
    import adaptlearn
added = sorted(set(sys.modules) - before - {"warnings"})
print(json.dumps([added, config == sklearn.get_config()]))
"""


def probe(code):
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    return json.loads(done.stdout)


def test_import_is_light_and_changes_nothing():
    added, same_config = probe(PROBE)
    assert same_config, "importing changed scikit-learn's configuration"
    heavy = {
        "torch",
        "skorch",
        "imblearn",
        "pandas",
        "polars",
        "matplotlib",
        "safetensors",
        "scipy.stats",
    }
    assert not heavy & set(added)
    assert len([m for m in added if m.startswith("adaptlearn")]) <= 3
    assert len(added) <= 10, f"the import brings {len(added)} modules: {added}"


def test_names_are_found_lazily():
    code = (
        "import json, sys, adaptlearn; adaptlearn.pack; adaptlearn.metrics; adaptlearn.datasets;"
        "print(json.dumps([m in sys.modules for m in ('torch', 'skorch')]))"
    )
    assert probe(code) == [False, False], "the data convention and metrics need no torch"


def test_deep_estimators_need_no_imblearn():
    code = (
        "import json, sys, adaptlearn; adaptlearn.DANNClassifier;"
        "print(json.dumps('imblearn' in sys.modules))"
    )
    assert probe(code) is False


def test_plain_import_of_everything_leaves_generators_alone():
    code = (
        "import json, numpy as np, torch; np.random.seed(0); torch.manual_seed(0);"
        "a = np.random.get_state()[1].copy(), torch.get_rng_state(); import adaptlearn;"
        "[getattr(adaptlearn, name) for name in adaptlearn.__all__];"
        "b = np.random.get_state()[1], torch.get_rng_state();"
        "print(json.dumps([bool((a[0] == b[0]).all()), torch.equal(a[1], b[1])]))"
    )
    assert probe(code) == [True, True]


def test_what_needs_no_network_needs_no_torch():
    code = (
        "import json, sys; from adaptlearn import LabelShiftClassifier, ResampledClassifier;"
        "print(json.dumps([m in sys.modules for m in ('torch', 'skorch')]))"
    )
    assert probe(code) == [False, False]


def test_any_name_may_be_the_first_to_be_imported():
    code = """
import importlib, json, sys, adaptlearn.imbalance, adaptlearn.alignment
names = [(m.__name__, n) for m in (adaptlearn.imbalance, adaptlearn.alignment) for n in m.__all__]
for module, name in names:
    for known in [m for m in sys.modules if m.startswith("adaptlearn")]:
        del sys.modules[known]
    getattr(importlib.import_module(module), name)
print(json.dumps(len(names)))
"""
    assert probe(code) > 20
