"""The study of what each part and each loss is worth. Not part of the wheel."""
