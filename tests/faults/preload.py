"""What commands import sooner or later: the server that they are forked from imports it once."""

from importlib import import_module

from forgetctl.cli.process import computing, quiet_libraries

quiet_libraries()  # as every command does, before it imports them

with computing():
    for name in (
        "forgetctl.cli.main",
        "forgetctl.report.plots",
        *(f"forgetctl.{job}" for job in ("train.unlearn", "verify.verify", "report.report", "seal.seal", "seal.audit")),
        "forgetctl.cli.terminal",
        "scipy.stats",
        "rouge_score.rouge_scorer",
        "transformers.models.llama.modeling_llama",
        "matplotlib.backends.backend_svg",
    ):
        import_module(name)
