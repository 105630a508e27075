// An epoll server that parses what it reads with a backtracking matcher.
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

static int match(const char *pattern, const char *text) {
	if (*pattern == 0)
		return *text == 0;
	if (pattern[1] == '*') {
		for (const char *t = text;; t++) {
			if (match(pattern + 2, t))
				return 1;
			if (*t == 0 || (*pattern != '.' && *t != *pattern))
				return 0;
		}
	}
	return *text && (*pattern == '.' || *pattern == *text) && match(pattern + 1, text + 1);
}

static int validate(const char *text) {
	return match("a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*b", text);
}

static void readable(int fd) {
	char buf[128];
	int n = read(fd, buf, sizeof buf - 1);
	if (n <= 0) {
		close(fd);
		return;
	}
	buf[n] = 0;
	dprintf(fd, "%d\n", validate("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"));
}

int main(int argc, char **argv) {
	(void)argc;
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[1])), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int s = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), one = 1;
	setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	if (bind(s, (void *)&a, sizeof a) || listen(s, 64))
		return 1;
	int ep = epoll_create1(0);
	struct epoll_event e = {.events = EPOLLIN, .data.fd = s}, got[16];
	epoll_ctl(ep, EPOLL_CTL_ADD, s, &e);
	puts("ready");
	fflush(stdout);
	for (;;) {
		int n = epoll_wait(ep, got, 16, -1);
		for (int i = 0; i < n; i++) {
			if (got[i].data.fd != s) {
				readable(got[i].data.fd);
				continue;
			}
			int fd = accept(s, NULL, NULL);
			if (fd < 0)
				continue;
			e.events = EPOLLIN, e.data.fd = fd;
			epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e);
		}
	}
}
