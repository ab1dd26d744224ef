"""Lowerings: what each ONNX operator is in the small op set, by family; importing one registers its operators."""
