"""Presets: one alignment each, everything else as in `DomainAdaptationClassifier`."""

from __future__ import annotations

from .._components import registered
from .classifier import DomainAdaptationClassifier


class _Preset(DomainAdaptationClassifier):
    """A preset accepts its own alignment only, in any of its forms."""

    _auto_settled = None

    def _expand_slot(self, slot, spec):
        spec = super()._expand_slot(slot, spec)
        if slot != "alignment":
            return spec
        own = registered("alignment")[self._auto_alignment]
        if spec != self._auto_alignment and not isinstance(spec, own):
            raise ValueError(
                f"alignment={spec!r} does not fit {type(self).__name__}, which is "
                f"{own.__name__}: allowed are 'auto', {self._auto_alignment!r} or a "
                f"{own.__name__} object. Use DomainAdaptationClassifier for other alignments."
            )
        return spec


class DANNClassifier(_Preset):
    """Domain-adversarial network: features that a discriminator cannot tell apart.

    `DomainAdaptationClassifier` with ``alignment="dann"`` (Ganin et al., 2016); all
    parameters are the same.
    ``alignment=DANN(...)`` sets the method's own parameters; any other alignment raises.

    See Also
    --------
    adaptlearn.DANN : The loss, its formula and parameters.
    DomainAdaptationClassifier : All parameters.

    Examples
    --------
    >>> from adaptlearn import DANNClassifier
    >>> DANNClassifier().set_params(alignment__weight=0.5).alignment
    DANN(weight=0.5)
    """

    _auto_alignment = "dann"


class CDANClassifier(_Preset):
    """Conditional domain-adversarial network with entropy weights.

    `DomainAdaptationClassifier` with ``alignment="cdan"`` (Long et al., 2018); all
    parameters are the same.
    ``alignment=CDAN(...)`` sets the method's own parameters; any other alignment raises.

    See Also
    --------
    adaptlearn.CDAN : The loss, its formula and parameters.
    DomainAdaptationClassifier : All parameters.

    Examples
    --------
    >>> from adaptlearn import CDANClassifier
    >>> CDANClassifier().set_params(alignment__weight=0.5).alignment
    CDAN(weight=0.5)
    """

    _auto_alignment = "cdan"


class DeepCORALClassifier(_Preset):
    """Deep CORAL: matching feature covariances.

    `DomainAdaptationClassifier` with ``alignment="coral"`` (Sun & Saenko, 2016); all
    parameters are the same.
    ``alignment=CORAL(...)`` sets the method's own parameters; any other alignment raises.

    See Also
    --------
    adaptlearn.CORAL : The loss, its formula and parameters.
    DomainAdaptationClassifier : All parameters.

    Examples
    --------
    >>> from adaptlearn import DeepCORALClassifier
    >>> DeepCORALClassifier().set_params(alignment__weight=0.5).alignment
    CORAL(weight=0.5)
    """

    _auto_alignment = "coral"


class MMDClassifier(_Preset):
    """Deep adaptation network: matching features by multi-kernel MMD.

    `DomainAdaptationClassifier` with ``alignment="mmd"`` (Long et al., 2015); all
    parameters are the same.
    ``alignment=MMD(...)`` sets the method's own parameters; any other alignment raises.

    See Also
    --------
    adaptlearn.MMD : The loss, its formula and parameters.
    DomainAdaptationClassifier : All parameters.

    Examples
    --------
    >>> from adaptlearn import MMDClassifier
    >>> MMDClassifier().set_params(alignment__weight=0.5).alignment
    MMD(weight=0.5)
    """

    _auto_alignment = "mmd"


class MCCClassifier(_Preset):
    """Minimum class confusion on the target.

    `DomainAdaptationClassifier` with ``alignment="mcc"`` (Jin et al., 2020); all
    parameters are the same.
    ``alignment=MCC(...)`` sets the method's own parameters; any other alignment raises.

    See Also
    --------
    adaptlearn.MCC : The loss, its formula and parameters.
    DomainAdaptationClassifier : All parameters.

    Examples
    --------
    >>> from adaptlearn import MCCClassifier
    >>> MCCClassifier().set_params(alignment__weight=0.5).alignment
    MCC(weight=0.5)
    """

    _auto_alignment = "mcc"
