"""ONNX graphs of lower precision: ranges, int8, float16 weights."""
