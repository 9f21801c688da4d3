MCU_uno := atmega328p
FLASH_uno := 12288
RAM_uno := 1024
