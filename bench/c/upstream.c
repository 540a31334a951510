// SPDX-License-Identifier: Apache-2.0
/*
 * upstream SOCKET [CONTAINERS]: a stand-in for dockerd that is never the bottleneck.
 *
 * It answers GET /_ping with the head that dockerd 20.10 sends, a few other GETs well enough for a
 * proxy that asks its engine, and serves bodies and hijacked streams (upstream_stream.c). It checks
 * nothing: everything that reaches it is the proxy's own doing.
 */
#define _GNU_SOURCE
#include "upstream.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define BACKLOG 4096
#define EVENTS 128
#define CONTAINERS_MAX 100000
#define CONTAINER_TEXT 512

#define HEAD_COMMON                                                                                \
	"HTTP/1.1 %s\r\nApi-Version: 1.41\r\n"                                                     \
	"Builder-Version: 2\r\nCache-Control: no-cache, no-store, must-revalidate\r\n"             \
	"Content-Type: %s\r\nDocker-Experimental: false\r\nOstype: linux\r\nPragma: no-cache\r\n"  \
	"Server: Docker/20.10.24 (linux)\r\nDate: Mon, 01 Jan 2024 00:00:00 GMT\r\n"

#define VERSION                                                                                    \
	"{\"Platform\":{\"Name\":\"\"},\"Version\":\"20.10.24\",\"ApiVersion\":\"1.41\","          \
	"\"MinAPIVersion\":\"1.12\",\"Os\":\"linux\",\"Arch\":\"amd64\",\"Components\":[]}\n"

#define INFO                                                                                       \
	"{\"ID\":\"BENCH\",\"Name\":\"bench\",\"Driver\":\"overlay2\",\"CgroupDriver\":"           \
	"\"cgroupfs\","                                                                            \
	"\"CgroupVersion\":\"1\",\"DockerRootDir\":\"/var/lib/"                                    \
	"docker\",\"ServerVersion\":\"20.10.24\","                                                 \
	"\"OSType\":\"linux\",\"Architecture\":\"x86_64\",\"SecurityOptions\":[]}\n"

#define MISSING "{\"message\":\"page not found\"}\n"

struct answer {
	const char *path;   /* without the version; matched up to a blank or '?' */
	const char *status; /* with the reason */
	const char *type;
	const char *text;
};

static char *containers; /* the text of GET /containers/json */

static const char ping_reply[] =
    "HTTP/1.1 200 OK\r\nApi-Version: 1.41\r\nBuilder-Version: 2\r\n"
    "Cache-Control: no-cache, no-store, must-revalidate\r\n"
    "Content-Type: text/plain; charset=utf-8\r\nDocker-Experimental: false\r\n"
    "Ostype: linux\r\nPragma: no-cache\r\nServer: Docker/20.10.24 (linux)\r\n"
    "Date: Mon, 01 Jan 2024 00:00:00 GMT\r\nContent-Length: 2\r\n\r\nOK";

static const struct answer answers[] = {
    {"/version", "200 OK", "application/json", VERSION},
    {"/info", "200 OK", "application/json", INFO},
    {"/images/json", "200 OK", "application/json", "[]\n"},
    {"/containers/json", "200 OK", "application/json", NULL},
};

static const struct answer missing = {"", "404 Not Found", "application/json", MISSING};

static void make_containers(unsigned int count)
{
	char *next = containers = must_alloc(16 + (size_t)count * CONTAINER_TEXT);

	*next++ = '[';
	for (unsigned int i = 0; i < count; i++)
		next +=
		    sprintf(next,
			    "%s{\"Id\":\"%064x\",\"Names\":[\"/build-%u\"],\"Image\":\"busybox\","
			    "\"ImageID\":\"sha256:%064x\",\"Command\":\"sleep 1d\",\"Created\":1,"
			    "\"Ports\":[],\"Labels\":{},\"State\":\"running\",\"Mounts\":[]}",
			    i ? "," : "", i, i, i % 16);
	strcpy(next, "]\n");
}

