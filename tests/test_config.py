import json
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tfcells.config import StudyConfig, parse_config, parse_finetune_config, read_config, read_finetune_config
from tfcells.errors import RequestError, UnknownNameError

ALL_CONFIGS = sorted((Path(__file__).parents[1] / "configs").glob("*.yaml"))
FINETUNE = [path for path in ALL_CONFIGS if path.stem.startswith("finetune_")]
CONFIGS = [path for path in ALL_CONFIGS if path not in FINETUNE]
SMALLEST = {"name": "mine", "images": {"root": "cells"}}


@pytest.fixture
def read(tmp_path):
    def read(text, **overrides):
        path = tmp_path / "my_study.yaml"
        path.write_text(text, encoding="utf-8")
        return read_config(path, {key.replace("__", "."): value for key, value in overrides.items()})

    return read


def refusal(text, read, kind=RequestError, **overrides):
    with pytest.raises(kind) as refused:
        read(text, **overrides)
    return str(refused.value)


# What is read.


def test_only_the_images_must_be_named_everything_else_has_a_default(read):
    config = read("images: {root: cells}")
    assert config.name == "my_study"
    assert config.images.root == "cells"
    assert (config.images.groups, config.images.class_names) == (None, None)
    assert (config.images.folds, config.images.holdout, config.seed) == (5, 0.0, 0)
    assert (config.backbone.name, config.backbone.weights, config.backbone.taps) == ("mobilenet_v2", "imagenet", ())
    assert config.probes.kinds == ("logistic", "knn", "svm", "tree")
    assert config.maps.max_rows == 5000


def test_every_value_of_a_file_arrives_with_its_type(read):
    config = read(
        "name: blood\nseed: 3\nimages: {root: a b/c, groups: groups.csv, class_names: [b, a], folds: 3, holdout: 0.2}\n"
        "backbone: {name: vgg16, weights: none, taps: [x, y], size: 96}\nprobes: {kinds: [knn], concatenate: false}\n"
        "maps: {perplexity: 5}\n"
    )
    assert (config.name, config.seed, config.images.root) == ("blood", 3, "a b/c")
    assert config.images.groups == Path("groups.csv")
    assert config.images.class_names == ("b", "a")
    assert (config.images.folds, config.images.holdout) == (3, 0.2)
    assert (config.backbone.weights, config.backbone.taps, config.backbone.size) == ("none", ("x", "y"), 96)
    assert (config.probes.kinds, config.probes.concatenate) == (("knn",), False)
    assert config.maps.perplexity == 5.0
    assert isinstance(config.maps.perplexity, float)


@pytest.mark.parametrize("path", CONFIGS, ids=[path.stem for path in CONFIGS])
def test_every_config_that_comes_with_the_project_is_one(path):
    config = read_config(path)
    assert config.name == path.stem
    assert path.read_text().startswith("# ")  # the lab record


def test_the_project_comes_with_configs():
    assert "quickstart" in [path.stem for path in CONFIGS]


@pytest.mark.parametrize("path", CONFIGS, ids=[path.stem for path in CONFIGS])
def test_json_and_back_is_the_same_config(path):
    overrides = {"images.groups": "groups.csv", "images.class_names": "[a, b]", "backbone.size": "96"}
    for config in (read_config(path), read_config(str(path), overrides)):
        assert parse_config(json.loads(json.dumps(config.as_json()))) == config
        assert parse_config(config.as_json()) == config


def test_one_value_is_a_list_of_one(read):
    config = read("images: {root: cells, class_names: cell}\nprobes: {kinds: svm}\nbackbone: {taps: head}")
    assert (config.images.class_names, config.probes.kinds, config.backbone.taps) == (("cell",), ("svm",), ("head",))


@pytest.mark.parametrize(
    ("text", "root"),
    [
        ("2024", "2024"),
        ("-1", "-1"),
        ("2024-01-15", "2024-01-15"),
        ("2024-99-99", "2024-99-99"),
        ("2024_01", "2024_01"),
        ("007", "007"),
        ("12:30:45", "12:30:45"),
        ("0x1F", "0x1F"),
        ("+5", "+5"),
        ("'1.10'", "1.10"),
        ("tfds:tfcells_smears/n20_seed0:1.0.0", "tfds:tfcells_smears/n20_seed0:1.0.0"),
        ("~/cells", "~/cells"),
        ("ünïcode/µ", "ünïcode/µ"),
    ],
)
def test_a_folder_may_be_called_what_yaml_takes_for_something_else(read, text, root):
    assert read(f"images: {{root: {text}}}").images.root == root
    assert read("images: {root: x}", images__root=text).images.root == root


