// Many processes wait for the same listener with poll(2), and all wake up.
#include <arpa/inet.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static void work(int s) {
	for (;;) {
		struct pollfd p = {.fd = s, .events = POLLIN};
		poll(&p, 1, -1);
		int fd = accept(s, NULL, NULL);
		if (fd < 0)
			continue;
		usleep(1000);
		dprintf(fd, "ok\n");
		close(fd);
	}
}

int main(int argc, char **argv) {
	(void)argc;
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[1])), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int s = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), one = 1;
	setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	if (bind(s, (void *)&a, sizeof a) || listen(s, 4))
		return 1;
	for (int i = 0; i < 60; i++)
		if (fork() == 0)
			work(s);
	puts("ready");
	fflush(stdout);
	while (wait(NULL) > 0)
		;
}
