// A chat server: the thread that accepts adds each client to a table, which
// another thread walks under the same mutex while it writes to a slow reader.
#include <arpa/inet.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static pthread_mutex_t table_lock = PTHREAD_MUTEX_INITIALIZER;
static int table[1024], clients;

static void *broadcast(void *arg) {
	(void)arg;
	char news[4096];
	memset(news, 'x', sizeof news);
	for (;;) {
		pthread_mutex_lock(&table_lock);
		for (int i = 0; i < clients; i++)
			for (int n = 0; n < 100000; n++)
				if (write(table[i], news, sizeof news) < 0)
					break;
		pthread_mutex_unlock(&table_lock);
		usleep(1000);
	}
}

static void add_client(int fd) {
	pthread_mutex_lock(&table_lock);
	if (clients < 1024)
		table[clients++] = fd;
	pthread_mutex_unlock(&table_lock);
}

static void *listen_for_clients(void *arg) {
	int s = *(int *)arg;
	for (;;) {
		int fd = accept(s, NULL, NULL);
		if (fd >= 0)
			add_client(fd);
	}
}

int main(int argc, char **argv) {
	(void)argc;
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[1])), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int s = socket(AF_INET, SOCK_STREAM, 0), one = 1;
	setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	if (bind(s, (void *)&a, sizeof a) || listen(s, 32))
		return 1;
	pthread_t t[2];
	pthread_create(&t[0], NULL, listen_for_clients, &s);
	pthread_create(&t[1], NULL, broadcast, NULL);
	puts("ready");
	fflush(stdout);
	pthread_join(t[0], NULL);
}
