import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_origin

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from forgetctl.cli._options import RecipeChoice, _scoring
from forgetctl.errors import RecipeError
from forgetctl.losses.methods import METHODS, OBJECTIVES
from forgetctl.recipe.recipe import (
    CALIBRATING,
    Lora,
    Passages,
    Recipe,
    Retain,
    Verify,
    load_recipe,
    parse_recipe,
    shipped_recipes,
)


@pytest.fixture
def write(tmp_path: Path) -> Any:
    """Writes a recipe file and returns its name."""

    def to_file(text: str | bytes) -> str:
        path = tmp_path / "own.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return str(path)

    return to_file


def refusal(name: str | None = None, *overrides: str, **options: Any) -> str:
    """Why `load_recipe` refuses; checks the type and the exit code."""
    with pytest.raises(RecipeError) as caught:
        load_recipe(name, overrides=overrides, **options)
    assert caught.value.exit_code == 2
    return str(caught.value)


# Precedence: set > option > method > file


def test_file_beats_the_defaults(write: Any) -> None:
    recipe = load_recipe(write("method: ga\nepochs: 3\nretain: {ratio: 1}\n"))
    assert (recipe.method, recipe.epochs, recipe.retain.ratio) == ("ga", 3, 1.0)
    assert recipe.batch_size == Recipe(method="ga").batch_size
    assert recipe.retain.minimum == Retain().minimum


def test_method_beats_the_file(write: Any) -> None:
    recipe = load_recipe(write("method: ga\nepochs: 3\n"), method="npo")
    assert (recipe.method, recipe.epochs) == ("npo", 3)


def test_method_beats_the_terms_of_the_file(write: Any) -> None:
    recipe = load_recipe(write("terms: {npo: 2, rt: 1}\n"), method="ga")
    assert (recipe.method, recipe.terms) == ("ga", None)


def test_option_beats_file_and_method(write: Any) -> None:
    recipe = load_recipe(write("method: ga\nepochs: 3\n"), method="npo", options={"method": "ga-rt", "epochs": 4})
    assert (recipe.method, recipe.epochs) == ("ga-rt", 4)


def test_set_beats_option_method_and_file(write: Any) -> None:
    name = write("method: ga\nepochs: 3\n")
    recipe = load_recipe(name, method="npo", options={"epochs": 4}, overrides=["epochs=5", "method=npo-rt"])
    assert (recipe.method, recipe.epochs) == ("npo-rt", 5)


def test_last_set_wins() -> None:
    assert load_recipe(overrides=["epochs=5", "epochs=6"]).epochs == 6


def test_nested_set_leaves_the_siblings(write: Any) -> None:
    recipe = load_recipe(write("method: npo\nretain: {ratio: 1, minimum: 8}\n"), overrides=["retain.ratio=2"])
    assert (recipe.retain.ratio, recipe.retain.minimum) == (2.0, 8)


def test_set_makes_a_part_that_was_unset() -> None:
    assert load_recipe(overrides=["lora.rank=4"]).lora == Lora(rank=4)


def test_set_removes_a_part() -> None:
    assert load_recipe("npo-rt-lora", overrides=["lora=null"]).lora is None


def test_set_value_may_contain_equals_signs() -> None:
    assert load_recipe(overrides=["prompt_format='<x a=b>{prompt}'"]).prompt_format == "<x a=b>{prompt}"


def test_without_a_name_the_default_is_npo_rt() -> None:
    assert load_recipe() == load_recipe("npo-rt")


def test_without_a_name_the_method_brings_its_own_recipe() -> None:
    assert load_recipe(method="ga-rt") == load_recipe("ga-rt")


# What is refused


def test_unknown_recipe_lists_the_shipped_ones() -> None:
    why = refusal("npo-tr")
    assert "'npo-tr'" in why
    assert all(name in why for name in shipped_recipes())


def test_unknown_key_lists_the_known_ones(write: Any) -> None:
    why = refusal(write("method: npo\nlearning_rat: 1e-5\n"))
    assert "unknown key 'learning_rat'" in why
    assert "learning_rate" in why.split("there is")[1]


