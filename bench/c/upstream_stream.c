// SPDX-License-Identifier: Apache-2.0
/* The stand-in engine's long requests: downloads, uploads and hijacked streams, a blocking thread
 * for each. */
#define _GNU_SOURCE
#include "upstream.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "body.h"

#define ECHO_SIZE (64 * 1024)

#define REPLY_UPGRADED                                                                             \
	"HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.raw-stream\r\n"             \
	"Connection: Upgrade\r\nUpgrade: tcp\r\n\r\n"

#define REPLY_LOADED                                                                               \
	"HTTP/1.1 200 OK\r\nApi-Version: 1.41\r\nContent-Type: application/json\r\n"               \
	"Docker-Experimental: false\r\nOstype: linux\r\nServer: Docker/20.10.24 (linux)\r\n"       \
	"Content-Length: 20\r\n\r\n{\"stream\":\"Loaded\"}\r\n"

#define HEAD_DOWNLOAD                                                                              \
	"HTTP/1.1 200 OK\r\nApi-Version: 1.41\r\nContent-Type: application/x-tar\r\n"              \
	"Docker-Experimental: false\r\nOstype: linux\r\nServer: Docker/20.10.24 (linux)\r\n"

struct job {
	struct connection *c;
	size_t head_len;
};

bool stream_wanted(const struct connection *c, size_t head_len)
{
	return strncmp(c->buf, "GET ", 4) && strncmp(c->buf, "HEAD ", 5)
		   ? true
		   : memmem(c->buf, head_len, "/images/get?", 12) != NULL;
}

static uint64_t query_number(const char *head, const char *name)
{
	const char *at = strstr(head, name);

	return at ? strtoull(at + strlen(name), NULL, 10) : 0;
}

static int send_plain(int fd, uint64_t bytes)
{
	char *buf = must_alloc(READ_SIZE);
	int result = 0;

	while (bytes && !result) {
		size_t n = bytes < READ_SIZE ? (size_t)bytes : READ_SIZE;

		result = write_all(fd, buf, n);
		bytes -= n;
	}
	free(buf);
	return result;
}

static int send_chunked(int fd, uint64_t bytes)
{
	char *chunk = must_alloc(CHUNK_SIZE + 32);
	int result = 0;

	while (bytes && !result) {
		size_t n = bytes < CHUNK_SIZE ? (size_t)bytes : CHUNK_SIZE;
		int line = sprintf(chunk, "%zx\r\n", n);

		memcpy(chunk + line + n, "\r\n", 2);
		result = write_all(fd, chunk, (size_t)line + n + 2);
		bytes -= n;
	}
	free(chunk);
	return result ? result : write_text(fd, "0\r\n\r\n");
}

/* GET /images/get?...&bytes=N[&framing=chunked] */
static int download(struct connection *c)
{
	uint64_t bytes = query_number(c->buf, "bytes=");
	bool chunked = strstr(c->buf, "framing=chunked") != NULL;
	char head[512];

	if (chunked)
		snprintf(head, sizeof(head), HEAD_DOWNLOAD "Transfer-Encoding: chunked\r\n\r\n");
	else
		snprintf(head, sizeof(head), HEAD_DOWNLOAD "Content-Length: %lu\r\n\r\n", bytes);
	if (write_text(c->fd, head))
		return -1;
	return chunked ? send_chunked(c->fd, bytes) : send_plain(c->fd, bytes);
}

/* After the 101: whatever comes goes back, the end of the stream too. */
static void echo(int fd)
{
	char *buf = must_alloc(ECHO_SIZE);
	ssize_t n;

	while ((n = read(fd, buf, ECHO_SIZE)) > 0)
		if (write_all(fd, buf, (size_t)n))
			break;
	shutdown(fd, SHUT_WR);
	free(buf);
}

/* Takes the request's body and answers. 0 when the connection can carry another request. */
static int upload(struct connection *c, size_t head_len)
{
	bool upgrade = head_value(c->buf, head_len, "Upgrade") != NULL;
	struct body body;
	size_t extra = c->used - head_len;

	if (head_says(c->buf, head_len, "Expect", "100-continue") &&
	    write_text(c->fd, "HTTP/1.1 100 Continue\r\n\r\n"))
		return -1;
	body_begin(&body, c->buf, head_len, false);
	if (body_drain(&body, c->fd, c->buf + head_len, extra))
		return -1;
	if (!upgrade)
		return write_text(c->fd, REPLY_LOADED);
	if (write_text(c->fd, REPLY_UPGRADED) == 0)
		echo(c->fd);
	return -1;
}

static void *serve(void *argument)
{
	struct job *job = argument;
	struct connection *c = job->c;
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
	bool last = head_says(c->buf, job->head_len, "Connection", "close");
	int result = strncmp(c->buf, "GET ", 4) ? upload(c, job->head_len) : download(c);

	free(job);
	c->used = 0; /* nobody pipelines behind a body */
	if (result == 0 && !last && epoll_ctl(c->epoll, EPOLL_CTL_ADD, c->fd, &event) == 0)
		return NULL;
	close(c->fd);
	free(c);
	return NULL;
}

void stream_start(struct connection *c, size_t head_len)
{
	struct job *job = must_alloc(sizeof(*job));
	pthread_t thread;

	epoll_ctl(c->epoll, EPOLL_CTL_DEL, c->fd, NULL);
	*job = (struct job){.c = c, .head_len = head_len};
	if (pthread_create(&thread, NULL, serve, job))
		die("thread for a stream");
	pthread_detach(thread);
}
