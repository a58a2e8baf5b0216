"""Components: names, objects and nested parameters in one slot.

A slot (``alignment=``, ``criterion=``, ``mixing=``, ``task_weighting=``) takes ``None``, a
registered name, an object, or a list of these. This module turns them into fresh objects and makes
``slot__parameter`` work for all forms.
"""

from __future__ import annotations

import difflib
from importlib import import_module

from sklearn.base import clone

from ._compat import validate_parameter_constraints

_REGISTRY = {}  # slot -> {name: class}
_SLOT_PACKAGES = {
    "alignment": "adaptlearn.alignment",
    "augment": "adaptlearn.augmentation",
    "criterion": "adaptlearn.imbalance._losses",
    "mixing": "adaptlearn.imbalance._mixings",
    "regularization": "adaptlearn.regularization",
    "task_weighting": "adaptlearn.deep._task_weighting",
}


def register(slot, name):
    """Class decorator that gives a component a name usable in its slot and in ``load``.

    Parameters
    ----------
    slot : {"alignment", "augment", "criterion", "mixing", "regularization", "task_weighting"}
    name : str
        The name users write, an identifier without a double underscore. A second class under the
        same name raises.

    Examples
    --------
    >>> from adaptlearn import Alignment, register
    >>> @register("alignment", "mean_difference")
    ... class MeanDifference(Alignment):
    ...     def loss(self, source, target, step, net):
    ...         gap = source.features.mean(0) - target.features.mean(0)
    ...         return gap.square().sum()
    """
    if slot not in _SLOT_PACKAGES:
        raise ValueError(f"slot={slot!r} is not known; allowed are {sorted(_SLOT_PACKAGES)}.")

    if not name.isidentifier() or "__" in name:
        raise ValueError(
            f"name={name!r} cannot be used in nested parameters; it must be an identifier without "
            "a double underscore, such as 'mean_difference'."
        )

    def decorate(cls):
        # Ours register while their package is being imported, which a look-up would import again.
        ours = cls.__module__.startswith("adaptlearn.")
        known = (_REGISTRY.get(slot, {}) if ours else registered(slot)).get(name)
        if known is not None and _origin(known) != _origin(cls):  # a notebook cell may run twice
            raise ValueError(f"{slot} name {name!r} is taken by {known.__name__}; choose another.")
        _REGISTRY.setdefault(slot, {})[name] = cls
        return cls

    return decorate


def _origin(cls):
    return cls.__module__, cls.__qualname__


def registered(slot):
    """Registered classes of a slot, by name."""
    import_module(_SLOT_PACKAGES[slot])
    return _REGISTRY.setdefault(slot, {})


def did_you_mean(name, known):
    """A closing sentence that lists what is allowed and the closest match."""
    close = difflib.get_close_matches(str(name), [str(k) for k in known], n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return f"allowed are {', '.join(repr(k) for k in known)}.{hint}"


def component_class(slot, name):
    """Class registered under `name`."""
    classes = registered(slot)
    if name not in classes:
        raise ValueError(f"{slot}={name!r} is not known; {did_you_mean(name, sorted(classes))}")
    return classes[name]


def resolve(slot, spec):
    """Fresh component for one slot entry, parameters checked: a name is made, an object cloned."""
    component = _fresh(slot, spec)
    constraints = getattr(component, "_parameter_constraints", {})
    params = {k: v for k, v in component.get_params(deep=False).items() if k in constraints}
    validate_parameter_constraints(constraints, params, caller_name=type(component).__name__)
    return component


def _fresh(slot, spec):
    if isinstance(spec, str):
        return component_class(slot, spec)()
    if isinstance(spec, type):
        raise TypeError(
            f"{slot}={spec.__name__} is a class; give an object ({spec.__name__}()) or a name."
        )
    if not hasattr(spec, "get_params"):
        raise TypeError(
            f"{slot}={spec!r} of type {type(spec).__name__} is not a component; give "
            f"an object or a name: {did_you_mean(spec, sorted(registered(slot)))}"
        )
    return clone(spec)


class ComponentParamsMixin:
    """``set_params`` that reaches into slots given by name, object or list.

    ``alignment="mmd", alignment__bandwidth=.5`` works from a string; a list is addressed by the
    member's name: ``alignment__mcc__weight=.1``. Everything is resolved before anything is
    assigned, so that a bad key changes nothing.
    """

    _slots = ()

    def _expand_slot(self, slot, spec):
        """What a special name such as "auto" stands for; any other spec as it is."""
        return spec

    def set_params(self, **params):
        """Set parameters, nested ones included (``alignment__bandwidth=.5``).

        Parameters
        ----------
        **params : dict
            Estimator parameters. ``slot__name`` reaches a component given by name, object or list.

        Returns
        -------
        self : object
        """
        plain, nested = {}, {}
        known = type(self)._get_param_names()
        for key, value in params.items():
            head, _, tail = key.partition("__")
            if head not in known:
                raise ValueError(
                    f"Invalid parameter {head!r} for estimator {type(self).__name__}; "
                    f"{did_you_mean(head, known)}"
                )
            if tail:
                nested.setdefault(head, {})[tail] = value
            else:
                plain[key] = value
        for head, values in nested.items():
            spec = plain.get(head, getattr(self, head))
            if head in self._slots:
                plain[head] = _with_params(head, self._expand_slot(head, spec), values)
            else:
                _check_names(head, spec, values)
                plain |= {f"{head}__{tail}": value for tail, value in values.items()}
        return super().set_params(**plain)


def _with_params(slot, spec, values):
    """Copy of a slot's content with nested parameters set."""
    if spec is None:
        raise ValueError(f"{slot}=None has no parameters, got {sorted(values)}.")
    if not isinstance(spec, (list, tuple)):
        component = _fresh(slot, spec)
        _check_names(slot, component, values)
        return component.set_params(**values)
    members = [_fresh(slot, s) for s in spec]
    names = [member_name(slot, m) for m in members]
    for key, value in values.items():
        name, _, parameter = key.partition("__")
        if name not in names or not parameter:
            wanted = [f"{n}__<parameter>" for n in names]
            raise ValueError(f"Invalid parameter {slot}__{key}; {did_you_mean(key, wanted)}")
        if names.count(name) > 1:
            raise ValueError(
                f"{slot} holds {names.count(name)} members named {name!r}, so {slot}__{key} does "
                "not say which one; set the parameter on the object instead."
            )
        _check_names(slot, members[names.index(name)], [parameter])
        members[names.index(name)].set_params(**{parameter: value})
    return members


def _check_names(slot, component, names):
    if not hasattr(component, "get_params"):
        raise ValueError(f"{slot}={component!r} has no parameters, got {sorted(names)}.")
    known = sorted(component.get_params())
    for name in names:
        if name not in known:
            raise ValueError(
                f"Invalid parameter {name!r} of {slot} {type(component).__name__}; "
                f"{did_you_mean(name, known)}"
            )


def member_name(slot, component):
    """Registered name of a component, or its lower-case class name."""
    for name, cls in registered(slot).items():
        if type(component) is cls:
            return name
    return type(component).__name__.lower()