@pytest.mark.parametrize(
    ("key", "known"),
    [("retain.ratoi", "ratio"), ("verify.detla", "delta"), ("lora.rnak", "rank")],
)
def test_unknown_nested_key_lists_its_siblings(write: Any, key: str, known: str) -> None:
    part, name = key.split(".")
    for why in (refusal(write(f"method: npo\n{part}: {{{name}: 1}}\n")), refusal(None, f"{key}=1")):
        assert f"unknown key '{key}'" in why
        assert known in why.split("there is")[1]
        assert "epochs" not in why


def test_every_problem_is_named_at_once(write: Any) -> None:
    why = refusal(write("method: npo\nepochs: none\nbatchsize: 3\nretain: {ratio: -1}\n"))
    assert all(key in why for key in ("epochs", "batchsize", "retain.ratio"))


@pytest.mark.parametrize("how", ["file", "method", "set"])
def test_unknown_method(write: Any, how: str) -> None:
    why = {
        "file": lambda: refusal(write("method: npoo\n")),
        "method": lambda: refusal(method="npoo"),
        "set": lambda: refusal(None, "method=npoo"),
    }[how]()
    assert why == f"unknown method 'npoo'; there is {', '.join(METHODS)}"


def test_unknown_term() -> None:
    why = refusal(None, "terms={npo: 1, kl: 1, xpo: 2}")
    assert why == f"unknown term kl, xpo; there is {', '.join(sorted(OBJECTIVES))}"


@pytest.mark.parametrize("terms", ["{}", "{rt: 1}"])
def test_loss_without_forget_rows(terms: str) -> None:
    assert refusal(None, f"terms={terms}") == "the loss has no term on the forget rows"


def test_method_and_terms_exclude_each_other(write: Any) -> None:
    assert "give either 'method' or 'terms'" in refusal(write("method: npo\nterms: {npo: 1}\n"))


def test_method_or_terms_must_be_there(write: Any) -> None:
    assert "give either 'method' or 'terms'" in refusal(write("epochs: 3\n"))


def test_setting_terms_drops_the_method() -> None:
    recipe = load_recipe(overrides=["terms={npo: 1, rt: 2}"])
    assert (recipe.method, recipe.terms, recipe.name) == (None, {"npo": 1.0, "rt": 2.0}, "npo-rt")


def test_setting_the_method_drops_the_terms(write: Any) -> None:
    recipe = load_recipe(write("terms: {npo: 1}\n"), overrides=["method=ga"])
    assert (recipe.method, recipe.terms) == ("ga", None)


@pytest.mark.parametrize(
    "override",
    [
        "epochs=0",
        "epochs=2.5",
        "epochs=many",
        "epochs=",
        "epochs=null",
        "epochs.x=1",
        "batch_size=-1",
        "beta=0",
        "learning_rate=0",
        "learning_rate=-1e-5",
        "learning_rate=[1]",
        "weight_decay=-0.1",
        "max_grad_norm=0",
        "seed=-1",
        "seed=4294967296",
        "precision=fp8",
        "optimizer=sgd",
        "weights=bf16",
        "lora.quantisation=int4",
        "max_length=1",
        "lora.rank=0",
        "lora.dropout=1",
        "retain.ratio=0",
        "retain.nearest_share=1.01",
        "retain.near_duplicate=101",
        "retain.check_share=1",
        "verify.delta=0",
        "verify.delta=0.21",
        "verify.utility_loss=1",
        "verify.distractors=0",
        "retain=7",
        "terms=[npo]",
    ],
)
def test_bad_value_names_its_key(override: str) -> None:
    key = override.split("=")[0]
    assert key.removesuffix(".x") in refusal(None, override)


@pytest.mark.parametrize("value", [".nan", ".inf", "-.inf", "nan", "inf", "'NaN'"])
@pytest.mark.parametrize("key", ["learning_rate", "beta", "forget_weight", "retain.ratio", "terms"])
def test_not_finite(key: str, value: str) -> None:
    override = f"terms={{npo: {value}}}" if key == "terms" else f"{key}={value}"
    why = refusal(None, override)
    assert key in why
    assert "finite number" in why


