import json
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

import tfcells.report

REQUIRED = (
    "format",
    "tfcells",
    "seed",
    "data",
    "split",
    "backbone",
    "handcrafted",
    "probes",
    "best",
    "baselines",
    "space",
    "selection",
    "concatenation",
    "confusion",
    "per_class",
    "probabilities",
    "leak_tax",
    "learning_curve",
    "review",
    "store",
)
OF_A_STUDY = ("study", "holdout", "maps", "export", "examples", "shortcuts", "audit", "config")
SCHEMA = json.loads(Path(tfcells.report.__file__).with_name("results.schema.json").read_text(encoding="utf-8"))
VALIDATOR = Draft202012Validator(SCHEMA)


def check(results):
    VALIDATOR.validate(results)


def properties_in(schema):
    """Every property with its name."""
    if isinstance(schema, dict):
        yield from schema.get("properties", {}).items()
        schema = list(schema.values())
    for inner in schema if isinstance(schema, list) else ():
        yield from properties_in(inner)


def test_the_schema_is_a_schema():
    Draft202012Validator.check_schema(SCHEMA)
    assert set(SCHEMA["required"]) == set(REQUIRED)


def test_the_schema_says_what_every_number_is():
    for name, part in properties_in(SCHEMA):
        leaf = part.get("type") not in ("object", "array") and "$ref" not in part
        assert "description" in part or not leaf, name


def test_results_of_a_sweep_are_valid(probe_results):
    check(probe_results)
    assert not set(OF_A_STUDY) & set(probe_results)


def test_results_of_a_study_are_valid(results):
    check(results)
    assert set(results) == {*REQUIRED, *OF_A_STUDY}


def test_a_study_without_a_holdout_or_with_one_layer_is_valid(results):
    check({**results, "holdout": None, "concatenation": None})


def test_joined_dealings_are_there_where_there_are_several(probe_results, results):
    assert probe_results["selection"]["joined"] is None
    assert results["selection"]["joined"]["dealings"] == len(results["selection"]["repeats"]) == 2


def test_a_study_by_another_engine_has_no_export_and_says_how_far_its_features_are(results):
    engine = {
        "name": "openvino",
        "precision": "float32",
        "batch_size": 32,
        "version": "2026.4",
        "device": "cpu",
        "parity": {"late": {"cosine": 0.99999, "relative_error": 1e-6}},
    }
    check({**results, "export": None, "store": {**results["store"], "engine": engine}})
    with pytest.raises(ValidationError):
        check({**results, "store": {**results["store"], "engine": {**engine, "device": "abacus"}}})


@pytest.mark.parametrize("key", REQUIRED)
def test_a_missing_key_is_found(probe_results, key):
    del probe_results[key]
    with pytest.raises(ValidationError, match=f"'{key}' is a required property"):
        check(probe_results)


@pytest.mark.parametrize("key", OF_A_STUDY)
def test_half_a_study_is_found(results, key):
    del results[key]
    with pytest.raises(ValidationError, match=f"'{key}' is a dependency of"):
        check(results)


def every_place(value, path=()):
    """Paths of all dictionary entries within a value."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield (*path, key)
            yield from every_place(inner, (*path, key))
    elif isinstance(value, list) and value:
        yield from every_place(value[0], (*path, 0))


FREE = {
    "classes",
    "left_out",
    "versions",
    "absent",
    "audit",
    "taps",
    "config",
    "parameters",
    "shares",
}  # keys that somebody's data or a configuration choose


def shorter(value):
    """The same with the first entry of every list alone: which keys there are does not depend on the others."""
    if isinstance(value, dict):
        return {key: shorter(inner) for key, inner in value.items()}
    return [shorter(inner) for inner in value[:1]] if isinstance(value, list) else value


def test_no_key_of_a_fixed_shape_may_be_missing_and_none_may_be_added(results):
    check(results)
    results = shorter(results)
    check(results)
    fixed = [path for path in every_place(results) if not FREE & set(path[:-1]) and path[-1] != "variance_ratio"]
    assert len(fixed) > 100
    for *above, last in fixed:
        holder = results
        for step in above:
            holder = holder[step]
        taken = holder.pop(last)
        optional = above == ["maps"] and last != "projector"
        assert VALIDATOR.is_valid(results) == optional, (*above, last)
        holder[last] = taken
        holder["surprise"] = 1
        assert not VALIDATOR.is_valid(results), (*above, "surprise")
        del holder["surprise"]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("best", "accuracy", "value"), 1.5),
        (("best", "accuracy"), 0.9),
        (("best", "tied_with_best"), "yes"),
        (("probes",), []),
        (("store", "digest"), "abc"),
        (("data", "quarantined"), [{"id": "a.png"}]),
        (("confusion", "counts"), [[-1]]),
        (("split", "folds"), 1),
        (("format",), 2),
    ],
)
def test_values_of_another_kind_are_found(results, path, value):
    holder = results
    for step in path[:-1]:
        holder = holder[step]
    holder[path[-1]] = value
    with pytest.raises(ValidationError):
        check(results)
