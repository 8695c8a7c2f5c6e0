import random

import pytest
from tensorflow.python.framework import config as framework_config

from tfcells.finetune.determinism import deterministic


def test_operations_are_deterministic_inside_and_the_process_is_left_as_it_was():
    assert not framework_config.is_op_determinism_enabled()
    with deterministic():
        assert framework_config.is_op_determinism_enabled()
        with deterministic():
            assert framework_config.is_op_determinism_enabled()
        assert framework_config.is_op_determinism_enabled()
    assert not framework_config.is_op_determinism_enabled()


def test_an_error_inside_leaves_it_too():
    with pytest.raises(ZeroDivisionError), deterministic():
        raise ZeroDivisionError
    assert not framework_config.is_op_determinism_enabled()


def test_what_is_drawn_inside_does_not_move_the_callers_generator():
    before = random.getstate()
    with deterministic():
        random.random()
    assert random.getstate() == before
