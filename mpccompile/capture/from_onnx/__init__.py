"""Turn an ONNX file into a module that is captured as any other: one rule per operator, by family in ``ops``."""
