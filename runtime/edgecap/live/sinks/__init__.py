"""Where events go. Each module is one kind of place; `base` says what all of them can do."""
