"""Parts for the tests of exports."""
