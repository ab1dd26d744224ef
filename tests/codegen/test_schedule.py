"""Forms and schedules: their texts, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pathlift.codegen.schedule import ITEMSIZE, TEMPLATES, Form, Schedule, parse_form, parse_schedule
from pathlift.ir.errors import UsageError

layouts = st.sampled_from(["rows", "features"])
forms = st.builds(
    Form,
    st.just("float32"),
    st.sampled_from(["ieee", "tf32", "tf32x3"]),
    layouts,
    layouts,
    st.booleans(),
    st.booleans(),
    st.sampled_from(["", "Relu", "Gelu", "GeluTanh"]),
) | st.builds(Form, st.sampled_from(["float16", "bfloat16"]), st.just("ieee"), layouts, layouts, st.booleans())
sizes = st.sampled_from([1, 2, 16, 128])
schedules = st.builds(
    Schedule, st.sampled_from(list(TEMPLATES)), forms, sizes, sizes, sizes, st.integers(1, 9), sizes,
    st.integers(1, 5), st.booleans(), st.booleans(),
)  # fmt: skip


@given(schedules)
def test_texts_are_read_back(schedule: Schedule) -> None:
    assert parse_schedule(str(schedule)) == schedule
    assert parse_form(str(schedule.form)) == schedule.form


@pytest.mark.parametrize(
    "text", ["", "dot", "template=dot warps=four", "template=dot tile=3", "warps=4", "template=dot weights_left=maybe"]
)
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(UsageError) as raised:
        parse_schedule(text)
    assert raised.value.code == "PL1433"


@pytest.mark.parametrize(
    "change",
    [
        {"dtype": "float64"}, {"precision": "tf16"}, {"reads": "columns"}, {"writes": ""}, {"activation": "Tanh"},
    ],
)  # fmt: skip
def test_forms_name_what_exists(change: dict[str, Any]) -> None:
    with pytest.raises(UsageError) as raised:
        replace(Form(), **change)
    assert raised.value.code == "PL1430"


def test_precision_is_one_of_float32() -> None:
    with pytest.raises(UsageError) as raised:
        Form("float16", "tf32")
    assert raised.value.code == "PL1431"


@pytest.mark.parametrize("change", [{"block_n": 48}, {"warps": 0}, {"block_k": 3}, {"group": 0}, {"stages": 0}])
def test_tiles_are_powers_of_two(change: dict[str, Any]) -> None:
    with pytest.raises(UsageError) as raised:
        replace(Schedule("dot"), **change)
    assert raised.value.code == "PL1432"


def test_templates_have_sources() -> None:
    from pathlift.codegen.render import TEMPLATES as FOLDER

    assert {f"{name}.py.jinja" for name in TEMPLATES} <= {path.name for path in FOLDER.iterdir()}
    assert sorted(ITEMSIZE) == ["bfloat16", "float16", "float32"]
