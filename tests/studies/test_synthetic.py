"""Section 4's findings. The quick tests run two seeds and six methods; the slow one is the shipped study."""

from __future__ import annotations

from typing import Any

import pytest

from forgetctl.errors import RecipeError
from forgetctl.progress import Silent
from forgetctl.studies import synthetic
from forgetctl.studies._settings import read_settings
from forgetctl.studies.synthetic import PartSettings, SyntheticSettings

QUICK = ("ga", "ga-rt", "idk-rt", "dpo-rt", "npo", "npo-rt")

# shared/facts.md: measured with an independent port of the authors' code, means over five seeds; final (F, R).
# DPO is left out: the authors' DPO is twice forgetctl's (2/beta against the paper's 1/beta).
PORT = {
    0: {
        "ga": (0.198, 0.199),
        "ga-rt": (0.142, 0.143),
        "ga-kl": (0.104, 0.105),
        "idk-rt": (0.069, 0.068),
        "npo": (0.0355, 0.0357),
        "npo-kl": (0.0273, 0.0277),
        "npo-rt": (0.0153, 0.0158),
    },
    1: {
        "ga": (0.622, 1.390),
        "ga-rt": (0.596, 0.239),
        "ga-kl": (0.569, 0.231),
        "idk-rt": (0.817, 0.018),
        "npo": (0.127, 0.179),
        "npo-kl": (0.109, 0.0167),
        "npo-rt": (0.107, 0.0159),
    },
}


def settings() -> SyntheticSettings:
    return read_settings("synthetic", SyntheticSettings)


def median(method: dict[str, Any], kind: str, position: int = -1) -> float:
    return float(method["median"][kind][position])


def nearest(method: dict[str, Any]) -> float:
    """How near the Pareto curve comes to the corner."""
    curves = method["median"]
    return min(forget + retain for forget, retain in zip(curves["forget"], curves["retain"], strict=True))


def check_separated(part: dict[str, Any]) -> None:
    """alpha = 1: forget and retain inputs lie apart."""
    methods = part["methods"]
    for name in ("ga", "ga-rt"):
        forget = methods[name]["median"]["forget"]
        assert forget[-1] > 3 * min(forget), f"{name} collapses after its best point"
    assert median(methods["ga"], "retain") > 20 * part["start"]["median"]["retain"]
    assert median(methods["npo-rt"], "forget") < median(methods["npo"], "forget") * 1.2
    assert median(methods["npo-rt"], "retain") < 0.3 * median(methods["npo"], "retain")
    assert median(methods["npo"], "retain") < 0.3 * median(methods["ga"], "retain")
    assert median(methods["npo-rt"], "forget") < 0.2 * median(methods["ga-rt"], "forget")
    assert median(methods["idk-rt"], "forget") > 10 * median(methods["npo-rt"], "forget"), "IDK under-forgets"
    others = {name: nearest(method) for name, method in methods.items() if name.partition("-")[0] in ("ga", "idk")}
    assert nearest(methods["npo-rt"]) < min(others.values())


def check_overlapping(part: dict[str, Any]) -> None:
    """alpha = 0: one distribution of inputs, contrary labels."""
    methods, start = part["methods"], part["start"]["median"]["forget"]
    final = {name: median(method, "forget") for name, method in methods.items()}
    assert min(final, key=lambda name: final[name]) == "npo-rt"
    assert final["npo-rt"] < final["dpo-rt"] < final["npo"] < final["idk-rt"] < final["ga-rt"] < final["ga"]
    assert final["npo-rt"] < 0.5 * start < start < final["idk-rt"], "IDK does not forget"
    assert min(methods, key=lambda name: nearest(methods[name])) == "npo-rt"


@pytest.mark.parametrize(("index", "check"), [(0, check_separated), (1, check_overlapping)])
def test_findings_on_two_seeds(index: int, check: Any) -> None:
    full = settings()
    part = full.parts[index]
    quick = full.model_copy(
        update={
            "seeds": full.seeds[index : index + 2],
            "world": full.world.model_copy(update={"pretraining_steps": 3000}),
            "every": 100,
        }
    )
    few = part.model_copy(update={"methods": {name: part.methods[name] for name in QUICK}})
    check(synthetic.run_part(few, quick, Silent()))


def test_unknown_keys_and_methods_are_errors(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="unknown method magic"):
        PartSettings.model_validate({"alpha": 1, "methods": {"magic": {"learning_rate": 1}}})
    (tmp_path / "paper").mkdir()
    monkeypatch.setattr("forgetctl.studies._settings.recipes_folder", lambda: tmp_path)
    with pytest.raises(RecipeError, match="cannot be read"):
        settings()
    (tmp_path / "paper" / "synthetic.yaml").write_text("betta: 1\n")
    with pytest.raises(RecipeError, match="betta: Extra inputs"):
        settings()


@pytest.mark.slow
def test_the_full_study_agrees_with_the_port() -> None:
    parts = {part["alpha"]: part for part in synthetic.study(Silent()).data["parts"]}
    check_separated(parts[1])
    check_overlapping(parts[0])
    for name, (forget, retain) in PORT[0].items():
        final = parts[0]["methods"][name]["final"]
        assert final["forget"] == pytest.approx(forget, rel=0.25), name
        assert final["retain"] == pytest.approx(retain, rel=0.25), name
    # At alpha 1 one seed of each side's draws makes up most of mean F, so F is held to the order of magnitude
    # of the usual seed; the retain distance and the start agree.
    start = parts[1]["start"]
    assert start["forget"] == pytest.approx(1.606, rel=0.1)
    assert start["retain"] == pytest.approx(0.0158, rel=0.25)
    for name, (forget, retain) in PORT[1].items():
        method = parts[1]["methods"][name]
        assert method["final"]["retain"] == pytest.approx(retain, rel=0.4), name
        assert method["final"]["median"]["forget"] < 1.2 * forget, name