/* The path of the request line, without a leading "/v1.41". */
static const char *request_path(const char *head)
{
	const char *path = strchr(head, ' ');

	if (!path)
		return "";
	path++;
	if (path[0] == '/' && path[1] == 'v' && strspn(path + 2, "0123456789.") >= 3)
		path += 2 + strspn(path + 2, "0123456789.");
	return path;
}

static bool path_is(const char *path, const char *wanted)
{
	size_t len = strlen(wanted);

	return !strncmp(path, wanted, len) && (path[len] == ' ' || path[len] == '?');
}

static int reply(int fd, const struct answer *answer, bool with_body)
{
	const char *text = answer->text ? answer->text : containers;
	char head[1024];
	int n = snprintf(head, sizeof(head), HEAD_COMMON "Content-Length: %zu\r\n\r\n",
			 answer->status, answer->type, strlen(text));

	if (write_all(fd, head, (size_t)n))
		return -1;
	return with_body ? write_text(fd, text) : 0;
}

/* GET /events never ends: the head, and then nothing, as on a quiet host. */
static int begin_events(int fd)
{
	char head[1024];
	int n = snprintf(head, sizeof(head), HEAD_COMMON "Transfer-Encoding: chunked\r\n\r\n",
			 "200 OK", "application/json");

	return write_all(fd, head, (size_t)n);
}

static int answer_request(const struct connection *c)
{
	bool with_body = c->buf[0] == 'G';
	const char *path = request_path(c->buf);

	if (path_is(path, "/_ping"))
		return write_all(c->fd, ping_reply, sizeof(ping_reply) - 1 - (with_body ? 0 : 2));
	if (path_is(path, "/events"))
		return begin_events(c->fd);
	for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++)
		if (path_is(path, answers[i].path))
			return reply(c->fd, &answers[i], with_body);
	return reply(c->fd, &missing, with_body);
}

static void drop(struct connection *c)
{
	close(c->fd);
	free(c);
}

/* Serves what is in the buffer. The connection may be gone, or a thread's, afterwards. */
static void serve(struct connection *c)
{
	size_t head_len;

	while ((head_len = head_length(c->buf, c->used))) {
		bool last = head_says(c->buf, head_len, "Connection", "close");

		if (stream_wanted(c, head_len)) {
			stream_start(c, head_len);
			return;
		}
		if (answer_request(c) || last) {
			drop(c);
			return;
		}
		c->used -= head_len;
		memmove(c->buf, c->buf + head_len, c->used);
		c->buf[c->used] = 0;
	}
	if (c->used == HEAD_MAX)
		drop(c);
}

static void receive(struct connection *c)
{
	ssize_t n = read(c->fd, c->buf + c->used, HEAD_MAX - c->used);

	if (n <= 0) {
		drop(c);
		return;
	}
	c->used += (size_t)n;
	c->buf[c->used] = 0;
	serve(c);
}

static void accept_all(int listener, int epoll)
{
	int fd;

	while ((fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
		struct connection *c = must_alloc(sizeof(*c));
		struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};

		c->fd = fd;
		c->epoll = epoll;
		if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event))
			drop(c);
	}
}

static void raise_file_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
}

int main(int argc, char **argv)
{
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
	struct epoll_event events[EVENTS];
	unsigned long count = argc > 2 ? strtoul(argv[2], NULL, 10) : 0;
	int listener, epoll;

	if (argc < 2 || argc > 3 || count > CONTAINERS_MAX)
		die("usage: upstream SOCKET [CONTAINERS]");
	start_program();
	raise_file_limit();
	make_containers((unsigned int)count);
	listener = unix_listen(argv[1], BACKLOG);
	epoll = epoll_create1(EPOLL_CLOEXEC);
	if (epoll < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event))
		die("epoll");
	puts("ready");
	fflush(stdout);
	for (;;) {
		int ready = epoll_wait(epoll, events, EVENTS, -1);

		for (int i = 0; i < ready; i++) {
			if (events[i].data.ptr)
				receive(events[i].data.ptr);
			else
				accept_all(listener, epoll);
		}
	}
}
