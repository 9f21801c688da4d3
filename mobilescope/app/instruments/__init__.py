"""The instruments of an instrument file, real or simulated: opened, lit and measured."""
