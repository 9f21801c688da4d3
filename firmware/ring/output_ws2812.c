/* WS2812 at 16 MHz, exact to the cycle and the same on both chips: 20 cycles (1.25 us) for every bit, high for
 * 5 (312 ns) or 13 (812 ns) of them. Interrupts are off while pixels go out. */
#include "config.h"

#ifndef RING_OUTPUT_NEOPIXEL

#include <avr/interrupt.h>
#include <util/atomic.h>

#include "board.h"
#include "output.h"

void output_start(void) {} /* board_start has made the pin a low output */

void output_show(const uint8_t *grb, uint8_t pixels)
{
    uint8_t bytes = pixels * 3;
    uint8_t byte = *grb++;
    uint8_t bit = 8;

    ATOMIC_BLOCK(ATOMIC_RESTORESTATE)
    {
        const uint8_t low = RING_PORT & (uint8_t)~_BV(RING_BIT);
        const uint8_t high = low | _BV(RING_BIT);

        /* The figures are the cycle within the bit in which an instruction begins. Both ways through the loop take 20;
         * a byte's end, which has more to do, has it done between the edges. One byte beyond the last is read. */
        __asm__ volatile("1: out %[port], %[high]   \n\t" /*  0: rises */
                         "   rjmp .+0               \n\t" /*  1 */
                         "   nop                    \n\t" /*  3 */
                         "   sbrs %[byte], 7        \n\t" /*  4: a zero falls at 5, a one passes over it */
                         "   out %[port], %[low]    \n\t" /*  5 */
                         "   lsl %[byte]            \n\t" /*  6 */
                         "   dec %[bit]             \n\t" /*  7 */
                         "   brne 2f                \n\t" /*  8 */
                         "   ld %[byte], %a[grb]+   \n\t" /*  9 */
                         "   ldi %[bit], 8          \n\t" /* 11 */
                         "   nop                    \n\t" /* 12 */
                         "   out %[port], %[low]    \n\t" /* 13: a one falls */
                         "   rjmp .+0               \n\t" /* 14 */
                         "   nop                    \n\t" /* 16 */
                         "   dec %[bytes]           \n\t" /* 17 */
                         "   brne 1b                \n\t" /* 18 */
                         "   rjmp 3f                \n\t"
                         "2: rjmp .+0               \n\t" /* 10 */
                         "   nop                    \n\t" /* 12 */
                         "   out %[port], %[low]    \n\t" /* 13: a one falls */
                         "   rjmp .+0               \n\t" /* 14 */
                         "   rjmp .+0               \n\t" /* 16 */
                         "   rjmp 1b                \n\t" /* 18 */
                         "3:                        \n\t"
                         : [byte] "+r"(byte), [bit] "+d"(bit), [bytes] "+r"(bytes), [grb] "+e"(grb)
                         : [port] "I"(_SFR_IO_ADDR(RING_PORT)), [high] "r"(high), [low] "r"(low)
                         : "memory");
    }
}

#endif
