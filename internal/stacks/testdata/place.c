/* Stays in a function that a test knows by name: argv[1] says in which. System
 * calls are made in place, so that the function is the leaf of the user stack. */
#define _GNU_SOURCE
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define PLACE __attribute__((noinline, noclone)) static void

static volatile unsigned long turns;
static volatile int never;
static unsigned int word;

static inline __attribute__((always_inline)) long call(long number, long a, long b, long c, long d)
{
	long result;
#if defined(__x86_64__)
	register long r10 __asm__("r10") = d;
	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10)
			 : "rcx", "r11", "memory");
#elif defined(__aarch64__)
	register long x8 __asm__("x8") = number;
	register long x0 __asm__("x0") = a, x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c, x3 __asm__("x3") = d;
	__asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3) : "memory");
	result = x0;
#endif
	return result;
}

PLACE busy_here(void)
{
	while (!never)
		turns++;
}

PLACE read_here(void)
{
	char byte;

	call(SYS_read, 0, (long)&byte, 1, 0);
	turns++;
}

PLACE reads_here(void)
{
	while (!never)
		read_here();
}

PLACE futex_here(void)
{
	call(SYS_futex, (long)&word, 0 /* FUTEX_WAIT */, 0, 0);
	turns++;
}

PLACE sleep_here(long seconds, long ns)
{
	struct timespec time = {seconds, ns};

	call(SYS_nanosleep, (long)&time, 0, 0, 0);
	turns++;
}

PLACE nap_here(void)
{
	while (!never)
		sleep_here(0, 2000000);
}

/* Not a tail call: this function stays on the stack. */
PLACE go(const char *where)
{
	if (!strcmp(where, "busy"))
		busy_here();
	else if (!strcmp(where, "read"))
		read_here();
	else if (!strcmp(where, "reads"))
		reads_here();
	else if (!strcmp(where, "futex"))
		futex_here();
	else if (!strcmp(where, "sleep"))
		sleep_here(1000, 0);
	else if (!strcmp(where, "nap"))
		nap_here();
	turns++;
}

int main(int argc, char **argv)
{
	puts("ready");
	fflush(stdout);
	go(argv[1]);
	turns++;
	return 0;
}
