"""Results that owners of boards send in."""