@pytest.mark.parametrize(
    ("text", "number"), [("0.25", 0.25), ("1e-3", 0.001), (".5", 0.5), ("2.5E-1", 0.25), ("0", 0.0)]
)
def test_numbers_may_be_written_as_people_write_them(read, text, number):
    assert read(f"images: {{root: x, holdout: {text}}}").images.holdout == number
    assert read("images: {root: x}", images__holdout=text).images.holdout == number


def test_a_byte_order_mark_and_anchors_are_read(read):
    assert read("\ufeffseed: &n 4\nimages: {root: x, folds: *n}").images.folds == 4


def test_a_config_is_frozen(read):
    with pytest.raises(FrozenInstanceError):
        read("images: {root: x}").images.root = "y"


# Overrides.


def test_overrides_win_over_the_file_and_may_add_sections(read):
    config = read(
        "images: {root: x, folds: 3}",
        images__root="/data/my cells",
        images__folds="4",
        images__holdout="0.2",
        images__class_names="[b, 'a: c', 3]",
        backbone__weights="none",
        backbone__size="null",
        probes__concatenate="false",
        seed="7",
        name="other",
    )
    assert (config.images.root, config.images.folds, config.images.holdout) == ("/data/my cells", 4, 0.2)
    assert config.images.class_names == ("b", "a: c", "3")
    assert (config.backbone.weights, config.backbone.size) == ("none", None)
    assert (config.probes.concatenate, config.seed, config.name) == (False, 7, "other")


def test_null_takes_a_value_of_the_file_away(read):
    text = "images: {root: x, groups: g.csv, class_names: [a]}"
    config = read(text, images__groups="null", images__class_names="~")
    assert (config.images.groups, config.images.class_names) == (None, None)


@pytest.mark.parametrize(
    "text",
    [
        "C: drive",
        "a: b: c",
        "plate #2",
        "#1",
        "{x}",
        "*star",
        "&and",
        "!bang",
        "| pipe",
        "- dash",
        "key:",
        "%",
        "@",
        "a\tb",
    ],
)
def test_a_path_on_the_command_line_stands_as_it_was_written(read, text):
    assert read("images: {root: x}", images__root=text).images.root == text


def test_quotes_on_the_command_line_make_text_of_anything(read):
    assert read("images: {root: x}", images__root="'1.10'").images.root == "1.10"
    assert read("images: {root: x}", images__root='"true"').images.root == "true"


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1).filter(lambda text: text[0] not in "'\"["))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_is_given_as_a_root_is_kept_or_refused_and_never_changed(read, text):
    try:
        assert read("images: {root: x}", images__root=text).images.root == text
    except RequestError as refused:
        assert "images.root" in str(refused)


# What is refused.


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "imges: {root: x}",
            "Unknown config key 'imges'. Did you mean 'images'? Expected one of: name, images, backbone",
        ),
        ("images: {rot: x}", "Unknown config key in images 'rot'. Did you mean 'root'? Expected one of: root, groups"),
        (
            "images: {root: x}\nbackbone: {batchsize: 3}",
            "Unknown config key in backbone 'batchsize'. Did you mean 'batch_s",
        ),
        ("images: {root: x}\n1: x", "Unknown config key '1'."),
        ("images: {root: x}\nnull: x", "Unknown config key 'None'."),
    ],
)
def test_an_unknown_key_is_refused_with_a_suggestion(read, text, words):
    assert words in refusal(text, read, UnknownNameError)


def test_an_unknown_key_on_the_command_line_is_refused_with_a_suggestion(read):
    text = "images: {root: x}"
    assert "Did you mean 'holdout'" in refusal(text, read, UnknownNameError, images__hold_out="0.2")
    assert "Did you mean 'images'" in refusal(text, read, UnknownNameError, image__root="x")
    assert "Unknown config key ''" in refusal(text, read, UnknownNameError, **{"": "x"})


