"""ONNX and PyTorch in, ONNX out: safe reading, lowering to the IR, export, and saving."""
