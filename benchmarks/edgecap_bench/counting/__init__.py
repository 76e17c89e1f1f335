"""What a graph costs, counted and not timed: multiply-adds, parameters, operators."""
