// A cache server of one thread: each request walks a table that is larger than
// the memory it may have.
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PAGES (96 << 8) // 96 MiB

static char *table;

static unsigned look_up(unsigned key) {
	unsigned sum = 0;
	for (long i = 0; i < 40L * PAGES; i++) {
		key = key * 1664525 + 1013904223;
		char *page = table + (size_t)(key % PAGES) * 4096;
		page[0]++;
		sum += page[0];
	}
	return sum;
}

int main(int argc, char **argv) {
	(void)argc;
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[1])), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int s = socket(AF_INET, SOCK_STREAM, 0), one = 1;
	setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	table = malloc((size_t)PAGES * 4096);
	if (!table || bind(s, (void *)&a, sizeof a) || listen(s, 32))
		return 1;
	puts("ready");
	fflush(stdout);
	for (;;) {
		int fd = accept(s, NULL, NULL);
		if (fd < 0)
			continue;
		dprintf(fd, "%u\n", look_up(fd));
		close(fd);
	}
}
