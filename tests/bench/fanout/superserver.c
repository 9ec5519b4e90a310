/* One listening socket for a thousand "machines": every 127.x.y.z (or 10.66.x.y in a namespace) reaches it, and each
 * connection gets an `sshd -i` of its own. So there is no MaxStartups and no short listen queue between the hosts.
 *
 *   superserver PORT SSHD CONFIG
 *
 * Its children are waited for, so /proc/PID/stat shows the CPU that all servers took (cutime, cstime). */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static void reap(int number) {
    (void)number;
    while (waitpid(-1, NULL, WNOHANG) > 0)
        ;
}

int main(int argc, char **argv) {
    if (argc != 4)
        return fprintf(stderr, "superserver PORT SSHD CONFIG\n"), 2;
    struct sigaction action = {.sa_handler = reap, .sa_flags = SA_RESTART | SA_NOCLDSTOP};
    sigaction(SIGCHLD, &action, NULL);
    int on = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(argv[1]))};
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 4096))
        return perror("superserver"), 1;
    puts("ready");
    fflush(stdout);
    char *child[] = {argv[2], "-i", "-f", argv[3], NULL};
    for (;;) {
        int connection = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (connection < 0)
            continue;
        posix_spawn_file_actions_t files;
        posix_spawn_file_actions_init(&files);
        posix_spawn_file_actions_adddup2(&files, connection, 0);
        posix_spawn_file_actions_adddup2(&files, connection, 1);
        posix_spawn_file_actions_addopen(&files, 2, "/dev/null", 1, 0);
        pid_t pid;
        if (posix_spawn(&pid, argv[2], &files, NULL, child, environ))
            perror("posix_spawn");
        posix_spawn_file_actions_destroy(&files);
        close(connection);
    }
}
