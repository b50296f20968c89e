"""Files of any size read from end to end: in parts, by all cores, in a process of its own."""
