"""`python -m tests.bench.features [join] [materialize] [read]`: run these tables, or all three."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] = ()) -> None:
    """One after the other: each measures the whole machine."""
    from tests.bench.features import join, materialize, read

    tables = {"join": join.main, "materialize": lambda: materialize.main([]), "read": read.main}
    parser = argparse.ArgumentParser(prog="python -m tests.bench.features", description=__doc__)
    parser.add_argument("tables", nargs="*", metavar="table", help=f"{', '.join(tables)} (default: all)")
    chosen = parser.parse_args(arguments).tables or list(tables)
    if unknown := sorted(set(chosen) - tables.keys()):
        parser.error(f"there is no table {unknown[0]!r}; there are {', '.join(tables)}")
    for name in chosen:
        tables[name]()


if __name__ == "__main__":
    main(sys.argv[1:])
