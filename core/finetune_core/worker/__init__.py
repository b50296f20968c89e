"""The only room that imports the training stack; always started as a process of its own."""
