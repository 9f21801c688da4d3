/* The whole firmware: start once, then pass for ever. No pass waits for anything. */
#ifndef RING_H
#define RING_H

#ifdef __cplusplus
extern "C" {
#endif

void ring_start(void);
void ring_pass(void);

#ifdef __cplusplus
}
#endif

#endif
