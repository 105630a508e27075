// A relay whose upstream is full: its connect() gets no answer.
#include <arpa/inet.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static struct sockaddr_in at(int port) {
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	return a;
}

static int upstream(void) {
	int port = atoi(getenv("BACKEND"));
	struct sockaddr_in a = at(port);
	int s = socket(AF_INET, SOCK_STREAM, 0);
	return connect(s, (void *)&a, sizeof a) ? -1 : s;
}

int main(int argc, char **argv) {
	(void)argc;
	struct sockaddr_in a = at(atoi(argv[1]));
	int s = socket(AF_INET, SOCK_STREAM, 0), one = 1;
	setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	if (bind(s, (void *)&a, sizeof a) || listen(s, 16))
		return 1;
	puts("ready");
	fflush(stdout);
	for (;;) {
		struct pollfd p = {.fd = s, .events = POLLIN};
		poll(&p, 1, -1);
		int fd = accept(s, NULL, NULL), up = upstream();
		if (up < 0)
			dprintf(fd, "sorry\n");
		close(fd);
		close(up);
	}
}