@pytest.mark.parametrize("key", ["epochs", "seed", "learning_rate", "lora.rank"])
def test_yes_is_not_a_number(key: str) -> None:
    assert key in refusal(None, f"{key}=yes")


@pytest.mark.parametrize("text", ["Question:", "{prompt", "{ prompt }", ""])
def test_prompt_format_needs_the_prompt(text: str) -> None:
    assert "'prompt_format' must contain {prompt}" in refusal(options={"prompt_format": text})


@pytest.mark.parametrize(
    "override", ["epochs", "=3", "epochs =3", "Epochs=3", "retain..ratio=1", ".ratio=1", "a b=1", ""]
)
def test_set_needs_key_and_value(override: str) -> None:
    assert refusal(None, override) == f"--set needs key=value, such as learning_rate=1e-5, got '{override}'"


@pytest.mark.parametrize(
    ("overrides", "why"),
    [
        (
            ["lora.quantisation=nf4", "weights=bfloat16"],
            "'weights: bfloat16' contradicts 'lora.quantisation: nf4'",
        ),
        (["lora.quantisation=nf4", "weights=float32"], "'weights: float32' contradicts 'lora.quantisation: nf4'"),
        (["weights=bfloat16", "precision=fp32"], "'weights: bfloat16' cannot be computed with in 'precision: fp32'"),
        (["weights=bfloat16", "precision=fp16"], "'weights: bfloat16' cannot be computed with in 'precision: fp16'"),
    ],
)
def test_contradictions_about_memory(overrides: list[str], why: str) -> None:
    assert refusal(None, *overrides) == f"recipe: {why}"


@pytest.mark.parametrize(
    "overrides",
    [
        ["lora.quantisation=nf4", "optimizer=adamw8bit", "precision=fp32"],
        ["weights=bfloat16", "precision=bf16", "optimizer=adamw8bit"],
        ["weights=bfloat16", "lora.rank=4"],
        ["weights=float32", "precision=bf16"],
        ["lora.quantisation=none", "weights=bfloat16"],
    ],
)
def test_no_contradiction(overrides: list[str]) -> None:
    assert load_recipe(overrides=overrides).method == "npo-rt"


# YAML


@pytest.mark.parametrize("text", ["1e-5", "1.0e-5", "0.00001", "1E-5", "1.e-5", "'1e-5'"])
def test_scientific_notation(write: Any, text: str) -> None:
    """YAML 1.1 takes 1e-5 for a string; a recipe takes it for the number that it is."""
    assert load_recipe(write(f"method: npo\nlearning_rate: {text}\n")).learning_rate == 1e-5
    assert load_recipe(overrides=[f"learning_rate={text}"]).learning_rate == 1e-5


def test_bad_yaml_names_the_line(write: Any) -> None:
    name = write("method: npo\nepochs: [1\nseed: 2\n")
    assert refusal(name) == f"{name}:3: is not YAML"


@pytest.mark.parametrize(
    ("text", "where", "words"),
    [
        (b"a: 1\nmethod: \xff", ":2", "is not UTF-8"),
        (b"a: 1\nmethod: npo\0", ":2", "holds a NUL byte"),
        (b"method: npo\x01", "", "is not YAML"),
        (b"a: 1\nmethod: " + b"[" * 10_000, ":2", "is nested too deeply"),
        (b"a: " + b"[" * 10_000 + b"]" * 10_000, ":1", "is nested too deeply"),
        (b"- " * 10_000, ":1", "is nested too deeply"),
        (b"a: 1\nb: &x 2\nc: *x\n", ":3", "aliases are not allowed"),
        (b"a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]", ":2", "aliases are not allowed"),
        (b"method: npo\nretain:\n  ratio: 1\n  ratio: 2\n", ":3", "a key stands twice"),
        (b"method: npo\nmethod: ga\n", ":1", "a key stands twice"),
        (b"method: npo\nseed: 0x" + b"f" * 60_000, ":2", "a number that is too long"),
        (b"method: npo\nseed: 1" + b":59" * 20_000, ":2", "a number that is too long"),
        (b"method: npo\nbeta: 1." + b"9" * 60_000, ":2", "a number that is too long"),
        (b"\x1f\x8b\x08\x00rest", "", "is compressed (gzip)"),
        (b"# " + b"x" * 70_000, "", "longer than 64 Ki characters"),
        (b"# " + b"x" * 300_000, "", "larger than 256 KiB"),
    ],
)
def test_unreadable_yaml_names_the_file(write: Any, text: bytes, where: str, words: str) -> None:
    name, began = write(text), time.process_time()
    why = refusal(name)
    assert why.startswith(f"{name}{where}: ")
    assert words in why
    assert time.process_time() - began < 2


