// poll(2) and one process; sorts what it must not.
#include <arpa/inet.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static int by_value(const void *a, const void *b) { return *(const int *)a - *(const int *)b; }

static int report(void) {
	enum { many = 1 << 20 };
	int *all = malloc(many * sizeof *all), sum = 0;
	for (int round = 0; round < 100000; round++) {
		for (int i = 0; i < many; i++)
			all[i] = rand();
		qsort(all, many, sizeof *all, by_value);
		sum += all[0];
	}
	free(all);
	return sum;
}

int main(int argc, char **argv) {
	(void)argc;
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[1])), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int s = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), one = 1;
	setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	if (bind(s, (void *)&a, sizeof a) || listen(s, 16))
		return 1;
	puts("ready");
	fflush(stdout);
	struct pollfd p = {.fd = s, .events = POLLIN};
	while (poll(&p, 1, -1) > 0) {
		int fd = accept(s, NULL, NULL);
		if (fd < 0)
			continue;
		dprintf(fd, "%d\n", report());
		close(fd);
	}
}
