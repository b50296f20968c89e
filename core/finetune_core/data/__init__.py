"""Open a file of rows, recognise its shape, convert each row to one canonical form, and preview it."""
