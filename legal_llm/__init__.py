"""Review of commercial contracts: for each clause category, is it there, where, and in which exact words

The names that most people need are here; a module is imported when one of its names is asked for.
`train` is a module: `legal_llm.train.train` is the function.
"""

__version__ = "0.1.0"

_WHERE = dict(
    DataSettings='training.dataset',
    Extractor='pipeline.extract',
    LegalLLMError='machine.files',
    Review='pipeline.review',
    TrainSettings='training.settings',
    evaluate='eval',
    open_data='training.dataset',
    open_run='training.runs',
    prepare_data='data',
    read_document='documents.documents',
    score_files='scores.tables',
    train_on='launch',
)
__all__ = list(_WHERE)


def __getattr__(name):
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f'.{_WHERE[name]}', __name__), name)


def __dir__():
    return sorted([*globals(), *_WHERE])
