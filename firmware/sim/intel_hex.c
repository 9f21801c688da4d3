#include "intel_hex.h"

#include <stdio.h>

enum { DATA = 0, END = 1, SEGMENT = 2, START_SEGMENT = 3, LINEAR = 4, START_LINEAR = 5 };
enum { LONGEST = 1 + 2 * (5 + 255) + 3, HEAD = 4, MOST_RECORD = HEAD + 255 + 1 };

struct record {
    uint8_t bytes[MOST_RECORD]; /* count, address, type, data, sum */
};

static bool parse(const char *line, struct record *record)
{
    size_t length = 0;
    unsigned value;
    uint8_t sum = 0;
    if (*line++ != ':')
        return false;
    for (; length < MOST_RECORD && sscanf(line, "%2x", &value) == 1; line += 2) {
        record->bytes[length++] = (uint8_t)value;
        sum = (uint8_t)(sum + value);
    }
    return length > HEAD && length == HEAD + record->bytes[0] + 1u && sum == 0;
}

typedef bool put_bytes(void *self, uint32_t address, const uint8_t *bytes, size_t count);

/* What is wrong; NULL: nothing. */
static const char *read_records(FILE *file, put_bytes *put, void *self)
{
    char line[LONGEST + 1];
    struct record record;
    uint32_t base = 0;
    while (fgets(line, sizeof line, file)) {
        if (!parse(line, &record))
            return "is no Intel HEX file, or damaged";
        const uint8_t *data = record.bytes + HEAD;
        switch (record.bytes[3]) {
        case DATA:
            if (!put(self, base + (uint32_t)(record.bytes[1] << 8 | record.bytes[2]), data, record.bytes[0]))
                return "does not fit this chip";
            break;
        case END:
            return NULL;
        case SEGMENT:
            base = (uint32_t)(data[0] << 8 | data[1]) << 4;
            break;
        case LINEAR:
            base = (uint32_t)(data[0] << 8 | data[1]) << 16;
            break;
        case START_SEGMENT:
        case START_LINEAR:
            break; /* says where a debugger would begin; the chip knows better */
        default:
            return "has a record of an unknown type";
        }
    }
    return "ends too early";
}

bool intel_hex_read(const char *path, put_bytes *put, void *self)
{
    FILE *file = fopen(path, "r");
    const char *wrong = "can't be read";
    if (file) {
        wrong = read_records(file, put, self);
        fclose(file);
    }
    if (wrong)
        fprintf(stderr, "ringsim: %s %s\n", path, wrong);
    return !wrong;
}
