"""The operators of ONNX, one file per family; importing a family registers its rules."""
