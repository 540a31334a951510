// SPDX-License-Identifier: Apache-2.0
/* Connections that only cost memory: idle ones after one request, and downloads that nobody reads.
 */
#include "load.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "body.h"

#define COUNT_MAX 10000
#define COMMON "Host: api.moby.localhost\r\nUser-Agent: Docker-Client/28.2.2 (linux)\r\n\r\n"
/* The buffers on the way to a reader who does not read are full long before. */
#define SETTLE_US 500000

static unsigned long checked_count(const char *text)
{
	unsigned long count = strtoul(text, NULL, 10);

	errno = 0;
	if (count < 1 || count > COUNT_MAX)
		die("count must be 1 to %d", COUNT_MAX);
	return count;
}

/* Says that everything is in place, and waits for the end of stdin. */
static void hold(void)
{
	char c;

	puts("{\"ready\": true}");
	fflush(stdout);
	while (read(STDIN_FILENO, &c, 1) > 0)
		;
}

/* Sends one request and reads the head of its answer, and also its body when that is wanted. */
static void ask(const char *path, const char *target, bool with_body)
{
	int fd = unix_connect(path);
	char request[1024], head[HEAD_MAX];
	size_t used = 0, head_len;
	struct body body;

	snprintf(request, sizeof(request), "GET %s HTTP/1.1\r\n" COMMON, target);
	if (write_text(fd, request))
		die("sending a request");
	head_len = read_head(fd, head, sizeof(head), &used);
	errno = 0;
	if (head_status(head, head_len) != 200)
		die("expected 200, got: %.*s", (int)head_len, head);
	body_begin(&body, head, head_len, true);
	if (with_body && body_drain(&body, fd, head + head_len, used - head_len))
		die("an answer was cut short");
}

int hold_idle(char **args)
{
	unsigned long count = checked_count(args[1]);

	for (unsigned long i = 0; i < count; i++)
		ask(args[0], "/v1.41/_ping", true);
	hold();
	return 0;
}

int hold_stalled(char **args)
{
	unsigned long count = checked_count(args[1]);

	for (unsigned long i = 0; i < count; i++)
		ask(args[0], args[2], false);
	usleep(SETTLE_US);
	hold();
	return 0;
}
