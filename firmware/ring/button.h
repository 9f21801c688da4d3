/* The button, where the board has one: each press goes on to the next preset. */
#ifndef BUTTON_H
#define BUTTON_H

/* A millisecond has passed. */
void button_tick(void);

#endif
