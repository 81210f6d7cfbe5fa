"""One statement of what a point-in-time join answers (`oracle`), and every engine held against it.

`histories` makes up feature rows and entity rows and writes them as parquet; `engines` asks through Feast's
public API. A new engine is one more `Engine`.
"""
