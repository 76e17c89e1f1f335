"""The student as graphs, and the check of graphs against PyTorch."""
