"""ONNX and TorchScript networks as kinds of model, as their model.toml describes them."""
