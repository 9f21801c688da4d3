/* The program outside the Arduino IDE. */
#include "ring.h"

/* Never returns: nothing need be kept for its caller. */
__attribute__((OS_main)) int main(void)
{
    ring_start();
    for (;;)
        ring_pass();
}
