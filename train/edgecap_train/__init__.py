"""edgecap_train: teachers, the student, losses and data. Imports `edgecap`, torch; nothing of export or benchmarks."""
