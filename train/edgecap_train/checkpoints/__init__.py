"""Weights in and out: safetensors of ours, published checkpoints, EfficientNet-Lite2."""
