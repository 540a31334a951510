/* SPDX-License-Identifier: Apache-2.0 */
/* Where a message body ends: the framing of RFC 9112 section 6, fed piece by piece. */
#ifndef BENCH_BODY_H
#define BENCH_BODY_H

#include "wire.h"

enum body_kind {
	BODY_LENGTH,
	BODY_CHUNKED,
	BODY_UNTIL_CLOSE,
};

enum chunk_state {
	CHUNK_SIZE_LINE,
	CHUNK_EXTENSION,
	CHUNK_DATA,
	CHUNK_DATA_END,
	CHUNK_TRAILER,
};

struct body {
	enum body_kind kind;
	enum chunk_state state;
	uint64_t left;	  /* of the body, or of the chunk at hand */
	uint64_t payload; /* bytes of content seen */
	size_t trailer;	  /* bytes in this line of the trailer */
	bool done;
};

/* What follows this head. A request without any framing has no body, a response ends with its
 * connection. */
void body_begin(struct body *body, const char *head, size_t head_len, bool response);

/* Takes bytes and returns how many belong to this body; look at `done` afterwards. */
size_t body_feed(struct body *body, const char *data, size_t len);

/* Reads from `fd` until the body is done, `data` being what came with the head. 0, or -1 when cut
 * short. */
int body_drain(struct body *body, int fd, const char *data, size_t len);

#endif
