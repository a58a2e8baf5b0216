"""What was learned elsewhere: pretrained networks as scikit-learn transformers."""

from importlib import import_module

# Loaded on first use: the cache needs no torch, and a text extractor no images.
_MODULES = {
    "AudioExtractor": "audio",
    "EmbeddingCache": "cache",
    "Extractor": "base",
    "ExtractorRanking": "ranking",
    "ImageExtractor": "image",
    "ModuleExtractor": "module",
    "TextExtractor": "text",
    "rank_extractors": "ranking",
}

__all__ = list(_MODULES)


def __getattr__(name):
    if name in _MODULES:
        return getattr(import_module(f".{_MODULES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return __all__
