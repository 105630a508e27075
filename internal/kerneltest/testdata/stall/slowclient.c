// A server of one thread that believes what clients announce.
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static void read_request(int fd) {
	char head[16];
	int have = 0;
	while (have < (int)sizeof head) {
		int n = read(fd, head + have, sizeof head - have);
		if (n <= 0)
			return;
		have += n;
	}
	dprintf(fd, "thanks\n");
}

int main(int argc, char **argv) {
	(void)argc;
	struct sockaddr_in6 a = {.sin6_family = AF_INET6, .sin6_port = htons(atoi(argv[1]))};
	int s = socket(AF_INET6, SOCK_STREAM, 0), one = 1;
	setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	if (bind(s, (void *)&a, sizeof a) || listen(s, 32))
		return 1;
	puts("ready");
	fflush(stdout);
	for (;;) {
		int fd = accept(s, NULL, NULL);
		if (fd < 0)
			continue;
		read_request(fd);
		close(fd);
	}
}
