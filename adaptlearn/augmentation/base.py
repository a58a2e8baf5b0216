"""What an augmentation is, and how what the user gives becomes one."""

from __future__ import annotations

import copy
from numbers import Real

import torch
from sklearn.base import BaseEstimator, clone

from .._compat import Interval
from .._components import registered, resolve

SHARE = [Interval(Real, 0, 1, closed="both")]


class Augmentation(BaseEstimator):
    """Base class of augmentations. Subclass it, set ``applies_to`` and write ``augment``.

    An augmentation is called with the tensors of a batch, as the network will get them, and returns
    them with one changed. It is used in training only. All rows are treated at once, each with
    draws of its own; what was given is never written to.

    Class attributes
    ----------------
    applies_to : str or tuple of str
        Name of the tensor that is changed: "pixel_values" (images), "input_ids" (text),
        "input_values" or "input_features" (audio), "values" (columns of numbers). Of several, the
        first that is there.

    Examples
    --------
    >>> import torch
    >>> from adaptlearn import Augmentation, register
    >>> @register("augment", "mirror")
    ... class Mirror(Augmentation):
    ...     '''Each image or its mirror image.'''
    ...     applies_to = "pixel_values"
    ...     def augment(self, x, generator):
    ...         mirrored = torch.rand(len(x), generator=generator).to(x.device) < 0.5
    ...         return torch.where(mirrored[:, None, None, None], x.flip(-1), x)
    >>> batch = {"pixel_values": torch.randn(8, 3, 32, 32)}
    >>> Mirror()(batch, torch.Generator().manual_seed(0))["pixel_values"].shape
    torch.Size([8, 3, 32, 32])
    """

    applies_to = ()

    def __call__(self, inputs, generator):
        """The batch, augmented.

        Parameters
        ----------
        inputs : dict of str to Tensor
            Rows first. Neither the dict nor its tensors are changed.
        generator : torch.Generator
            Source of all random numbers. It may live on another device than the tensors.

        Returns
        -------
        dict of str to Tensor
            The same names, shapes, types and device; tensors that nothing is done to are those
            given.
        """
        name = self.tensor_name(inputs)
        if not len(inputs[name]):
            return dict(inputs)
        # Mixed precision is for networks: places of pixels need all digits.
        with torch.autocast(inputs[name].device.type, enabled=False):
            return {**inputs, name: self.augment(inputs[name], generator)}

    def augment(self, x, generator):
        """The tensor named by ``applies_to``, augmented; a new tensor of the same shape."""
        raise TypeError(f"{type(self).__name__} must define augment(x, generator).")

    def tensor_name(self, names):
        """Which of the tensors in a batch is changed.

        Parameters
        ----------
        names : container of str

        Raises
        ------
        ValueError
            If there is none: a text network given an augmentation of images, say.
        """
        wanted = (self.applies_to,) if isinstance(self.applies_to, str) else self.applies_to
        if not wanted:
            raise TypeError(f"{type(self).__name__} must set applies_to, such as 'pixel_values'.")
        for name in wanted:
            if name in names:
                return name
        raise ValueError(
            f"augment={self!r} changes {' or '.join(map(repr, wanted))}, and the network's inputs "
            f"are {', '.join(map(repr, names))}. Leave it out, or take one for such inputs."
        )

    def check(self):
        """Raise ValueError for parameters that are of the right type and make no sense."""

    def filled(self, **known):
        """Copy whose parameters left at None are filled with what is known of the inputs.

        Parameters
        ----------
        **known : dict
            For instance ``mean`` and ``std`` that images were normalised with, or ``special_ids``
            and ``mask_id`` of a tokenizer. Names that are no parameter are passed over.

        Returns
        -------
        Augmentation
        """
        own = self.get_params(deep=False)
        values = {name: known[name] for name in own if own[name] is None and name in known}
        return clone(self).set_params(**values)


class Composed(Augmentation):
    """Several augmentations, one after the other."""

    def __init__(self, members):
        self.members = members

    @property
    def applies_to(self):
        """Names of all tensors that are changed."""
        names = [m.applies_to for m in self.members]
        return tuple(n for name in names for n in ((name,) if isinstance(name, str) else name))

    def __call__(self, inputs, generator):
        """The batch after the last member."""
        for member in self.members:
            inputs = member(inputs, generator)
        return inputs

    def tensor_name(self, names):
        """Of the last member; raises for any that has none."""
        return [member.tensor_name(names) for member in self.members][-1]

    def filled(self, **known):
        """Copy with every member filled."""
        return Composed([member.filled(**known) for member in self.members])


class Called(Augmentation):
    """A function that does what an augmentation does."""

    def __init__(self, function):
        self.function = function

    def __call__(self, inputs, generator):
        """What the function makes of the batch."""
        return self.function(inputs, generator)

    def tensor_name(self, names):
        """None: the function knows."""


def make_augmentation(spec):
    """Turn what is given as ``augment=`` into one augmentation, its parameters checked.

    Parameters
    ----------
    spec : None, str, Augmentation, callable or list of these
        A name ("flip_crop", "color", "rand_augment", "token_dropout", "spec_augment", "noise" or
        one that you registered) stands for the augmentation with its defaults. A function is
        called as an augmentation is, with a dict of tensors and a generator, and returns such a
        dict. The members of a list are applied in order. Objects are copied.

    Returns
    -------
    Augmentation or None
        None where there is nothing to do.

    Raises
    ------
    ValueError, TypeError
        For an unknown name, a parameter out of range, or what is no augmentation.

    Examples
    --------
    >>> import torch
    >>> from adaptlearn.augmentation import FlipCrop, make_augmentation
    >>> augmentation = make_augmentation([FlipCrop(scale=(0.8, 1.0)), "color"])
    >>> batch = {"pixel_values": torch.randn(8, 3, 32, 32)}
    >>> augmentation(batch, torch.Generator().manual_seed(0))["pixel_values"].shape
    torch.Size([8, 3, 32, 32])
    """
    if spec is None:
        return None
    members = [_member(m) for m in spec] if isinstance(spec, (list, tuple)) else [_member(spec)]
    if len(members) > 1:
        return Composed(members)
    return members[0] if members else None


def _member(spec):
    if callable(spec) and not isinstance(spec, type) and not hasattr(spec, "get_params"):
        return Called(copy.deepcopy(spec))
    augmentation = resolve("augment", spec)
    if not isinstance(augmentation, Augmentation):
        raise TypeError(
            f"augment holds {spec!r} of type {type(spec).__name__}; members must be names "
            f"({', '.join(sorted(registered('augment')))}) or Augmentation objects (subclass "
            "adaptlearn.Augmentation to write your own)."
        )
    augmentation.check()
    return augmentation


def draw(shape, generator, like):
    """Even draws from [0, 1) on the device of `like`; the same ones whatever that device is."""
    numbers = torch.rand(shape, generator=generator, device=generator.device)
    return numbers.to(like.device, non_blocking=True)


def check_range(augmentation, name, low, high):
    """Raise unless a parameter is a pair (a, b) with low < a <= b <= high; returns the pair."""
    value = getattr(augmentation, name)
    pair = isinstance(value, (tuple, list)) and len(value) == 2
    if pair and all(isinstance(v, Real) for v in value) and low < value[0] <= value[1] <= high:
        return value
    limit = "" if high == float("inf") else f", the second at most {high:g}"
    raise ValueError(
        f"{name}={value!r} of {type(augmentation).__name__} must be two numbers above {low:g}, the "
        f"smaller one first{limit}."
    )
