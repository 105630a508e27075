// Stops a process as a debugger does, and keeps it.
#include <stdio.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv) {
	(void)argc;
	int pid = atoi(argv[1]);
	if (ptrace(PTRACE_ATTACH, pid, 0, 0) || waitpid(pid, NULL, 0) < 0)
		return 1;
	puts("ready");
	fflush(stdout);
	for (;;)
		pause();
}
