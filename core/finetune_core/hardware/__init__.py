"""What the machine has: GPUs through NVML, host memory, disk. Not available is a value, never an exception."""
