"""The rules of ``edge-mpq lint``, one file a subject, and the mends beside them.

A file of rules has a list ``RULES``; a file ``mend_...`` has functions (reading, target) that
change the model.  export/lint_onnx.py puts both together.
"""
