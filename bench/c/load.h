/* SPDX-License-Identifier: Apache-2.0 */
/* The load generator's measurements. Each prints one line of JSON on stdout and dies on whatever
 * goes wrong. */
#ifndef BENCH_LOAD_H
#define BENCH_LOAD_H

#include "wire.h"

/* Latencies, in buckets of at most 0.8 % width, so that a long run needs no more memory than a
 * short one. */
struct histogram {
	uint64_t count;
	uint64_t buckets[64 * 128];
};

void histogram_add(struct histogram *h, uint64_t value);
uint64_t histogram_quantile(const struct histogram *h, double share);

/* load requests SOCKET CLIENTS SECONDS keep|new: closed loop of GET /_ping */
int measure_requests(char **args);

/* load download SOCKET TARGET: one GET, read to its end */
int measure_download(char **args);

/* load upload SOCKET TARGET BYTES length|chunked: one POST */
int measure_upload(char **args);

/* load echo SOCKET exec|attach BYTES: both directions of a hijacked stream at once */
int measure_echo(char **args);

/* load pingpong SOCKET exec|attach COUNT: 64 bytes there and back over one hijacked stream */
int measure_pingpong(char **args);

/* load halfclose SOCKET exec|attach COUNT BYTES: send, shut down the sending side, count those that
 * came back whole */
int measure_halfclose(char **args);

/* load idle SOCKET COUNT: open COUNT connections, use each once, say so, hold them until stdin ends
 */
int hold_idle(char **args);

/* load stalled SOCKET COUNT TARGET: the same with COUNT downloads that nobody reads */
int hold_stalled(char **args);

/* Sends the request that hijacks, and returns the connection behind the 101. */
int hijack(const char *path, const char *how);

#endif
