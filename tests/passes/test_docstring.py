"""Help read off docstrings."""

from __future__ import annotations

import pytest

from pathlift.passes.docstring import parameter_help, summary
from pathlift.passes.registry import BUILT_IN, find_pass

DOCSTRING = """Do a thing: the first line.

    More about it.

    Parameters
    ----------
    q
        An exponent, ``1.5`` or `inf`. Between 0 and
        1e6.
    a, *others : list of str
        Two names, one text; a.b. ends

        no sentence.

    Raises
    ------
    ValueError
        Never.

    Attributes
    ----------
    name
        Of it! ∞ stays.
    """


def test_summary_is_the_first_line() -> None:
    assert summary(DOCSTRING) == "Do a thing: the first line."
    assert summary(None) == summary("") == ""


def test_parameters_and_attributes_are_told_in_a_sentence() -> None:
    assert parameter_help(DOCSTRING) == {
        "q": "An exponent, 1.5 or inf.",
        "a": "Two names, one text; a.b. ends no sentence.",
        "others": "Two names, one text; a.b. ends no sentence.",
        "name": "Of it! ∞ stays.",
    }


@pytest.mark.parametrize("docstring", [None, "", "One line.", "Parameters\n----------\n", "Notes\n-----\nq\n    No.\n"])
def test_nothing_is_told_where_nothing_is_written(docstring: str | None) -> None:
    assert parameter_help(docstring) == {}


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_option_of_every_pass_has_help(name: str) -> None:
    cls = find_pass(name)
    help_ = cls.option_help()
    assert list(help_) == list(cls.options())
    assert {option: text for option, text in help_.items() if not text} == {}