def test_a_byte_order_mark_and_windows_line_breaks(write: Any) -> None:
    assert load_recipe(write(b"\xef\xbb\xbfmethod: npo\r\nepochs: 3\r\n")).epochs == 3


def _numeric(part: type[BaseModel], before: str = "") -> Iterator[str]:
    """Every key that holds a number, with its part."""
    for name, field in part.model_fields.items():
        for kind in (field.annotation, *get_args(field.annotation)):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from _numeric(kind, f"{before}{name}.")
            elif kind in (int, float) and get_origin(field.annotation) is not dict:
                yield f"{before}{name}"


NUMERIC = sorted(_numeric(Recipe))
too_large = st.one_of(
    st.integers(min_value=10**12 + 1).map(str),
    st.integers(max_value=-(10**12) - 1).map(str),
    st.integers(309, 100_000).map(lambda exponent: f"1e{exponent}"),
    st.floats(min_value=1e12, exclude_min=True).map(repr),
    st.sampled_from(["1e999", "-1e999", "1.0e+999", ".inf", "-.inf", ".nan", "9" * 4301, "0x" + "f" * 30, "'1e999'"]),
)


def test_every_part_of_a_recipe_has_numbers() -> None:
    assert {"epochs", "beta", "seed", "lora.rank", "passages.window", "retain.ratio", "verify.delta"} <= set(NUMERIC)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from([*NUMERIC, "hyperparameters.beta"]), too_large)
def test_a_number_that_overflows_ends_with_the_name_of_its_field(key: str, value: str) -> None:
    why = refusal(None, f"{key}={value}")
    assert all(part in why for part in key.split("."))


@pytest.mark.parametrize("key", [*NUMERIC, "hyperparameters", "terms"])
@pytest.mark.parametrize("value", [10**400, 2**63, 1e308], ids=["10**400", "2**63", "1e308"])
def test_the_same_of_values_that_a_program_gives(key: str, value: float) -> None:
    *parents, last = key.split(".")
    given: Any = {last: {"npo": value} if last in ("hyperparameters", "terms") else value}
    for parent in reversed(parents):
        given = {parent: given}
    with pytest.raises(RecipeError, match=key):
        load_recipe(method=None if key == "terms" else "npo", options=given)


@pytest.mark.parametrize("text", ["", "# nothing\n", "- npo\n", "npo\n", "3\n"])
def test_yaml_that_is_no_mapping(write: Any, text: str) -> None:
    name = write(text)
    assert refusal(name) == f"{name}: must hold keys and values"


def test_key_that_is_no_string(write: Any) -> None:
    assert "Keys should be strings" in refusal(write("method: npo\n1: 2\n"))


@pytest.mark.parametrize(
    "tag", ["!!python/object/apply:os.system", "!!python/object/new:os.system", "!!python/name:os.system"]
)
def test_python_tags_are_refused_and_not_run(write: Any, tmp_path: Path, tag: str) -> None:
    trace = tmp_path / "trace"
    name = write(f"description: x\nmethod: {tag} ['touch {trace}']\n")
    assert refusal(name) == f"{name}:2: is not YAML"
    assert refusal(None, f"method={tag} ['touch {trace}']") == "--set method: the value is not YAML"
    assert not trace.exists()


@pytest.mark.parametrize("value", ["2024-13-45", "9" * 5000], ids=["impossible-date", "huge-number"])
def test_yaml_value_that_python_cannot_make(write: Any, value: str) -> None:
    """PyYAML lets the ValueError of `datetime.date` and of `int` through."""
    name = write(f"method: npo\nseed: {value}\n")
    assert name in refusal(name)
    assert "seed" in refusal(None, f"seed={value}")


