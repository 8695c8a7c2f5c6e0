import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfcells.names import drawn, visible


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("a\tb", r"a\tb"),
        ("a\nb\r", r"a\nb\r"),
        ("\x1b[2J", r"\x1b[2J"),
        ("\x00\x7f\x9b", r"\x00\x7f\x9b"),
        ("line\u2028paragraph\u2029", r"line\u2028paragraph\u2029"),
        (r"back\slash", r"back\slash"),
        ("b\u00f6se \u7d30\u80de 91.6\u00a0%", "b\u00f6se \u7d30\u80de 91.6\u00a0%"),
    ],
)
def test_control_characters_are_shown_as_escapes_and_nothing_else_is(name, shown):
    assert visible(name) == shown


@given(st.text())
def test_what_is_shown_stands_in_one_line_and_is_shown_alike_again(name):
    assert len(visible(name).splitlines()) <= 1
    assert visible(visible(name)) == visible(name)
    assert not re.search(r"[\x00-\x1f]", visible(name))


def test_dollar_signs_are_no_formula():
    assert drawn("$x$\t") == r"\$x\$\t"
