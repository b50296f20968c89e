"""All rows of a file checked: the findings, the process that looks for them, and the fixes."""
