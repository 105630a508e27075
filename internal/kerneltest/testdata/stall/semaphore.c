// A thread a client, at most three at a time; clients say nothing.
#include <arpa/inet.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static sem_t room;

static void *serve(void *arg) {
	int fd = (int)(long)arg;
	char line[256];
	while (read(fd, line, sizeof line) > 0)
		if (write(fd, "ok\n", 3) < 0)
			break;
	close(fd);
	sem_post(&room);
	return NULL;
}

int main(int argc, char **argv) {
	(void)argc;
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[1])), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int s = socket(AF_INET, SOCK_STREAM, 0), one = 1;
	setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	sem_init(&room, 0, 3);
	if (bind(s, (void *)&a, sizeof a) || listen(s, 16))
		return 1;
	puts("ready");
	fflush(stdout);
	for (;;) {
		sem_wait(&room);
		int fd = accept(s, NULL, NULL);
		pthread_t t;
		pthread_create(&t, NULL, serve, (void *)(long)fd);
		pthread_detach(t);
	}
}
