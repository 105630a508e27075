// A pre-forking proxy: each of four workers accepts, asks the backend, answers.
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static struct sockaddr_in address(int port) {
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	return a;
}

static int ask_backend(const char *question, char *answer, int room) {
	struct sockaddr_in a = address(atoi(getenv("BACKEND")));
	int s = socket(AF_INET, SOCK_STREAM, 0);
	if (connect(s, (void *)&a, sizeof a))
		return -1;
	if (write(s, question, 5) != 5)
		return -1;
	int n = recv(s, answer, room, 0);
	close(s);
	return n;
}

static void work(int s) {
	char buf[512];
	for (;;) {
		int fd = accept(s, NULL, NULL);
		if (fd < 0)
			continue;
		int n = ask_backend("GET\r\n", buf, sizeof buf);
		if (n > 0 && write(fd, buf, n) < 0)
			perror("write");
		close(fd);
	}
}

int main(int argc, char **argv) {
	(void)argc;
	struct sockaddr_in a = address(atoi(argv[1]));
	int s = socket(AF_INET, SOCK_STREAM, 0), one = 1;
	setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	if (bind(s, (void *)&a, sizeof a) || listen(s, 16))
		return 1;
	for (int i = 0; i < 4; i++)
		if (fork() == 0)
			work(s);
	puts("ready");
	fflush(stdout);
	while (wait(NULL) > 0)
		;
}
