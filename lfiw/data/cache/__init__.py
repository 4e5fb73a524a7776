"""Tables of samples on disk.

    cache/mine/manifest.json                     base columns, shards, provenance
    cache/mine/data/00000-00000.safetensors      <rank>-<sequence>; the base columns of the same rows together
    cache/mine/columns/features/pixels/…         a column computed later: manifest.json and shards of its own

Reading is `SampleCache`, writing `CacheWriter` and, for later columns, `ColumnWriter`; all three stand in `lfiw.data`.
"""
