"""Values, names, paths and headers that hostile requests are made of; JSON as text, as much of it is none."""

from __future__ import annotations

from binary_request import DTYPES, HEADER
from served_bundle import FEATURES

NUMBERS = [
    *("0", "-0", "1", "-1", "0.5", "1e-400", "1e400", "-1e400", "3.5e38", "1e308", "9007199254740993"),
    *(str(2**31), str(2**63), str(2**64), str(-(2**63) - 1), "9" * 400, "9" * 5000, "1" + "0" * 4299),
    *("NaN", "Infinity", "-Infinity", "nan", "01", "1.", ".5", "+1", "0x10", "1e", "--1", "1_000", "½"),
]
TEXTS = [
    *('""', '"5"', '"\\ud800"', '"\\udc00x"', '"\\ud800\\ud800"', '"\\u0000"', '"a\\"b"', '"\\x41"'),
    *('"\u202e"', '"' + "x" * 1001 + '"', '"' + "é" * 5000 + '"', '"NaN"', '"null"', "'a'"),
]
OTHERS = [
    *("null", "true", "false", "[]", "{}", "[[]]", "[null]", "[[[1]]]", "[" * 2000, "undefined", "", ","),
    *(
        "[" * 900 + "]" * 900,
        '{"a":' * 500 + "1" + "}" * 500,
        "/* */ 1",
        "[1,]",
        '{"a":1,}',
        "\x00",
        "\ufeff1",
    ),
]
NAMES = [
    *FEATURES,
    "features",
    "carrier",
    "route_id",
    "inputs",
    "data",
    "shape",
    "__proto__",
    "",
    "Features",
]
DATATYPES = [*DTYPES, "BYTES", "BF16", "STRING", "fp64", "", "FP64 "]
SHAPES = [
    *([], [0], [-1], [1], [5], [1, 5], [5, 1], [0, 5], [1, 0], [2, 5], [1, 5, 1], [-1, 5], [-1, -5]),
    *([2**32, 5], [2**63, 5], [2**62, 4], [3, 2**64], [10**40, 10**40], [10_000, 5], [10_001, 5]),
    *([1] * 100, [1.5, 5], [True, 5], ["1", 5], [None], [[1, 5]]),
]

TARGETS = [
    *("/", "//", "/v2", "/v2/", "/v2/models", "/v2/models/", "/v2/models//infer", "/v2/models/flight_delay"),
    *(
        "/v2/models/flight_delay/versions/1",
        "/v2/models/flight_delay/versions/1/infer",
        "/metrics",
        "/v2/openapi.json",
    ),
    *("/v2/models/flight_delay/versions/%ff/infer", "/v2/models/%00/infer", "/v2/models/..%2f..%2f/infer"),
    *(
        "/v2/models/flight_delay/infer?x=%zz&y",
        "/v2/models/flight_delay/infer/",
        "/v2/health/ready",
        "/v2/health/live",
    ),
    *(
        "/v2/models/" + "x" * 5000,
        "/%",
        "/%e0%80%80",
        "/v2/models/" + "%f0%9f%9b%a9" * 50 + "/infer",
        "/v3/models",
    ),
    *(
        "/v2/models/flight_delay/ready",
        "/v2/models/flight_delay/config",
        "/v2/repository/index",
        "/infer",
        "/..;/v2",
    ),
]
FIELDS = [
    *(
        ("Content-Type", value)
        for value in ("text/plain", "application/octet-stream", "x" * 3000, "", "\xff")
    ),
    *(
        (HEADER, value)
        for value in ("0", "1", "99999999999", "-1", "+1", "1.0", " ", "\xb2", "0" * 3000, "a")
    ),
    *(("Accept-Encoding", "gzip"), ("Accept", "nothing/at-all"), ("Host", ""), ("Range", "bytes=0-0")),
    *(("X-Odd", "\x80\xfe"), ("Cookie", "a" * 7000), ("Content-MD5", "wrong"), ("TE", "trailers")),
]
