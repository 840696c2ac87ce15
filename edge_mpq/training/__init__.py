"""Training loops: mixed-precision training of the float model that is quantized later."""
