/* SPDX-License-Identifier: Apache-2.0 */
/* Connections of the stand-in engine, shared by its loop and its stream threads. */
#ifndef BENCH_UPSTREAM_H
#define BENCH_UPSTREAM_H

#include "wire.h"

struct connection {
	int fd;
	int epoll;
	size_t used;
	char buf[HEAD_MAX + 1];
};

/* Is this a request with a body, a long answer or an upgrade, which a thread of its own has to
 * serve? */
bool stream_wanted(const struct connection *c, size_t head_len);

/*
 * Serves that request in a thread of its own. The connection belongs to the thread until it goes
 * back to the loop's epoll set, or is closed.
 */
void stream_start(struct connection *c, size_t head_len);

#endif
