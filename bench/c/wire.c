// SPDX-License-Identifier: Apache-2.0
/* Unix sockets and HTTP heads: see wire.h. */
#define _GNU_SOURCE
#include "wire.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

/* connect() gives EAGAIN while a backlog is full: wait this often, this long. */
#define CONNECT_TRIES 20000
#define CONNECT_PAUSE_US 100

uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void die(const char *format, ...)
{
	int saved = errno;
	va_list args;

	fputs("bench: ", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	if (saved)
		fprintf(stderr, ": %s", strerror(saved));
	fputc('\n', stderr);
	_exit(1);
}

void start_program(void)
{
	signal(SIGPIPE, SIG_IGN);
	prctl(PR_SET_PDEATHSIG, SIGTERM);
}

void *must_alloc(size_t size)
{
	void *memory = calloc(1, size);

	if (!memory)
		die("no memory for %zu bytes", size);
	return memory;
}

static void unix_address(struct sockaddr_un *address, const char *path)
{
	memset(address, 0, sizeof(*address));
	address->sun_family = AF_UNIX;
	errno = 0;
	if (strlen(path) >= sizeof(address->sun_path))
		die("socket path is too long: %s", path);
	strcpy(address->sun_path, path);
}

int unix_connect(const char *path)
{
	struct sockaddr_un address;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		die("socket");
	unix_address(&address, path);
	for (int i = 0; i < CONNECT_TRIES; i++) {
		if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
			return fd;
		if (errno != EAGAIN)
			break;
		usleep(CONNECT_PAUSE_US);
	}
	die("connect to %s", path);
}

int unix_listen(const char *path, int backlog)
{
	struct sockaddr_un address;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		die("socket");
	unix_address(&address, path);
	umask(0117);
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) || listen(fd, backlog))
		die("listen on %s", path);
	return fd;
}

int write_all(int fd, const void *data, size_t len)
{
	const char *next = data;

	while (len) {
		ssize_t n = write(fd, next, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return -1;
		next += n;
		len -= (size_t)n;
	}
	return 0;
}

int write_text(int fd, const char *text)
{
	return write_all(fd, text, strlen(text));
}

size_t head_length(const char *data, size_t len)
{
	const char *end = memmem(data, len, "\r\n\r\n", 4);

	return end ? (size_t)(end - data) + 4 : 0;
}

size_t read_head(int fd, char *buf, size_t size, size_t *used)
{
	size_t head;

	while (!(head = head_length(buf, *used))) {
		ssize_t n;

		if (*used == size)
			return 0;
		n = read(fd, buf + *used, size - *used);
		if (n <= 0)
			return 0;
		*used += (size_t)n;
	}
	return head;
}

const char *head_value(const char *head, size_t head_len, const char *name)
{
	size_t name_len = strlen(name);
	const char *end = head + head_len;
	const char *line = memchr(head, '\n', head_len);

	while (line && ++line + name_len < end) {
		if (line[name_len] == ':' && !strncasecmp(line, name, name_len)) {
			const char *value = line + name_len + 1;

			return value + strspn(value, " \t");
		}
		line = memchr(line, '\n', (size_t)(end - line));
	}
	return NULL;
}

bool head_says(const char *head, size_t head_len, const char *name, const char *word)
{
	const char *value = head_value(head, head_len, name);

	return value && !strncasecmp(value, word, strlen(word));
}

int head_status(const char *head, size_t head_len)
{
	if (head_len < 12 || memcmp(head, "HTTP/1.", 7))
		return 0;
	return atoi(head + 9);
}
