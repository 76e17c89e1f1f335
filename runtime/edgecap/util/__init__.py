"""General helpers: files, values as users write them, progress, HTML reports, quiet libraries."""
