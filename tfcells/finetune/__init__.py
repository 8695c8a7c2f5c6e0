"""How backbones adapt: networks, phases, data, and training that can be left alone.  [TensorFlow]

`settings` is what is asked for, without TensorFlow.
"""
