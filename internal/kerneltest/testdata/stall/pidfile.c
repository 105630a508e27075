// Writes statistics into a file that a backup has locked.
#include <arpa/inet.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

static void backup(const char *path) {
	int fd = open(path, O_RDWR | O_CREAT, 0600);
	flock(fd, LOCK_EX);
	for (;;)
		pause();
}

static void count(const char *path) {
	FILE *f = fopen(path, "a");
	flock(fileno(f), LOCK_EX);
	fputs("one more\n", f);
	fclose(f);
}

int main(int argc, char **argv) {
	(void)argc;
	char path[] = "/tmp/statistics.XXXXXX";
	close(mkstemp(path));
	if (fork() == 0)
		backup(path);
	sleep(1);
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[1])), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int s = socket(AF_INET, SOCK_STREAM, 0), one = 1;
	setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	if (bind(s, (void *)&a, sizeof a) || listen(s, 16))
		return 1;
	puts("ready");
	fflush(stdout);
	for (;;) {
		int fd = accept(s, NULL, NULL);
		if (fd < 0)
			continue;
		count(path);
		close(fd);
	}
}
