/* A node's agent that costs nothing: prints the first line of a file, then the others in a circle, one every so many
 * milliseconds, until its stdin ends.
 *
 *   ticker FILE MILLISECONDS */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static char *line[256];
static size_t length[256];

static long long now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000LL + t.tv_nsec / 1000000;
}

int main(int argc, char **argv) {
    FILE *file = argc == 3 ? fopen(argv[1], "r") : NULL;
    if (!file)
        return fprintf(stderr, "ticker FILE MILLISECONDS\n"), 2;
    int count = 0;
    size_t room = 0;
    ssize_t size;
    while (count < 256 && (size = getline(&line[count], &room, file)) > 0) {
        length[count++] = (size_t)size;
        room = 0;
    }
    int period = atoi(argv[2]);
    long long due = now_ms();
    for (int i = 0;; i = i + 1 < count ? i + 1 : 1) {
        if (write(1, line[i], length[i]) < 0)
            return 1;
        for (due += period;;) {
            long long left = due - now_ms();
            if (left <= 0)
                break;
            struct pollfd input = {.fd = 0, .events = POLLIN};
            char data[4096];
            if (poll(&input, 1, (int)left) > 0 && read(0, data, sizeof data) <= 0)
                return 0;
        }
    }
}
