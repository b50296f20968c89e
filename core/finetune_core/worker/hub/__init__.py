"""The model hub: access, downloads, what describes a model."""
