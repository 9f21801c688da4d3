# The USB bootloader keeps the top of the flash.
MCU_trinket := attiny85
FLASH_trinket := 5200
RAM_trinket := 256
