"""Tables of samples on disk.

    cache/mine/manifest.json                     base columns, shards, provenance
    cache/mine/data/00000-00000.safetensors      <rank>-<sequence>; the base columns of the same rows together
    cache/mine/columns/features/pixels/…         a column computed later: manifest.json and shards of its own

Reading is `SampleCache`, writing `CacheWriter` and, for later columns, `ColumnWriter`; `write_rows` writes a cache that
holds rows of another one by number. All four stand in `lfiw.data`. Several processes write a cache with
`writer.PlannedWriter`.
"""
