"""Memory measured: on the device before the run, or traced without one."""