@pytest.mark.parametrize("text", ["seed: 1", "images: {}", "images: {folds: 3}"])
def test_missing_images_say_how_to_give_them(read, text):
    words = "Config key images.root is missing. Give it in the file, or as --images.root VALUE."
    assert refusal(text, read) == words
    assert read(text, images__root="x").images.root == "x"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("seed: x", "Config key seed is 'x'. Expected a whole number."),
        ("seed: 1.5", "Config key seed is 1.5. Expected a whole number."),
        ("seed: true", "Config key seed is True. Expected a whole number."),
        ("seed: null", "Config key seed is None. Expected a whole number."),
        ("seed: [1]", "Config key seed is [1]. Expected a whole number."),
        ("seed: 010", "Config key seed is '010'. Expected a whole number."),
        ("maps: {perplexity: much}", "Config key maps.perplexity is 'much'. Expected a number."),
        ("maps: {perplexity: true}", "Config key maps.perplexity is True. Expected a number."),
        ("probes: {concatenate: 1}", "Config key probes.concatenate is 1. Expected true or false."),
        ("probes: {concatenate: 'no'}", "Config key probes.concatenate is 'no'. Expected true or false."),
        ("probes: {kinds: [svm, [knn]]}", "Config key probes.kinds is ['knn']. Expected text."),
        ("probes: {kinds: null}", "Config key probes.kinds is None. Expected text."),
        ("backbone: {name: yes}", "Config key backbone.name is True. Expected text; put it in quotes."),
        ("backbone: {name: 1.10}", "Config key backbone.name is 1.1. Expected text; put it in quotes."),
        ("backbone: {size: large}", "Config key backbone.size is 'large'. Expected a whole number."),
        ("backbone: mobilenet_v2", "Config section backbone is 'mobilenet_v2'. Expected the keys name, weights, taps"),
        ("backbone:", "Config section backbone is None. Expected the keys name, weights, taps"),
        ("backbone: [name]", "Config section backbone is ['name']. Expected the keys"),
    ],
)
def test_a_value_of_another_type_is_refused_with_what_came_and_what_was_expected(read, line, words):
    assert words in refusal(f"images: {{root: x}}\n{line}", read)


def test_a_path_of_another_type_is_refused(read):
    assert refusal("images: {root: x, groups: 3}", read) == "Config key images.groups is 3. Expected a path."


def test_a_value_below_a_value_is_refused(read):
    words = "--seed.more: seed is 1 in the config. Expected a section with keys."
    assert refusal("images: {root: x}\nseed: 1", read, seed__more="2") == words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "holds NoneType. Expected keys such as `images:` and `backbone:`."),
        ("- images", "holds list. Expected keys"),
        ("images", "holds str. Expected keys"),
        ("images: {root: x", "is not YAML: "),
        ("images: {root: x}\nimages: {root: y}", "the key 'images' comes twice"),
        ("images: {root: x, root: y}", "the key 'root' comes twice"),
        ("images: !!python/object/apply:os.getcwd []", "is not YAML: could not determine a constructor"),
        ("? [a]\n: b", "is not YAML: "),
        ("\0", "is not YAML: "),
        ("seed: " + "9" * 5000, "is not YAML: "),
        ("[" * 1000, "is not YAML: "),
    ],
)
def test_a_file_that_is_no_config_says_what_it_holds(read, text, words):
    message = refusal(text, read)
    assert "my_study.yaml" in message
    assert words in message


def test_a_file_that_cannot_be_read_is_refused(tmp_path):
    with pytest.raises(RequestError, match=r"Config .*nowhere\.yaml cannot be read: .*No such file"):
        read_config(tmp_path / "nowhere.yaml")
    with pytest.raises(RequestError, match="cannot be read"):
        read_config(tmp_path)
    (tmp_path / "latin.yaml").write_bytes("name: zäh".encode("latin-1"))
    with pytest.raises(RequestError, match=r"latin\.yaml cannot be read: .*utf-8"):
        read_config(tmp_path / "latin.yaml")


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-9, 9) | st.floats() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["name", "images", "root", "folds", "seed", "taps", "backbone", "x"]), inner
            )
        ),
        max_leaves=12,
    )
)
@settings(deadline=None)
def test_whatever_is_given_becomes_a_config_or_is_refused(anything):
    raw = {**SMALLEST, **anything} if isinstance(anything, dict) else {**SMALLEST, "images": anything}
    try:
        assert isinstance(parse_config(raw), StudyConfig)
    except RequestError as refused:
        assert str(refused).startswith(("Config ", "Unknown config key"))


