//! Arrow-based ways out: Parquet files, buckets, DuckDB, Delta Lake.
