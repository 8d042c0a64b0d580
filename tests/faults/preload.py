"""What commands import sooner or later: the server that they are forked from imports it once."""

from importlib import import_module

from forgetctl.cli.options import _calm_libraries
from forgetctl.cli.startup import quick_imports

_calm_libraries("error")  # as every command does, before it imports them

with quick_imports():
    for name in (
        "forgetctl.cli.main",
        "forgetctl.report.plots",
        "forgetctl.train.unlearn",
        "forgetctl.verify.verify",
        "forgetctl.report.report",
        "forgetctl.seal.seal",
        "forgetctl.seal.audit",
        "forgetctl.cli.terminal",
        "scipy.stats",
        "rouge_score.rouge_scorer",
        "transformers.models.llama.modeling_llama",
        "matplotlib.backends.backend_svg",
    ):
        import_module(name)
