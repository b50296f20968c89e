"""Rows as the model will see them, in tokens: the process that knows the tokenizer, from the side that asks."""
