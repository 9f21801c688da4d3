// The ring as an Arduino sketch: open this folder in the IDE, choose "Arduino Uno" or "Nano", upload.
// Everything else is plain C beside this file, see ../README.md; what may be chosen stands in config.h.
#include "ring.h"

void setup() { ring_start(); }

void loop() { ring_pass(); }