# Fine-tunings.


@pytest.fixture
def read_finetune(tmp_path):
    def read(text, **overrides):
        path = tmp_path / "my_cells.yaml"
        path.write_text(text, encoding="utf-8")
        return read_finetune_config(path, {key.replace("__", "."): value for key, value in overrides.items()})

    return read


PHASES = "images: {root: x}\nphases:\n  - {epochs: 1, train: head}\n  - {epochs: 2, rates: {block_3: 1e-5}}\n"


@pytest.mark.parametrize("path", FINETUNE, ids=[path.stem for path in FINETUNE])
def test_every_finetuning_that_comes_with_the_project_is_one(path):
    config = read_finetune_config(path)
    assert config.name == path.stem
    assert path.read_text().startswith("# ")
    assert parse_finetune_config(json.loads(json.dumps(config.as_json()))) == config


def test_a_finetuning_needs_pictures_alone(read_finetune):
    config = read_finetune("images: {root: cells}")
    assert (config.name, config.seed, config.compare, config.against) == ("my_cells", 0, False, None)
    assert (config.images.folds, config.images.holdout, config.images.validation) == (1, 0.2, 0.08)
    assert [phase.train for phase in config.settings.phases] == ["head", "all"]
    assert config.settings.network.name == "mobilenet_v2"


def test_phases_are_a_list_and_each_can_be_overridden_by_its_number(read_finetune):
    config = read_finetune(PHASES, phases__2__epochs="7", phases__1__head_rate="0.01", phases__2__rates__block_9="0.1")
    assert [(phase.epochs, phase.train) for phase in config.phases] == [(1, "head"), (7, "all")]
    assert config.phases[0].head_rate == 0.01
    assert config.phases[1].rates == {"block_3": 1e-5, "block_9": 0.1}
    assert read_finetune("images: {root: x}\nphases: {epochs: 4}").phases[0].epochs == 4


@pytest.mark.parametrize("key", ["phases__3__epochs", "phases__0__epochs", "phases__one__epochs", "phases__2"])
def test_a_phase_that_is_not_there_cannot_be_overridden(read_finetune, key):
    words = "phases is a list of 2 in the config. Expected --phases.N.FIELD with N from 1 to 2."
    with pytest.raises(RequestError) as refused:
        read_finetune(PHASES, **{key: "3"})
    assert words in str(refused.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("images: {root: x, fold: 3}", "Unknown config key in images 'fold'. Did you mean 'folds'?"),
        ("images: {root: x}\nphases: [{epochs: 1, trian: head}]", "Unknown config key in phases 'trian'. Did you mean"),
        ("images: {root: x}\nphases: [{train: head}]", "Config key phases.epochs is missing."),
        ("images: {root: x}\nphases: []", "A fine-tuning without a phase."),
        ("images: {root: x}\ntraining: {monitor: f1}", "Unknown metric to monitor 'f1'."),
        ("images: {root: x, folds: 0}", "images.folds is 0. Expected 1 for one holdout, or 2 or more folds."),
        ("images: {root: x, holdout: 0}", "images.holdout is 0. Expected a share above 0 to less than 1."),
        ("images: {root: x, validation: 1}", "images.validation is 1. Expected a share from 0 to less than 1."),
        ("name: a/b\nimages: {root: x}", "name is 'a/b'. Expected letters, digits, dashes and underlines alone"),
        ("images: {root: x}\nprobes: {}", "Unknown config key 'probes'"),
    ],
)
def test_a_finetuning_that_cannot_be_is_refused_with_what_was_expected(read_finetune, text, words):
    with pytest.raises(RequestError) as refused:
        read_finetune(text)
    assert words in str(refused.value)
