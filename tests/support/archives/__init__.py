"""Archives for tests."""
