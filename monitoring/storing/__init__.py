"""The insides of the log store: from segments of JSON lines to Parquet parts and SQL views."""
