// Worker threads take clients from a pipe. The thread that accepts ends itself
// on what it takes for a fatal error; nobody looks after it.
#include <arpa/inet.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static int to_workers[2];

static void *worker(void *arg) {
	(void)arg;
	int fd;
	char buf[64];
	while (read(to_workers[0], &fd, sizeof fd) == sizeof fd) {
		if (read(fd, buf, sizeof buf) > 0)
			dprintf(fd, "ok\n");
		close(fd);
	}
	return NULL;
}

static void *acceptor(void *arg) {
	int s = *(int *)arg;
	for (int n = 0; n < 1; n++) { // a client that is gone: "accept failed, giving up"
		int fd = accept(s, NULL, NULL);
		if (fd < 0 || write(to_workers[1], &fd, sizeof fd) < 0)
			break;
	}
	return NULL;
}

int main(int argc, char **argv) {
	(void)argc;
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[1])), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int s = socket(AF_INET, SOCK_STREAM, 0), one = 1;
	setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	if (pipe(to_workers) || bind(s, (void *)&a, sizeof a) || listen(s, 32))
		return 1;
	pthread_t t;
	for (int i = 0; i < 3; i++)
		pthread_create(&t, NULL, worker, NULL);
	pthread_create(&t, NULL, acceptor, &s);
	puts("ready");
	fflush(stdout);
	for (;;)
		pause();
}
