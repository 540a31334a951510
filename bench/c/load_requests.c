// SPDX-License-Identifier: Apache-2.0
/*
 * Requests per second and their latencies: CLIENTS connections in one epoll loop, each with one GET
 * /_ping under way.
 *
 * "keep" uses a connection for all its requests; "new" opens one for each, asks for its end as a
 * client without keep-alive does, and counts the connect() into the latency.
 */
#include "load.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "body.h"

#define CLIENTS_MAX 4096
#define EVENTS 128
#define SILENCE_MS 10000 /* with nothing arriving for so long, something has hung */

#define REQUEST_COMMON                                                                             \
	"GET /v1.41/_ping HTTP/1.1\r\nHost: api.moby.localhost\r\n"                                \
	"User-Agent: Docker-Client/28.2.2 (linux)\r\n"

struct client {
	int fd;
	uint64_t sent_ns;
	size_t used;
	bool in_body;
	struct body body;
	char buf[HEAD_MAX];
};

struct run {
	const char *path;
	const char *request;
	bool keep;
	int epoll;
	uint64_t end_ns;
	uint64_t errors;
	uint64_t reconnects;
	unsigned int active;
	struct histogram latencies;
};

static void client_connect(struct run *run, struct client *c)
{
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};

	c->fd = unix_connect(run->path);
	if (epoll_ctl(run->epoll, EPOLL_CTL_ADD, c->fd, &event))
		die("epoll_ctl");
}

static void client_send(struct run *run, struct client *c)
{
	c->sent_ns = now_ns();
	c->used = 0;
	c->in_body = false;
	if (c->fd < 0)
		client_connect(run, c);
	if (write_text(c->fd, run->request))
		run->errors++; /* the read that follows sees the end of the connection */
}

static void client_close(struct client *c)
{
	close(c->fd);
	c->fd = -1;
}

/* The answer is complete, or will never be. */
static void client_done(struct run *run, struct client *c, bool good, bool last)
{
	uint64_t now = now_ns();

	if (good)
		histogram_add(&run->latencies, now - c->sent_ns);
	else
		run->errors++;
	if (!run->keep || last || !good) {
		client_close(c);
		run->reconnects += run->keep;
	}
	if (now < run->end_ns)
		client_send(run, c);
	else
		run->active--;
}

static void client_receive(struct run *run, struct client *c)
{
	ssize_t n = read(c->fd, c->buf + c->used, sizeof(c->buf) - c->used);
	size_t head_len, taken;

	if (n <= 0) {
		client_done(run, c, false, true);
		return;
	}
	c->used += (size_t)n;
	if (!c->in_body) {
		head_len = head_length(c->buf, c->used);
		if (!head_len) {
			if (c->used == sizeof(c->buf))
				client_done(run, c, false, true);
			return;
		}
		if (head_status(c->buf, head_len) != 200) {
			client_done(run, c, false, true);
			return;
		}
		body_begin(&c->body, c->buf, head_len, true);
		c->in_body = true;
		taken = head_len + body_feed(&c->body, c->buf + head_len, c->used - head_len);
	} else {
		taken = c->used - (size_t)n;
		taken += body_feed(&c->body, c->buf + taken, (size_t)n);
	}
	if (!c->body.done)
		return;
	/* Bytes behind the answer would belong to nobody. */
	client_done(run, c, taken == c->used && c->body.payload == 2,
		    head_says(c->buf, head_length(c->buf, c->used), "Connection", "close"));
}

static void report(const struct run *run, double seconds)
{
	printf("{\"requests\": %lu, \"seconds\": %.6f, \"errors\": %lu, \"reconnects\": %lu, "
	       "\"p50_us\": %.2f, \"p99_us\": %.2f}\n",
	       run->latencies.count, seconds, run->errors, run->reconnects,
	       (double)histogram_quantile(&run->latencies, 0.50) / 1e3,
	       (double)histogram_quantile(&run->latencies, 0.99) / 1e3);
}

int measure_requests(char **args)
{
	struct run *run = must_alloc(sizeof(*run));
	unsigned long count = strtoul(args[1], NULL, 10);
	struct epoll_event events[EVENTS];
	struct client *clients;
	uint64_t start_ns;

	errno = 0;
	if (count < 1 || count > CLIENTS_MAX)
		die("clients must be 1 to %d", CLIENTS_MAX);
	run->path = args[0];
	run->keep = !strcmp(args[3], "keep");
	run->request =
	    run->keep ? REQUEST_COMMON "\r\n" : REQUEST_COMMON "Connection: close\r\n\r\n";
	run->epoll = epoll_create1(EPOLL_CLOEXEC);
	clients = must_alloc(count * sizeof(*clients));
	for (unsigned long i = 0; i < count; i++) {
		clients[i].fd = -1;
		if (run->keep)
			client_connect(run, &clients[i]);
	}
	start_ns = now_ns();
	run->end_ns = start_ns + (uint64_t)(strtod(args[2], NULL) * 1e9);
	run->active = (unsigned int)count;
	for (unsigned long i = 0; i < count; i++)
		client_send(run, &clients[i]);
	while (run->active) {
		int ready = epoll_wait(run->epoll, events, EVENTS, SILENCE_MS);

		if (ready == 0) {
			errno = 0;
			die("no answer for %d ms with %u requests under way", SILENCE_MS,
			    run->active);
		}
		for (int i = 0; i < ready; i++)
			client_receive(run, events[i].data.ptr);
	}
	report(run, (double)(now_ns() - start_ns) / 1e9);
	return 0;
}
