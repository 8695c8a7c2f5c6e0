import copy
import inspect
import pickle
import time

import pytest

from tfcells import errors
from tfcells.errors import (
    DamageError,
    EmptyDataError,
    MissingExtraError,
    MissingWeightsError,
    RequestError,
    StaleStoreError,
    TfcellsError,
    UnknownNameError,
)

ALL = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, Exception)]


def test_the_tree_is_the_one_that_is_drawn():
    parents = {kind.__name__: kind.__bases__[0].__name__ for kind in ALL}
    requests = (UnknownNameError, MissingWeightsError, MissingExtraError, EmptyDataError, StaleStoreError)
    assert parents == {
        "TfcellsError": "Exception",
        "RequestError": "TfcellsError",
        "DamageError": "TfcellsError",
        **{kind.__name__: "RequestError" for kind in requests},
    }
    assert all(name in errors.__doc__ for name in parents)


def test_a_request_that_cannot_be_met_exits_with_2_and_damage_with_3():
    assert {kind.exit_code for kind in ALL if issubclass(kind, RequestError)} == {2}
    assert DamageError.exit_code == TfcellsError.exit_code == 3


def test_errors_are_what_python_programmers_expect_them_to_be():
    assert issubclass(RequestError, ValueError)
    assert issubclass(DamageError, RuntimeError)


def test_an_unknown_name_says_what_came_what_is_near_and_what_was_expected():
    error = UnknownNameError("layer of mobilenet_v2", "blok_6", ["block_1", "block_6", "head"])
    assert str(error) == (
        "Unknown layer of mobilenet_v2 'blok_6'. Did you mean 'block_6'? Expected one of: block_1, block_6, head."
    )
    assert (error.name, error.known) == ("blok_6", ("block_1", "block_6", "head"))


def test_nothing_is_suggested_where_nothing_is_near():
    assert str(UnknownNameError("probe", "xyz", ["knn", "svm"])) == "Unknown probe 'xyz'. Expected one of: knn, svm."
    assert str(UnknownNameError("class", "eos", ())) == "Unknown class 'eos'. Expected one of: (none)."


def test_a_long_list_of_known_names_is_cut_and_counted():
    names = [f"layer_{number}" for number in range(1_041)]
    message = str(UnknownNameError("layer", "layer_10400", names))
    assert "layer_39 and 1,001 more." in message
    assert "layer_40," not in message
    assert "Did you mean 'layer_1040'" in message
    assert "more" not in str(UnknownNameError("layer", "x", names[:40]))


def test_a_million_known_names_do_not_hold_up_the_message():
    names = (f"class/{number:07d}.png" for number in range(1_000_000))
    started = time.process_time()
    message = str(UnknownNameError("id", "class/0001000.jpg", names))
    assert time.process_time() - started < 10
    assert "and 999,960 more." in message
    assert len(message) < 2_000


def test_a_missing_package_comes_with_the_command_that_brings_it():
    message = str(MissingExtraError("umap-learn", extra="maps"))
    assert message == "umap-learn is not installed. It comes with an extra: pip install 'tfcells[maps]'."


@pytest.mark.parametrize("restored", [lambda error: pickle.loads(pickle.dumps(error)), copy.copy, copy.deepcopy])
@pytest.mark.parametrize(
    "error",
    [
        RequestError("what came"),
        DamageError("what", 3),
        UnknownNameError("probe", "knm", ["knn"]),
        MissingExtraError("umap-learn", extra="maps"),
        EmptyDataError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_of_a_worker_process_arrives_as_it_was(error, restored):
    again = restored(error)
    assert type(again) is type(error)
    assert (str(again), again.args, again.__dict__) == (str(error), error.args, error.__dict__)
