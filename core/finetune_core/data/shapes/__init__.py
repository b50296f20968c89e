"""The shape of rows: recognised from what they hold, mapped by columns, converted to the canonical rows."""
