"""Where a model is and what it is, read from config.json and safetensors headers without torch."""
