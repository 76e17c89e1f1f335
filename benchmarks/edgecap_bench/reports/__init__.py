"""Result files, tables, plots, and the registry of result formats."""
