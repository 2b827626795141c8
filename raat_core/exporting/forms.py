"""The forms in which a model is handed on, and the files of each; known without torch."""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

Form: TypeAlias = Literal["state-dict", "torch-export", "onnx", "robustbench"]
FORMS: tuple[Form, ...] = get_args(Form)

MODEL_CARD = "README.md"
RECEIPT = "export.json"
"""What the folder is, and the SHA-256 of each other file in it."""
CODE = "model.py"
"""The network's code, for the forms that hold weights alone."""
STATE_DICT = "weights.pt"
PROGRAM = "model.pt2"
GRAPH = "model.onnx"
ZOO_ENTRY = "zoo.py"
"""What adds the model to RobustBench's zoo."""
