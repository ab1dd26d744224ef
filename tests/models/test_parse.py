"""Option values, read or refused."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from pathlift.ir.errors import UsageError
from pathlift.models import parse


@pytest.mark.parametrize(
    ("read", "text", "expected"),
    [
        (parse.exponents, "1", (1.0,)),
        (parse.exponents, "1, 2.5,inf", (1.0, 2.5, math.inf)),
        (parse.extents, "N=8, H = 224", {"N": 8, "H": 224}),
        (parse.extents, "batch size=1", {"batch size": 1}),
        (parse.extents, "x=1.1=2,N=3", {"x=1.1": 2, "N": 3}),
        (parse.shape, "1,3, 224,224", (1, 3, 224, 224)),
        (parse.shape, "", ()),
        (parse.size, "8GB", 8 * 10**9),
        (parse.size, "1.5 kib", 1536),
        (parse.size, "100", 100),
        (parse.cluster, "4", 4),
        (parse.cluster, "tcp://10.0.0.7:8786", "tcp://10.0.0.7:8786"),
        (parse.cluster, "tls://[fe80::1]:1", "tls://[fe80::1]:1"),
    ],
)
def test_reads(read: Callable[[str], object], text: str, expected: object) -> None:
    assert read(text) == expected


@pytest.mark.parametrize(
    ("read", "text"),
    [
        *[(parse.exponents, text) for text in ("", "a", "1,", "nan", "1;2")],
        *[(parse.extents, text) for text in ("", "N", "N=", "=8", "N=-1", "N=1.5", "N=8,", "N=" + "9" * 30, "N=८")],
        *[(parse.shape, text) for text in ("1,", "-1", "N,3", "1x3", "9" * 5000)],
        *[
            (parse.cluster, text)
            for text in ("0", "-1", "1000", "1.5", "x", "tcp://a", "http://a:1", "tcp://a b:1", "٤")
        ],
        *[(parse.size, text) for text in ("", "GB", "-1GB", "8XB", "inf", "1e9", "9" * 400 + "GB")],
    ],
)
def test_refuses(read: Callable[[str], object], text: str) -> None:
    with pytest.raises(UsageError, match="for example") as caught:
        read(text)
    assert caught.value.exit_code == 2
