/* A wire with a length: joins two TUN devices and holds each packet for a while, since not every kernel has netem.
 *
 *   delay NAME_A NAME_B ONE_WAY_US
 *
 * Makes both devices in the network namespace it starts in (they may be moved to others afterwards), says "ready", and
 * carries packets both ways until it is killed. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#define SLOTS 65536
#define MTU 1600

struct packet {
    long long due_us;
    int size;
    unsigned char data[MTU];
};
struct wire {
    int in, out;
    unsigned head, tail;
    struct packet *packets;
};

static long long now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000LL + t.tv_nsec / 1000;
}

static int open_tun(const char *name) {
    struct ifreq request = {.ifr_flags = IFF_TUN | IFF_NO_PI};
    int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK);
    strncpy(request.ifr_name, name, IFNAMSIZ - 1);
    if (fd < 0 || ioctl(fd, TUNSETIFF, &request) < 0) {
        perror("delay: /dev/net/tun");
        exit(1);
    }
    return fd;
}

int main(int argc, char **argv) {
    if (argc != 4)
        return fprintf(stderr, "delay NAME_A NAME_B ONE_WAY_US\n"), 2;
    long long hold_us = atoll(argv[3]);
    int a = open_tun(argv[1]), b = open_tun(argv[2]);
    struct wire wires[2] = {{.in = a, .out = b}, {.in = b, .out = a}};
    for (int i = 0; i < 2; i++)
        if (!(wires[i].packets = calloc(SLOTS, sizeof(struct packet))))
            return perror("delay"), 1;
    puts("ready");
    fflush(stdout);
    for (;;) {
        long long now = now_us(), next = now + 1000000;
        for (int i = 0; i < 2; i++) {
            struct wire *w = &wires[i];
            while (w->head != w->tail && w->packets[w->head % SLOTS].due_us <= now) {
                struct packet *p = &w->packets[w->head++ % SLOTS];
                if (write(w->out, p->data, (size_t)p->size) < 0 && now < 0)
                    perror("delay: write");
            }
            if (w->head != w->tail && w->packets[w->head % SLOTS].due_us < next)
                next = w->packets[w->head % SLOTS].due_us;
        }
        struct pollfd fds[2] = {{.fd = a, .events = POLLIN}, {.fd = b, .events = POLLIN}};
        struct timespec wait = {.tv_sec = (next - now) / 1000000, .tv_nsec = (next - now) % 1000000 * 1000};
        if (next <= now)
            wait.tv_sec = wait.tv_nsec = 0;
        ppoll(fds, 2, &wait, NULL);
        for (int i = 0; i < 2; i++) {
            struct wire *w = &wires[i];
            while (w->tail - w->head < SLOTS) {
                struct packet *p = &w->packets[w->tail % SLOTS];
                ssize_t size = read(w->in, p->data, MTU);
                if (size <= 0)
                    break;
                p->size = (int)size;
                p->due_us = now_us() + hold_us;
                w->tail++;
            }
        }
    }
}
