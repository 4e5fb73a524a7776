"""Tables of samples on disk.

    cache/mine/manifest.json                     base columns, shards, provenance
    cache/mine/data/00000-00000.safetensors      <rank>-<sequence>; the holds the base columns of the same rows
    cache/mine/columns/features/pixels/…         a column computed later: manifest.json and shards of its own

`SampleCache` reads a cache, `CacheWriter` writes one, `ColumnWriter` adds later columns, and `write_rows` writes a
cache that refers to rows of another one by number. All four are exported by `lfiw.data`. Several processes write one
cache with `writer.PlannedWriter`.
"""
