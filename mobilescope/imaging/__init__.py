"""Pure array functions: arrays in, arrays or small frozen results out."""
