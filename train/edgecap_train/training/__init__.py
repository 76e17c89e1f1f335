"""The training loop of students and teachers: recipe, loop, run folder, several processes."""