def test_deeply_nested_set() -> None:
    assert "epochs" in refusal(None, f"epochs={'[' * 5000}")


def test_recipe_name_longer_than_the_file_system_allows() -> None:
    assert "there is" in refusal("a" * 300)


# Weights of the terms


def test_weights_multiply_into_the_terms_of_a_method() -> None:
    recipe = load_recipe(method="npo-rt", overrides=["forget_weight=0.5", "retain_weight=3"])
    assert recipe.weighted_terms() == {"npo": 0.5, "rt": 3.0}


def test_weights_multiply_into_given_terms() -> None:
    recipe = load_recipe(overrides=["terms={npo: 2, ga: 0.1, rt: 4}", "forget_weight=0.5", "retain_weight=3"])
    assert recipe.weighted_terms() == {"npo": 1.0, "ga": 0.05, "rt": 12.0}


def test_hyperparameters_hold_only_what_is_set() -> None:
    assert Recipe(method="npo").all_hyperparameters() == {}
    assert Recipe(method="npo", beta=0.3).all_hyperparameters() == {"beta": 0.3}


def test_recipe_cannot_be_changed() -> None:
    recipe = load_recipe()
    with pytest.raises(ValidationError):
        recipe.epochs = 1  # type: ignore[misc]


# Shipped recipes


def test_shipped_recipes_are_there() -> None:
    assert set(shipped_recipes()) >= {"npo-rt", "npo", "ga", "ga-rt", "npo-rt-lora", "npo-rt-qlora", "npo-rt-large"}


