// Workers take turns at accept() by a lock on a file, as old web servers do.
// One is stuck with the lock.
#include <arpa/inet.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static void lock(int fd, int type) {
	struct flock l = {.l_type = type, .l_whence = SEEK_SET};
	while (fcntl(fd, F_SETLKW, &l) < 0)
		;
}

static void serve(int fd) {
	char line[64];
	if (read(fd, line, sizeof line) > 0)
		dprintf(fd, "hello\n");
	close(fd);
}

static void work(int s, const char *path) {
	int mutex = open(path, O_RDWR | O_CREAT, 0600);
	for (;;) {
		lock(mutex, F_WRLCK);
		int fd = accept(s, NULL, NULL);
		if (fd >= 0)
			serve(fd); // with the lock
		lock(mutex, F_UNLCK);
	}
}

int main(int argc, char **argv) {
	(void)argc;
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[1])), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int s = socket(AF_INET, SOCK_STREAM, 0), one = 1;
	setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	if (bind(s, (void *)&a, sizeof a) || listen(s, 32))
		return 1;
	char path[] = "/tmp/accept.lock.XXXXXX";
	close(mkstemp(path));
	for (int i = 0; i < 5; i++)
		if (fork() == 0)
			work(s, path);
	puts("ready");
	fflush(stdout);
	while (wait(NULL) > 0)
		;
}
