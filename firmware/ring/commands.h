/* What the host asks: one table of commands, refusals by name, and the memory that makes retries harmless. */
#ifndef COMMANDS_H
#define COMMANDS_H

/* Executes a frame that has come, and replies when what it asked for is done. */
void commands_poll(void);

#endif