@pytest.mark.parametrize("name", sorted(shipped_recipes()))
def test_shipped_recipe_loads_and_says_what_it_is(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.description
    assert recipe.source
    assert recipe.weighted_terms()


@pytest.mark.parametrize("method", METHODS)
def test_every_method_resolves(method: str) -> None:
    assert load_recipe(method=method).method == method


def test_npo_rt_spells_out_the_defaults() -> None:
    """npo-rt.yaml documents the defaults, so it must hold them, value by value."""
    spelled = yaml.safe_load(shipped_recipes()["npo-rt"].read_text())
    words = {name: spelled.pop(name) for name in ("description", "source", "method")}
    assert spelled.pop("beta") == OBJECTIVES["npo"].hyperparameters["beta"]
    defaults = Recipe(**words).model_dump(mode="json")
    for part in ("retain", "verify"):
        for key, value in spelled.pop(part).items():
            assert (key, value) == (key, defaults[part][key])
    assert spelled == {key: defaults[key] for key in spelled}
    assert set(spelled) >= {"learning_rate", "epochs", "batch_size", "weight_decay", "warmup_epochs", "seed"}


def test_default_run_is_the_papers_setting() -> None:
    recipe = load_recipe()
    assert recipe.weighted_terms() == {"npo": 1.0, "rt": 1.0}
    assert (recipe.beta, recipe.learning_rate, recipe.epochs, recipe.batch_size) == (0.1, 1e-5, 10, 32)
    assert (recipe.retain, recipe.verify, recipe.lora) == (Retain(), Verify(), None)
    assert (recipe.optimizer, recipe.weights) == ("adamw", "auto")


# Round trip

shares = st.floats(0.01, 0.99)
sizes = st.integers(1, 10**6)
weights = st.floats(-1e6, 1e6, allow_subnormal=False)
positive = st.floats(1e-9, 1e9)
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
names = text.filter(str.strip)
loras = st.builds(
    Lora,
    rank=sizes,
    alpha=sizes,
    dropout=shares,
    targets=names | st.lists(names, min_size=1, max_size=3).map(tuple),
    quantisation=st.sampled_from(["none", "nf4"]),
)
losses = st.fixed_dictionaries({"method": st.sampled_from(list(METHODS))}) | st.fixed_dictionaries(
    {"terms": st.dictionaries(st.sampled_from(["npo", "ga", "rt", "no", "1", "null"]), weights, min_size=1)}
)
settings_of_recipe = st.fixed_dictionaries(
    {},
    optional={
        "description": text,
        "source": text,
        "beta": positive,
        "forget_weight": weights,
        "retain_weight": weights,
        "learning_rate": positive,
        "epochs": sizes,
        "seed": st.integers(0, 2**32 - 1),
        "precision": st.sampled_from(["auto", "fp32", "bf16", "fp16"]),
        "optimizer": st.sampled_from(["adamw", "adamw8bit"]),
        "max_length": st.none() | st.integers(2, 10**6),
        "prompt_format": st.tuples(text, text).map(lambda parts: "{prompt}".join(parts)),
        "lora": st.none() | loras,
        "passages": st.builds(Passages, window=st.none() | st.integers(8, 10**6), overlap=st.floats(0, 0.9)),
        "retain": st.builds(Retain, ratio=positive, minimum=sizes, check_share=shares),
        "verify": st.builds(Verify, delta=st.floats(1e-6, 0.2), utility_loss=shares),
    },
)


@settings(deadline=None)
@given(losses, settings_of_recipe)
def test_round_trip(loss: dict[str, Any], settings: dict[str, Any]) -> None:
    recipe = Recipe(**loss, **settings)
    assert parse_recipe(recipe.to_yaml()) == recipe


def test_resolved_recipe_spells_every_key() -> None:
    written = yaml.safe_load(load_recipe().to_yaml())
    assert set(written) == set(Recipe.model_fields)
    assert set(written["retain"]) == set(Retain.model_fields)


@pytest.mark.parametrize("damaged", ["", "method: npo\nratoi: 1\n", "method: npo\nepochs: [1", "- npo\n"])
def test_edited_recipe_of_a_run_is_refused(damaged: str) -> None:
    with pytest.raises(RecipeError):
        parse_recipe(damaged)


# The command line's options


def from_options(**options: Any) -> Recipe:
    usual: dict[str, Any] = {"recipe_name": None, "overrides": (), "max_length": None}
    return RecipeChoice(**{**usual, **options}).load()


def test_lora_flag_adds_the_default_adapters() -> None:
    assert from_options(lora=True).lora == Lora()
    assert from_options(lora=False).lora is None


def test_lora_flag_goes_with_any_method() -> None:
    recipe = from_options(method="ga-rt", lora=True)
    assert (recipe.method, recipe.lora) == ("ga-rt", Lora())


def test_lora_flag_with_a_setting() -> None:
    assert from_options(lora=True, overrides=("lora.rank=8",)).lora == Lora(rank=8)


def test_lora_flag_keeps_the_recipes_adapters(write: Any) -> None:
    name = write("method: npo-rt\nlora: {rank: 64, alpha: 128}\n")
    assert from_options(recipe_name=name, lora=True).lora == Lora(rank=64, alpha=128)


def test_lora_flag_and_a_setting_keep_the_recipes_adapters(write: Any) -> None:
    name = write("method: npo-rt\nlora: {rank: 64, alpha: 128}\n")
    overrides = ("lora.dropout=0.1",)
    expected = Lora(rank=64, alpha=128, dropout=0.1)
    assert from_options(recipe_name=name, lora=True, overrides=overrides).lora == expected


def test_qlora_flag_adds_the_default_adapters_over_nf4() -> None:
    recipe = from_options(qlora=True)
    assert recipe.lora == Lora(quantisation="nf4")
    assert recipe.learning_rate == load_recipe("npo-rt-qlora").learning_rate == load_recipe("npo-rt-lora").learning_rate
    assert from_options(method="ga-rt", qlora=True).method == "ga-rt"


def test_qlora_flag_includes_the_lora_flag() -> None:
    assert from_options(lora=True, qlora=True) == from_options(qlora=True)


def test_qlora_flag_keeps_the_recipes_adapters(write: Any) -> None:
    name = write("method: npo-rt\nlora: {rank: 64, alpha: 128}\n")
    assert from_options(recipe_name=name, qlora=True).lora == Lora(rank=64, alpha=128, quantisation="nf4")


def test_lora_flag_keeps_the_recipes_quantisation() -> None:
    assert from_options(recipe_name="npo-rt-qlora", lora=True).lora == Lora(quantisation="nf4")


def test_qlora_flag_on_a_recipe_for_whole_weights() -> None:
    with pytest.raises(RecipeError, match="contradicts 'lora"):
        from_options(recipe_name="npo-rt-large", qlora=True)


def test_optimizer_option() -> None:
    assert from_options().optimizer == "adamw"
    assert from_options(optimizer="adamw8bit").optimizer == "adamw8bit"
    assert from_options(recipe_name="npo-rt-large").optimizer == "adamw8bit"
    assert from_options(recipe_name="npo-rt-large", optimizer="adamw").optimizer == "adamw"


def test_without_the_flag_the_recipe_decides() -> None:
    assert from_options(recipe_name="npo-rt-lora").lora == Lora()


def test_max_length_option() -> None:
    assert from_options(max_length=128).max_length == 128


def test_set_beats_the_max_length_option() -> None:
    assert from_options(max_length=128, overrides=("max_length=64",)).max_length == 64


def test_verify_has_no_lora_flag() -> None:
    assert _scoring(None, (), None).load() == load_recipe()


# Which modules adapters may touch, and passages


@pytest.mark.parametrize(
    ("text", "targets"),
    [
        ("[q_proj, v_proj]", ("q_proj", "v_proj")),
        ("all-linear", "all-linear"),
        (r"'.*\.layers\.[01]\..*_proj'", r".*\.layers\.[01]\..*_proj"),
    ],
)
def test_targets_of_adapters(text: str, targets: Any) -> None:
    lora = load_recipe("npo-rt-lora", overrides=[f"lora.targets={text}"]).lora
    assert lora is not None
    assert lora.targets == targets


@pytest.mark.parametrize("text", ["[]", "''", "[q_proj, '']", "' '"])
def test_targets_that_name_nothing(text: str) -> None:
    assert refusal(None, f"lora.targets={text}").startswith("recipe: lora.targets: names no module; give all-linear")


@pytest.mark.parametrize("override", ["passages.window=7", "passages.overlap=0.95", "passages.overlap=-0.1"])
def test_windows_that_are_none(override: str) -> None:
    assert override.partition("=")[0] in refusal(None, override)


def test_passages_of_a_recipe_from_before_there_were_any() -> None:
    assert parse_recipe("method: npo\n").passages == Passages(window=None, overlap=0.25)


def resolved(recipe: Recipe) -> dict[str, Any]:
    return recipe.model_dump(exclude={"description", "source"})


@pytest.mark.parametrize("name", ["npo-rt-lora", "npo-rt-qlora", "npo-rt-large", "ga-rt", "yao"])
def test_calibration_lies_over_any_recipe(name: str) -> None:
    """Only what balances the terms changes; how it is trained is the recipe's own."""
    plain, calibrated = load_recipe(name), load_recipe(name, calibrated=True)
    wanted = load_recipe("npo-rt-calibrated")
    for key in CALIBRATING:
        assert getattr(calibrated, key) == getattr(wanted, key) != getattr(plain, key)
    kept = {key: value for key, value in resolved(plain).items() if key not in CALIBRATING}
    assert kept.items() <= resolved(calibrated).items()
    assert calibrated.description == (
        f"{plain.description} With --holdout: forget_weight, retain_weight, calibration, anchor are those of "
        "npo-rt-calibrated."
    )


def test_a_recipe_that_calibrates_by_itself_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("method: npo-rt\nforget_weight: 0.5\ncalibration: {weight: 2.0}\n")
    assert load_recipe(str(file), calibrated=True) == load_recipe(str(file))
    assert load_recipe("npo-rt-calibrated", calibrated=True) == load_recipe("npo-rt-calibrated")


def test_what_is_set_by_hand_lies_over_the_calibration() -> None:
    found = load_recipe("npo-rt-lora", calibrated=True, overrides=["forget_weight=0.2", "calibration.share=0.3"])
    assert found.forget_weight == 0.2
    assert found.calibration is not None
    assert found.calibration.share == 0.3
    assert found.anchor == load_recipe("npo-rt-calibrated").anchor
