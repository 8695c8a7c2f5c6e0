"""What the network runs on: TensorFlow, OpenVINO or onnxruntime behind one contract, chosen by a fixed table."""
